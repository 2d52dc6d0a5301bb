/* Each script of tests/lua is one test: it passes when bamlua ends it with exit code 0. Its
   arguments are the program and the Lua to compare with. BAMLUA names the program; build/bamlua
   when not set. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  char path[200];
} script;

ParameterizedTestParameters(scripts, lua) {
  glob_t found;
  size_t n = glob("tests/lua/*.lua", 0, NULL, &found) == 0 ? found.gl_pathc : 0;
  script *scripts = cr_calloc(n + 1, sizeof *scripts);
  for (size_t i = 0; i < n; i++)
    snprintf(scripts[i].path, sizeof scripts[i].path, "%s", found.gl_pathv[i]);
  if (n > 0)
    globfree(&found);
  return cr_make_param_array(script, scripts, n);
}

/* Run a command of the shell; its output into `output`, cut where that ends. The exit code, as wait
   gives it. */
static int run_command(const char *command, char *output, size_t size) {
  FILE *pipe = popen(command, "r");
  cr_assert_not_null(pipe);
  size_t n = fread(output, 1, size - 1, pipe);
  output[n] = '\0';
  for (char rest[4096]; fread(rest, 1, sizeof rest, pipe) > 0;)
    ;
  return pclose(pipe);
}

ParameterizedTest(script *s, scripts, lua) {
  static char output[1 << 16];
  const char *program = getenv("BAMLUA");
  char command[1024];
  if (program == NULL)
    program = "build/bamlua";
  snprintf(command, sizeof command, "'%s' %s '%s' lua5.4 2>&1", program, s->path, program);
  int status = run_command(command, output, sizeof output);
  cr_assert_eq(status, 0, "%s ended with status %d:\n%s", s->path, status, output);
  if (strstr(output, "skip") != NULL)
    printf("%s: %s", s->path, output);
}

Test(scripts, exist) {
  glob_t found;
  cr_assert_eq(glob("tests/lua/*.lua", 0, NULL, &found), 0, "run the tests where the Makefile is");
  globfree(&found);
}
