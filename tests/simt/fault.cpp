/* What a segmentation fault was about: without this one sees neither kernel nor thread. */
#include <signal.h>
#include <stdio.h>

#include "machine.h"

struct simt_faults {
  struct sigaction before; /* what would have been done */
  char stack[32 << 10];    /* the fault may be that a stack is full */
};

static simt_faults *faults(void) {
  static simt_faults faults;
  return &faults;
}

static const char *reason(const char *address) {
  const simt_memory *memory = simt_device_memory();
  const simt_machine *m = simt_running();
  if (address >= memory->arena && address < memory->arena + memory->arena_bytes)
    return m->launch != NULL ? "device memory that was not allocated" : "memory of the device";
  if (m->launch != NULL && m->running != &m->first && address < m->running->stack &&
      address >= m->running->stack - SIMT_GUARD_BYTES)
    return "more than its stack";
  return "no memory";
}

/* Afterwards the fault happens again, and does what it would have done. stdio is not meant for
   signal handlers, but a kernel does not use it, and the program is at its end. */
static void on_fault(int, siginfo_t *info, void *) {
  const simt_machine *m = simt_running();
  const char *why = reason((const char *)info->si_addr);
  if (m->launch != NULL)
    simt_fail(m->thread, "touches %s, at %p", why, info->si_addr);
  else
    fprintf(stderr, "simt: the host touches %s, at %p\n", why, info->si_addr);
  sigaction(SIGSEGV, &faults()->before, NULL);
}

void simt_explain_faults(void) {
  stack_t stack;
  struct sigaction action = {};
  if (sigaltstack(NULL, &stack) == 0 && (stack.ss_flags & SS_DISABLE)) {
    stack = {};
    stack.ss_sp = faults()->stack;
    stack.ss_size = sizeof faults()->stack;
    sigaltstack(&stack, NULL);
  }
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &faults()->before);
}
