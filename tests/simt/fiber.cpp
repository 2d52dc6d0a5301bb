/* Switching between stacks: on x86-64 the registers that a called function must preserve are
   pushed and popped; elsewhere ucontext does it, more slowly. AddressSanitizer is told of every
   switch, valgrind of every stack. */
#include "fiber.h"

#include <stdint.h>
#include <sys/mman.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(low, high) 0
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define __sanitizer_start_switch_fiber(fake_stack, stack, bytes) ((void)0)
#define __sanitizer_finish_switch_fiber(fake_stack, stack, bytes) ((void)0)
#define __asan_unpoison_memory_region(data, bytes) ((void)0)
#endif

bool simt_fiber_create(simt_fiber *fiber, int number) {
  void *data = mmap(NULL, SIMT_GUARD_BYTES + SIMT_STACK_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED)
    return false;
  mprotect(data, SIMT_GUARD_BYTES, PROT_NONE);
  fiber->stack = (char *)data + SIMT_GUARD_BYTES;
  /* Stacks begin at different places of their pages, so that they do not meet in the cache. */
  fiber->bytes = SIMT_STACK_BYTES - (size_t)number % 31 * 192;
  (void)VALGRIND_STACK_REGISTER(fiber->stack, fiber->stack + fiber->bytes);
  return true;
}

#ifdef SIMT_REGISTERS

extern "C" void simt_switch_stack(void **from, void *to);
__asm__(".text\n"
        ".p2align 4\n"
        ".type simt_switch_stack, @function\n"
        "simt_switch_stack:\n"
        "  push %rbp\n"
        "  push %rbx\n"
        "  push %r12\n"
        "  push %r13\n"
        "  push %r14\n"
        "  push %r15\n"
        "  mov %rsp, (%rdi)\n"
        "  mov %rsi, %rsp\n"
        "  pop %r15\n"
        "  pop %r14\n"
        "  pop %r13\n"
        "  pop %r12\n"
        "  pop %rbx\n"
        "  pop %rbp\n"
        "  ret\n"
        ".size simt_switch_stack, . - simt_switch_stack\n");

/* What the switch pops: six registers, the address of the body, and where that would return to. */
void simt_fiber_begin(simt_fiber *fiber, void (*body)(void)) {
  uintptr_t top = ((uintptr_t)fiber->stack + fiber->bytes) & ~(uintptr_t)15;
  void **words = (void **)top - 8;
  __asan_unpoison_memory_region(fiber->stack, fiber->bytes);
  for (int i = 0; i < 8; i++)
    words[i] = NULL;
  words[6] = (void *)body;
  fiber->sp = words;
  fiber->fake_stack = NULL;
}

static void switch_stack(simt_fiber *from, simt_fiber *to) { simt_switch_stack(&from->sp, to->sp); }

#else

void simt_fiber_begin(simt_fiber *fiber, void (*body)(void)) {
  __asan_unpoison_memory_region(fiber->stack, fiber->bytes);
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack;
  fiber->context.uc_stack.ss_size = fiber->bytes;
  fiber->context.uc_link = NULL;
  makecontext(&fiber->context, body, 0);
  fiber->fake_stack = NULL;
}

static void switch_stack(simt_fiber *from, simt_fiber *to) {
  swapcontext(&from->context, &to->context);
}

#endif

void simt_fiber_switch(simt_fiber *from, simt_fiber *to) {
  __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->bytes);
  switch_stack(from, to);
  __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
}

void simt_fiber_entered(simt_fiber *fiber, simt_fiber *first) {
#ifdef __SANITIZE_ADDRESS__
  const void *stack;
  size_t bytes;
  __sanitizer_finish_switch_fiber(fiber->fake_stack, &stack, &bytes);
  if (first->stack == NULL) { /* only it can have switched here */
    first->stack = (char *)stack;
    first->bytes = bytes;
  }
#else
  (void)fiber;
  (void)first;
#endif
}
