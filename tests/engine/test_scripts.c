/* Each script of tests/lua is one test; its cases (tests/lua/support/test.lua) are counted by tests/run.sh, which
   reads the lines "cases NAME PASSED FAILED" printed here. A script passes when bamlua ends it with exit code 0 and
   the script says how many of its cases passed. Its arguments are the program and the Lua to compare with.
   BAMLUA names the program, build/bamlua if unset; BAMLUA_TEST_CASES picks cases: "nn/linear*". */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fnmatch.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  char path[200];
} script;

/* "nn" of "tests/lua/nn.lua". */
static const char *name_of(const char *path, char *name, size_t size) {
  snprintf(name, size, "%s", strrchr(path, '/') + 1);
  name[strlen(name) - strlen(".lua")] = '\0';
  return name;
}

/* Does BAMLUA_TEST_CASES leave any case of this script? */
static bool is_picked(const char *path) {
  const char *cases = getenv("BAMLUA_TEST_CASES"),
             *slash = cases == NULL ? NULL : strchr(cases, '/');
  char glob[200], name[200];
  if (slash == NULL)
    return true;
  snprintf(glob, sizeof glob, "%.*s", (int)(slash - cases), cases);
  return fnmatch(glob, name_of(path, name, sizeof name), FNM_EXTMATCH) == 0;
}

ParameterizedTestParameters(scripts, lua) {
  glob_t found;
  size_t n = glob("tests/lua/*.lua", 0, NULL, &found) == 0 ? found.gl_pathc : 0, picked = 0;
  script *scripts = cr_calloc(n + 1, sizeof *scripts);
  for (size_t i = 0; i < n; i++)
    if (is_picked(found.gl_pathv[i]))
      snprintf(scripts[picked++].path, sizeof scripts->path, "%s", found.gl_pathv[i]);
  if (n > 0)
    globfree(&found);
  return cr_make_param_array(script, scripts, picked);
}

/* Run a command of the shell; its output into `output`, cut where that ends. The exit code, as wait
   gives it. */
static int run_command(const char *command, char *output, size_t size) {
  FILE *pipe = popen(command, "r");
  cr_assert_not_null(pipe, "the shell does not start");
  size_t n = fread(output, 1, size - 1, pipe);
  output[n] = '\0';
  for (char rest[4096]; fread(rest, 1, sizeof rest, pipe) > 0;)
    ;
  return pclose(pipe);
}

/* The counts of cases in a script's last line. */
typedef struct {
  int passed, failed, skipped;
} counts;

/* Read the counts. Returns whether the output has them. */
static bool parse_counts(const char *output, const char *name, counts *c) {
  char format[240];
  const char *line = NULL;
  snprintf(format, sizeof format, "%s: ", name);
  for (const char *p = strstr(output, format); p != NULL; p = strstr(p + 1, format))
    line = p == output || p[-1] == '\n' ? p : line;
  return line != NULL && sscanf(line + strlen(format), "%d passed, %d failed, %d skipped",
                                &c->passed, &c->failed, &c->skipped) >= 2;
}

ParameterizedTest(script *s, scripts, lua) {
  static char output[1 << 16];
  const char *program = getenv("BAMLUA");
  char command[1024], name[200];
  counts c = { 0 };
  if (program == NULL)
    program = "build/bamlua";
  snprintf(command, sizeof command, "'%s' %s '%s' lua5.4 2>&1", program, s->path, program);
  int status = run_command(command, output, sizeof output);
  bool counted = parse_counts(output, name_of(s->path, name, sizeof name), &c);
  bool fine = status == 0 && counted && c.failed == 0;
  printf("cases %s %d %d %d\n", name, c.passed, fine ? 0 : c.failed > 0 ? c.failed : 1, c.skipped);
  fflush(stdout);
  cr_assert(fine, "%s ended with status %d%s:\n%s", s->path, status,
            counted ? "" : ", without its count of cases", output);
  if (strstr(output, "skip") != NULL)
    printf("%s: %s", s->path, output);
}

Test(scripts, exist) {
  glob_t found;
  cr_assert_eq(glob("tests/lua/*.lua", 0, NULL, &found), 0, "run the tests where the Makefile is");
  globfree(&found);
}
