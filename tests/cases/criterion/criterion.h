/* The part of Criterion that the op tests use, over tests/cases/driver.c: with -Itests/cases their
   sources compile as they are, into a program that runs where Criterion is not installed. There,
   all tests run in one process, and what a test uses of Criterion has to be here. */
#ifndef BAM_CASES_CRITERION_H
#define BAM_CASES_CRITERION_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tells the sources apart: here a failed assertion in .fini counts, which Criterion overlooks. */
#define BAM_CASES

typedef struct cases_options {
  void (*init)(void), (*fini)(void); /* before and after each test; a test's own go first */
} cases_options;

/* What a test is run with, once with each. */
typedef struct cases_parameters {
  size_t size; /* of one */
  void *all;
  size_t count;
} cases_parameters;

/* Tests and suites stand in lists, which constructors fill before main. */
typedef struct cases_test {
  const char *suite, *name;
  void (*run)(void *parameter);
  cases_parameters (*parameters)(void); /* NULL: the test runs once, without one */
  cases_options options;
  struct cases_test *next;
} cases_test;

typedef struct cases_suite {
  const char *name;
  cases_options options;
  struct cases_suite *next;
} cases_suite;

void cases_add_test(cases_test *test);
void cases_add_suite(cases_suite *suite);

/* End the running test as failed. `format` begins with ": "; when nothing follows, `condition` is
   what is said. */
void cases_fail(const char *file, int line, const char *condition, const char *format, ...)
  __attribute__((noreturn, format(printf, 4, 5)));

/* Say more about the running test, for the lines that name it. */
void cases_describe(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- Criterion's names ---- */

#define TestSuite(Suite, ...)                                                  \
  __attribute__((constructor)) static void cases_##Suite##_add(void) {         \
    static cases_suite suite = { .name = #Suite, .options = { __VA_ARGS__ } }; \
    cases_add_suite(&suite);                                                   \
  }                                                                            \
  struct cases_suite /* takes the semicolon */

#define CASES_ADD(Suite, Name, Parameters, ...)                                 \
  __attribute__((constructor)) static void cases_##Suite##_##Name##_add(void) { \
    static cases_test test = { .suite = #Suite,                                 \
                               .name = #Name,                                   \
                               .run = cases_##Suite##_##Name,                   \
                               .parameters = Parameters,                        \
                               .options = { __VA_ARGS__ } };                    \
    cases_add_test(&test);                                                      \
  }

#define Test(Suite, Name, ...)                \
  static void cases_##Suite##_##Name(void *); \
  CASES_ADD(Suite, Name, NULL, __VA_ARGS__)   \
  static void cases_##Suite##_##Name(__attribute__((unused)) void *cases_none)

#define cr_assert(condition, ...) \
  ((condition) ? (void)0 : cases_fail(__FILE__, __LINE__, #condition, ": " __VA_ARGS__))
#define cr_assert_fail(...) cases_fail(__FILE__, __LINE__, "", ": " __VA_ARGS__)
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b), __VA_ARGS__)
#define cr_assert_neq(a, b, ...) cr_assert((a) != (b), __VA_ARGS__)
#define cr_assert_not_null(x, ...) cr_assert((x) != NULL, __VA_ARGS__)

#define cr_log_info(...) cases_describe(__VA_ARGS__)

#endif
