/* Runs the tests that criterion/criterion.h collects, one after the other in this process, in the
   order of their names. A failed assertion jumps out of its test; what the test held is left to
   its .fini and otherwise lost. A crash ends the process, after saying in which test it was. */
#include "driver.h"

#include <fnmatch.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

#include "criterion/criterion.h"

#define LABEL 200

/* A test with one of its parameters. */
typedef struct {
  const cases_test *test;
  void *parameter;
  char label[LABEL]; /* "suite/name", with parameters "suite/name#1" */
} item;

typedef struct {
  const char *filter; /* of labels, or of "suite/name"; NULL: all */
  int part, parts;    /* which of so many shares, from 1 */
  bool lists, verbose;
} options;

static cases_test *tests;
static cases_suite *suites;

/* The test that runs. */
static char label[LABEL + 100];
static bool has_failed;
static jmp_buf way_out;

void cases_add_test(cases_test *test) {
  test->next = tests;
  tests = test;
}

void cases_add_suite(cases_suite *suite) {
  suite->next = suites;
  suites = suite;
}

/* ---- what a running test calls ---- */

void cases_fail(const char *file, int line, const char *condition, const char *format, ...) {
  va_list arguments;
  if (!has_failed) { /* what .fini finds after a failure follows from it */
    printf("%s: FAILED %s:%d: %s", label, file, line, format[2] == '\0' ? condition : "");
    va_start(arguments, format);
    vprintf(format + 2, arguments);
    va_end(arguments);
    printf("\n");
  }
  has_failed = true;
  longjmp(way_out, 1);
}

void cases_describe(const char *format, ...) {
  va_list arguments;
  size_t length = strlen(label);
  va_start(arguments, format);
  label[length++] = ' ';
  vsnprintf(label + length, sizeof label - length, format, arguments);
  va_end(arguments);
}

/* Only what may be called in a signal handler. */
static void say(const char *text) {
  if (write(STDOUT_FILENO, text, strlen(text)) < 0)
    _exit(1);
}

static void on_crash(int number) {
  say(label);
  say(number == SIGABRT  ? ": CRASHED, aborted\n"
      : number == SIGFPE ? ": CRASHED, arithmetic\n"
                         : ": CRASHED, memory access\n");
  _exit(1);
}

/* On a stack of its own, as the other may be what overflowed. */
static void catch_crashes(void) {
  static char stack[64 * 1024];
  const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGABRT };
  const stack_t alternative = { .ss_sp = stack, .ss_size = sizeof stack };
  struct sigaction action = { .sa_handler = on_crash, .sa_flags = SA_ONSTACK };
  sigaltstack(&alternative, NULL);
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
    sigaction(signals[i], &action, NULL);
}

/* ---- running ---- */

static cases_options options_of(const cases_test *test) {
  cases_options found = test->options;
  for (const cases_suite *s = suites; s != NULL; s = s->next)
    if (strcmp(s->name, test->suite) == 0) {
      found.init = found.init != NULL ? found.init : s->options.init;
      found.fini = found.fini != NULL ? found.fini : s->options.fini;
    }
  return found;
}

