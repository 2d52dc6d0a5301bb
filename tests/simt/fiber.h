/* Fibers: flows of control with stacks of their own, which hand over to each other by name. The
   function of a fiber never returns. Below a stack is memory that cannot be touched, so that one
   which is too deep is a fault at once. */
#ifndef SIMT_FIBER_H
#define SIMT_FIBER_H

#include <stddef.h>

#ifdef __x86_64__
#define SIMT_REGISTERS /* the switch is written for this processor */
#else
#include <ucontext.h>
#endif

#ifdef __SANITIZE_ADDRESS__
#define SIMT_STACK_BYTES (256 << 10) /* its frames are larger */
#else
#define SIMT_STACK_BYTES (64 << 10)
#endif

#define SIMT_GUARD_BYTES (64 << 10) /* below a stack */

struct simt_fiber {
#ifdef SIMT_REGISTERS
  void *sp; /* while it does not run */
#else
  ucontext_t context;
#endif
  char *stack; /* lowest address; what the system gave, for the first fiber */
  size_t bytes;
  void *fake_stack; /* AddressSanitizer's */
  simt_fiber *next_idle;
};

/* False when there is no memory for the stack. `number` counts the fibers. */
bool simt_fiber_create(simt_fiber *fiber, int number);

/* Forget what it does; when switched to, it begins with `body`. */
void simt_fiber_begin(simt_fiber *fiber, void (*body)(void));

/* From the fiber that runs to another; returns when something switches back. */
void simt_fiber_switch(simt_fiber *from, simt_fiber *to);

/* A fiber that is entered for the first time calls this first. */
void simt_fiber_entered(simt_fiber *fiber, simt_fiber *first);

#endif
