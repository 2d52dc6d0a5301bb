/* Which tests compare the values of which ops with an oracle. A test, or a helper that compares, says so in its body:
     VALUES_TESTED(&bam_op_tril, &bam_op_triu);
   test_registry.c fails for an op that no test names, and fixture_close for a test that names an op without applying
   it. */
#ifndef BAM_TEST_VALUE_TESTS_H
#define BAM_TEST_VALUE_TESTS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct bam_op bam_op;

/* The names are collected by the linker, since Criterion runs every test in a process of its own. */
#define VALUES_TESTED(...)                                                   \
  do {                                                                       \
    static const bam_op *named_[]                                            \
      __attribute__((section("bam_values_tested"), used)) = { __VA_ARGS__ }; \
    value_tests_name(named_, sizeof named_ / sizeof named_[0]);              \
  } while (0)

/* Does any test of this program name the op? */
bool value_tests_has(const bam_op *op);

/* The running test names these ops; it has applied this one. */
void value_tests_name(const bam_op *const *ops, size_t n);
void value_tests_applied(const bam_op *op);

/* An op that the running test named without applying it, or NULL. Forgets both lists. */
const bam_op *value_tests_end(void);

#endif