/* Returns whether it passed. */
static bool run_item(const item *it) {
  const cases_options around = options_of(it->test);
  snprintf(label, sizeof label, "%s", it->label);
  has_failed = false;
  if (setjmp(way_out) == 0) {
    if (around.init != NULL)
      around.init();
    it->test->run(it->parameter);
  }
  if (setjmp(way_out) == 0 && around.fini != NULL)
    around.fini();
  return !has_failed;
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Returns how many failed. */
static int run_items(const item *items, int count, const options *o) {
  int failed = 0;
  for (int i = 0; i < count; i++) {
    double start = seconds();
    bool passed = run_item(&items[i]);
    failed += !passed;
    if (o->verbose)
      printf("%s: %.2f s\n", label, seconds() - start);
  }
  printf("%d passed, %d failed\n", count - failed, failed);
  return failed;
}

/* ---- which tests ---- */

static int by_name(const void *a_, const void *b_) {
  const cases_test *const *a = a_, *const *b = b_;
  int order = strcmp((*a)->suite, (*b)->suite);
  return order != 0 ? order : strcmp((*a)->name, (*b)->name);
}

/* The tests in order, to be freed. */
static const cases_test **sorted_tests(int *count) {
  *count = 0;
  for (const cases_test *t = tests; t != NULL; t = t->next)
    ++*count;
  const cases_test **sorted = calloc((size_t)*count + 1, sizeof *sorted), **next = sorted;
  for (const cases_test *t = tests; t != NULL; t = t->next)
    *next++ = t;
  qsort(sorted, (size_t)*count, sizeof *sorted, by_name);
  return sorted;
}

static bool is_wanted(const item *it, const options *o) {
  char name[LABEL];
  snprintf(name, sizeof name, "%s/%s", it->test->suite, it->test->name);
  return o->filter == NULL || fnmatch(o->filter, name, FNM_EXTMATCH) == 0 ||
         fnmatch(o->filter, it->label, FNM_EXTMATCH) == 0;
}

/* Add what is wanted of a test to the `count` items; returns their number. */
static int add_items(item **items, int count, const cases_test *test, const options *o) {
  cases_parameters with = { .count = 1 };
  if (test->parameters != NULL)
    with = test->parameters();
  *items = realloc(*items, ((size_t)count + with.count) * sizeof **items);
  for (size_t i = 0; i < with.count; i++) {
    item *it = &(*items)[count];
    it->test = test;
    it->parameter = test->parameters != NULL ? (char *)with.all + i * with.size : NULL;
    int length = snprintf(it->label, sizeof it->label, "%s/%s", test->suite, test->name);
    if (test->parameters != NULL)
      snprintf(it->label + length, sizeof it->label - (size_t)length, "#%zu", i + 1);
    count += is_wanted(it, o);
  }
  return count;
}

/* Every parts-th of the wanted items; to be freed. */
static item *choose_items(const options *o, int *count) {
  int n, all = 0;
  item *items = NULL;
  const cases_test **sorted = sorted_tests(&n);
  for (int i = 0; i < n; i++)
    all = add_items(&items, all, sorted[i], o);
  free(sorted);
  *count = 0;
  for (int i = o->part - 1; i < all; i += o->parts)
    items[(*count)++] = items[i];
  return items;
}

/* ---- the command ---- */

static const char help[] =
  "Runs the tests of the ops.\n"
  "  --device NAME   on this device: cpu (what it is otherwise), cuda, cuda:1\n"
  "  --filter GLOB   only tests whose suite/name matches, such as 'matmul/*'\n"
  "  --part I/N      only every N-th, from the I-th on: N processes share the work\n"
  "  --list          print the names instead\n"
  "  --verbose       one line per test, with its seconds\n";

static bool parse_part(options *o, const char *text) {
  int length = 0;
  return sscanf(text, "%d/%d%n", &o->part, &o->parts, &length) == 2 && text[length] == '\0' &&
         o->part >= 1 && o->part <= o->parts;
}

/* Returns whether all options are known. */
static bool parse(options *o, int argc, char **argv) {
  bool ok = true;
  for (int i = 0; i < argc && ok; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : NULL;
    if (strcmp(argv[i], "--list") == 0)
      o->lists = true;
    else if (strcmp(argv[i], "--verbose") == 0)
      o->verbose = true;
    else if (value == NULL)
      ok = false;
    else if (strcmp(argv[i++], "--device") == 0)
      ok = setenv("BAMLUA_TEST_DEVICE", value, 1) == 0;
    else if (strcmp(argv[i - 1], "--filter") == 0)
      o->filter = value;
    else
      ok = strcmp(argv[i - 1], "--part") == 0 && parse_part(o, value);
  }
  return ok;
}

int bam_cases_main(int argc, char **argv) {
  options o = { .part = 1, .parts = 1 };
  int count, failed = 0;
  if (!parse(&o, argc, argv)) {
    fputs(help, stderr);
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* in order with what the tests print */
  item *items = choose_items(&o, &count);
  for (int i = 0; i < count && o.lists; i++)
    printf("%s\n", items[i].label);
  if (!o.lists) {
    catch_crashes();
    failed = run_items(items, count, &o);
  }
  free(items);
  return failed > 0;
}
