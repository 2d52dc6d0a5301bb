/* The border fuzzer: rounds of random calls in child processes, so that a finding does not end the search. A round
   depends only on the seed and its number, so it can be repeated.
     fuzz_border [--calls N] [--seconds S] [--findings N] [--seed N] [--plant FAULT]
         search until one of the limits is reached
     fuzz_border --round N [--seed N] [--trace] [--shrink]
         repeat one round and show its calls, or reduce it to the fewest calls that reproduce the finding
   --strict: error messages that only make sense inside bamlua are findings too.
   --call-seconds N: a call that takes more CPU time counts as a hang; 60 by default.
   Ends with "N calls ..., N findings"; the exit code is 1 if there are findings. */
#include "border.h"

#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCH 4        /* rounds per child; leaks are detected when it exits */
#define TRACE_LINES 12 /* calls shown for a finding */
#define REPORT_BYTES 20000
#define NOBODY 65534

static border_options options = { .seed = 1, .call_seconds = 60 };
static char scratch[] = "/dev/shm/bamlua-border-XXXXXX", root[PATH_MAX];
static char report[REPORT_BYTES];
static FILE *said; /* the real stdout; children run without it */

/* Default options of the sanitizers, which ASAN_OPTIONS overrides. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "detect_leaks=1:detect_stack_use_after_return=1:allocator_may_return_null=1:"
         "handle_abort=1:max_allocation_size_mb=1000:hard_rss_limit_mb=3000:quarantine_size_mb=64";
}
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void) { return "print_stacktrace=1"; }

/* ---- children ---- */

/* Drop privileges and enter a scratch directory, so that calls can only change files there. */
static void enter_scratch(void) {
  if (chdir(scratch) != 0 || setenv("HOME", scratch, 1) != 0 ||
      setenv("BAMLUA_CACHE", "cache", 1) != 0 || setenv("TMPDIR", scratch, 1) != 0)
    _exit(BORDER_BROKEN);
  if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
    _exit(BORDER_BROKEN);
  int null = open("/dev/null", O_RDWR), log = open("report", O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (null < 0 || log < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(log, 2) < 0)
    _exit(BORDER_BROKEN);
}

/* Delete the files left by rounds, without following links. */
static void clean_scratch(void) {
  pid_t child = fork();
  if (child == 0) {
    execlp("find", "find", scratch, "-mindepth", "1", "-delete", (char *)NULL);
    _exit(127);
  }
  waitpid(child, NULL, 0);
}

/* Run rounds [from, to) in a child. Returns its status. */
static int run_child(uint64_t from, uint64_t to) {
  fflush(NULL);
  clean_scratch();
  pid_t child = fork();
  if (child < 0)
    return -1;
  if (child == 0) {
    enter_scratch();
    for (uint64_t round = from; round < to; round++)
      border_run_round(&options, round);
    exit(BORDER_CLEAN); /* leaks are detected here */
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

/* ---- reports ---- */

static void read_report(void) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/report", scratch);
  FILE *file = fopen(path, "r");
  size_t n = file == NULL ? 0 : fread(report, 1, sizeof report - 1, file);
  report[n] = '\0';
  if (file != NULL)
    fclose(file);
}

/* Print the last calls that a child traced before it ended. */
static void show_trace(void) {
  char path[PATH_MAX], command[2 * PATH_MAX];
  snprintf(path, sizeof path, "%s/report", scratch);
  snprintf(command, sizeof command, "grep -a '^call ' '%s' | tail -n %d | cut -c 1-1500", path,
           TRACE_LINES);
  fflush(said);
  if (system(command) != 0)
    fprintf(said, "no trace\n");
}

/* The signature of a finding, to tell findings apart: the summary line of a sanitizer, or our own. */
static void signature(char *text, size_t size) {
  const char *marks[] = { "SUMMARY: ", "fuzz: ", "runtime error: " }, *found = NULL;
  for (size_t i = 0; i < 3 && found == NULL; i++)
    found = strstr(report, marks[i]);
  snprintf(text, size, "%.*s", found == NULL ? 0 : (int)strcspn(found, "\n"),
           found == NULL ? "" : found);
}

/* Report a finding: a child that ran rounds `first` to `round` ended with a nonzero status. */
static void tell_finding(uint64_t first, uint64_t round, uint64_t call, int status) {
  read_report();
  fprintf(said,
          "finding: --seed %" PRIu64 " --round %" PRIu64 ", call %" PRIu64 ", status %d\n%s\n",
          options.seed, round, call, status, report);
  bool traced = options.trace;
  options.trace = true;
  int again = run_child(round, round + 1);
  while (again == 0 && round > first) { /* a leak is only detected after all rounds of a child */
    round--;
    again = run_child(round, round + 1);
  }
  options.trace = traced;
  if (again == 0)
    fprintf(said, "alone, no round finds anything\n");
  else
    fprintf(said, "the last calls of round %" PRIu64 ":\n", round);
  if (again != 0)
    show_trace();
}

/* ---- shrinking ---- */

static bool fails_alike(uint64_t round, const char *wanted) {
  char found[500];
  if (run_child(round, round + 1) == 0)
    return false;
  read_report();
  signature(found, sizeof found);
  return strcmp(found, wanted) == 0;
}

/* Remove calls while the finding still reproduces: ever shorter sequences of them. */
static void shrink(uint64_t round) {
  border_progress *progress = options.progress;
  char wanted[500];
  if (run_child(round, round + 1) == 0)
    return;
  read_report();
  signature(wanted, sizeof wanted);
  uint64_t last = progress->call < BORDER_ROUND ? progress->call : BORDER_ROUND;
  for (uint64_t i = last + 1; i <= BORDER_ROUND; i++)
    progress->skip[i] = true;
  for (uint64_t length = (last + 1) / 2; length > 0; length /= 2)
    for (uint64_t at = 1; at <= last; at += length) {
      bool before[BORDER_ROUND + 1];
      memcpy(before, progress->skip, sizeof before);
      for (uint64_t i = at; i < at + length && i <= last; i++)
        progress->skip[i] = true;
      if (memcmp(before, progress->skip, sizeof before) != 0 && !fails_alike(round, wanted))
        memcpy(progress->skip, before, sizeof before);
    }
  options.trace = true;
  run_child(round, round + 1);
  fprintf(said, "%s\nwhat is left of the round:\n", wanted);
  show_trace();
}

/* ---- the search ---- */

static double clock_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Print the soft findings: kinds of messages, most frequent first. Returns their number. */
static int show_messages(void) {
  char command[2 * PATH_MAX];
  snprintf(command, sizeof command,
           "touch '%s.messages'; sort '%s.messages' | uniq -c | sort -rn | "
           "cut -c 1-600",
           scratch, scratch);
  int kinds = 0;
  FILE *pipe = popen(command, "r");
  for (char line[1000]; pipe != NULL && fgets(line, sizeof line, pipe) != NULL; kinds++)
    fprintf(said, "%s%s", kinds == 0 ? "messages that only make sense inside bamlua:\n" : "", line);
  if (pipe != NULL)
    pclose(pipe);
  return kinds;
}

static void keep_messages(void) {
  char command[4 * PATH_MAX];
  snprintf(command, sizeof command, "cat '%s/messages' >> '%s.messages' 2>/dev/null", scratch,
           scratch);
  if (system(command) != 0)
    return; /* there were none */
}

/* Returns the number of findings, including messages if `strict`. */
static int search(uint64_t calls, double seconds, int most_findings, bool strict) {
  int findings = 0;
  double begin = clock_seconds();
  border_progress *progress = options.progress;
  for (uint64_t round = 0; progress->calls < calls && clock_seconds() - begin < seconds;) {
    uint64_t left = (calls - progress->calls + BORDER_ROUND - 1) / BORDER_ROUND;
    uint64_t first = round;
    int status = run_child(first, first + (left < BATCH ? left : BATCH));
    keep_messages();
    round = progress->round + 1;
    if (status == 0)
      continue;
    tell_finding(first, round - 1, progress->call, status);
    if (++findings == most_findings)
      break;
  }
  int kinds = show_messages();
  fprintf(said,
          "fuzz_border: seed %" PRIu64 ": %" PRIu64 " calls, %" PRIu64 " of them errors, "
          "in %.0f s; %d findings, %d kinds of messages\n",
          options.seed, progress->calls, progress->errors, clock_seconds() - begin, findings,
          kinds);
  return findings + (strict ? kinds : 0);
}

/* ---- the command line ---- */

/* Disable address randomization, so that addresses and hashes are the same in every run. If the system forbids it, they
   are the same only in all children of one run. */
static void fix_addresses(char **argv) {
  int now = personality(0xffffffff);
  if (now >= 0 && (now & ADDR_NO_RANDOMIZE) == 0 &&
      personality((unsigned long)(now | ADDR_NO_RANDOMIZE)) >= 0)
    execv("/proc/self/exe", argv);
}

static int usage(void) {
  fprintf(stderr, "usage: fuzz_border [--calls N] [--seconds S] [--findings N] [--seed N] [--plant "
                  "FAULT] [--strict] | "
                  "--round N [--seed N] [--plant FAULT] [--trace] [--shrink]\n");
  return 2;
}

static bool prepare(void) {
  said = fdopen(dup(STDOUT_FILENO), "w");
  options.root = getcwd(root, sizeof root);
  options.progress = mmap(NULL, sizeof *options.progress, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return said != NULL && options.root != NULL && options.progress != MAP_FAILED &&
         mkdtemp(scratch) != NULL && chmod(scratch, 0777) == 0;
}

int main(int argc, char **argv) {
  uint64_t calls = UINT64_MAX / 2, round = UINT64_MAX; /* room to round up */
  double seconds = 1e12;
  int most_findings = 20;
  bool shrinks = false, strict = false;
  fix_addresses(argv);
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (int i = 1; i < argc; i++) {
    const char *option = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
    bool *flag = strcmp(option, "--trace") == 0    ? &options.trace
                 : strcmp(option, "--shrink") == 0 ? &shrinks
                 : strcmp(option, "--strict") == 0 ? &strict
                                                   : NULL;
    if (flag != NULL) {
      *flag = true;
      continue;
    }
    if (value == NULL)
      return usage();
    i++;
    if (strcmp(option, "--calls") == 0)
      calls = strtoull(value, NULL, 10);
    else if (strcmp(option, "--seconds") == 0)
      seconds = strtod(value, NULL);
    else if (strcmp(option, "--seed") == 0)
      options.seed = strtoull(value, NULL, 10);
    else if (strcmp(option, "--findings") == 0)
      most_findings = atoi(value);
    else if (strcmp(option, "--call-seconds") == 0)
      options.call_seconds = atoi(value);
    else if (strcmp(option, "--round") == 0)
      round = strtoull(value, NULL, 10);
    else if (strcmp(option, "--plant") == 0 && border_find_plant(value) != NULL)
      options.plant = value;
    else
      return usage();
  }
  if (!prepare()) {
    perror("fuzz_border");
    return 2;
  }
  int findings = 0;
  if (round == UINT64_MAX)
    findings = search(calls, seconds, most_findings, strict);
  else if (shrinks)
    shrink(round);
  else {
    int status = run_child(round, round + 1);
    read_report();
    if (options.trace && status == 0)
      fprintf(said, "%s", report);
    else if (status != 0)
      tell_finding(round, round, options.progress->call, status);
    findings = status != 0;
  }
  fclose(said);
  clean_scratch();
  rmdir(scratch);
  char messages[PATH_MAX];
  snprintf(messages, sizeof messages, "%s.messages", scratch);
  unlink(messages);
  return findings > 0;
}
