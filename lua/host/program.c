/* The command line of bamlua: the options, environment, messages and exit codes of lua5.4, plus --help,
   --version and subcommands. Arguments after the script's name belong to the script. */
#include "program.h"

#include "../../kernels/device.h"
#include "../bind/at_end.h"
#include "../bind/signals.h"
#include "embed.h"
#include "interp.h"

#include <fcntl.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct command_line {
  char **argv;
  int argc;
  int script; /* index of the script, argc when there is none; if `wrong`, of the wrong option */
  bool wrong, executes, interactive, ignores_environment;
  bool shows_version, shows_help, shows_bam_version;
};

static const char *program_name = "bamlua"; /* replaced by argv[0] at the start, then constant */

static const char option_list[] = "Available options are:\n"
                                  "  -e stat   execute string 'stat'\n"
                                  "  -i        enter interactive mode after executing 'script'\n"
                                  "  -l mod    require library 'mod' into global 'mod'\n"
                                  "  -l g=mod  require library 'mod' into global 'g'\n"
                                  "  -v        show version information\n"
                                  "  -E        ignore environment variables\n"
                                  "  -W        turn warnings on\n"
                                  "  --        stop handling options\n"
                                  "  -         stop handling options and execute stdin\n";

static const char help_options[] = "  --help    show this help\n"
                                   "  --version show the version of bamlua\n";

static const char help_notes[] =
  "\n"
  "Options and environment variables are those of lua5.4. Without a script, bamlua starts an\n"
  "interactive session: help() gives an overview, Tab completes, Ctrl-C interrupts.\n"
  "BAMLUA_HISTORY names the file of its history (~/.bamlua_history); empty means none.\n";

static void show_wrong_option(const char *option) {
  bool needs_argument = option[1] == 'e' || option[1] == 'l';
  fprintf(stderr, needs_argument ? "%s: '%s' needs argument\n" : "%s: unrecognized option '%s'\n",
          program_name, option);
  fprintf(stderr, "usage: %s [options] [script [args]]\n%s", program_name, option_list);
}

/* Parses a long option. Returns whether it is known. */
static bool parse_long_option(struct command_line *line, const char *option) {
  line->shows_help = strcmp(option, "--help") == 0;
  line->shows_bam_version = strcmp(option, "--version") == 0;
  return line->shows_help || line->shows_bam_version;
}

/* Parses an option without argument. Returns whether it is known and consists of one letter. */
static bool parse_flag(struct command_line *line, const char *option) {
  switch (option[1]) {
  case 'E': line->ignores_environment = true; break;
  case 'W': break; /* handled in order by run_options */
  case 'i': line->interactive = line->shows_version = true; break;
  case 'v': line->shows_version = true; break;
  default: return false;
  }
  return option[2] == '\0';
}

/* Parses the options before the script. If nothing follows the letter of an option that takes a value, the
   value is the next argument, unless that begins with '-'. */
static void parse_command_line(struct command_line *line) {
  char **argv = line->argv;
  int i = 1;
  for (; i < line->argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
    line->script = i;
    if (argv[i][1] == '-') {
      line->script = i + 1;
      if (argv[i][2] == '\0' || parse_long_option(line, argv[i]))
        return;
      line->script = i;
      line->wrong = true;
    } else if (argv[i][1] == 'e' || argv[i][1] == 'l') {
      if (argv[i][1] == 'e')
        line->executes = true;
      if (argv[i][2] == '\0' && (++i == line->argc || argv[i][0] == '-'))
        line->wrong = true;
    } else {
      line->wrong = !parse_flag(line, argv[i]);
    }
    if (line->wrong)
      return;
  }
  line->script = i;
}

/* Sets the global `arg`: the script is at 0, its arguments follow, and earlier arguments have negative
   indices. Without a script the program itself is at 0. */
static void create_arg_table(lua_State *L, const struct command_line *line) {
  int origin = line->script == line->argc ? 0 : line->script;
  lua_newtable(L);
  for (int i = 0; i < line->argc; i++) {
    lua_pushstring(L, line->argv[i]);
    lua_rawseti(L, -2, i - origin);
  }
  lua_setglobal(L, "arg");
}

/* Runs the chunk pushed by a load function, or reports the error that the load function returned. */
static bool run_loaded(lua_State *L, int load_status) {
  int status = load_status == LUA_OK ? host_call(L, 0, 0) : load_status;
  return host_report(L, status, program_name);
}

/* Loads a file; NULL is stdin. */
static int load_file(lua_State *L, const char *file) {
  const int status = luaL_loadfilex(L, file, "t");
  if (status == LUA_ERRSYNTAX)
    host_explain_syntax(L, NULL, file);
  return status;
}

static bool run_file(lua_State *L, const char *file) { return run_loaded(L, load_file(L, file)); }

static bool run_string(lua_State *L, const char *text, const char *name) {
  const int status = luaL_loadbufferx(L, text, strlen(text), name, "t");
  if (status == LUA_ERRSYNTAX)
    host_explain_syntax(L, text, NULL);
  return run_loaded(L, status);
}

/* -l mod, -l g=mod */
static bool run_library(lua_State *L, const char *option) {
  const char *equals = strchr(option, '=');
  const char *module = equals == NULL ? option : equals + 1;
  lua_getglobal(L, "require");
  lua_pushstring(L, module);
  int status = host_call(L, 1, 1);
  if (status != LUA_OK)
    return host_report(L, status, program_name);
  lua_pushlstring(L, option, equals == NULL ? strlen(option) : (size_t)(equals - option));
  lua_insert(L, -2);
  lua_setglobal(L, lua_tostring(L, -2));
  lua_pop(L, 1);
  return true;
}

static bool run_environment(lua_State *L) {
  const char *name = "=LUA_INIT_5_4";
  const char *init = getenv(name + 1);
  if (init == NULL)
    init = getenv((name = "=LUA_INIT") + 1);
  if (init == NULL)
    return true;
  return init[0] == '@' ? run_file(L, init + 1) : run_string(L, init, name);
}

/* Runs -e, -l and -W in the order given. */
static bool run_options(lua_State *L, const struct command_line *line) {
  for (int i = 1; i < line->script; i++) {
    char letter = line->argv[i][1];
    if (letter == 'W')
      lua_warning(L, "@on", 0);
    if (letter != 'e' && letter != 'l')
      continue;
    const char *value = line->argv[i][2] != '\0' ? line->argv[i] + 2 : line->argv[++i];
    bool ok = letter == 'e' ? run_string(L, value, "=(command line)") : run_library(L, value);
    if (!ok)
      return false;
  }
  return true;
}

/* Pushes the arguments of the script, as the table `arg` holds them by now. Returns their number.
   */
static int push_script_arguments(lua_State *L) {
  if (lua_getglobal(L, "arg") != LUA_TTABLE)
    luaL_error(L, "'arg' is not a table");
  lua_Integer length = luaL_len(L, -1); /* a command before the script may have changed it */
  if (length < 0 || length > LUAI_MAXSTACK)
    luaL_error(L, "too many arguments to script");
  int count = (int)length;
  luaL_checkstack(L, count + 3, "too many arguments to script");
  for (int i = 1; i <= count; i++)
    lua_rawgeti(L, -i, i);
  lua_remove(L, -count - 1);
  return count;
}

/* Calls a function of the registry of subcommands (lua/bam/commands) with `nargs` values from the top. */
static int call_commands(lua_State *L, const char *function, int nargs, int nresults) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "bam.commands");
  int status = host_call(L, 1, 1);
  if (status != LUA_OK)
    return status;
  lua_getfield(L, -1, function);
  lua_insert(L, -nargs - 2);
  lua_pop(L, 1);
  return host_call(L, nargs, nresults);
}

/* Whether `word` may be a subcommand: it has only lower-case letters and is not the name of a runnable
   file. */
static bool may_be_command(const char *word) {
  struct stat info;
  const size_t length = strspn(word, "abcdefghijklmnopqrstuvwxyz-");
  const bool is_word = word[0] != '-' && length > 0 && word[length] == '\0';
  return is_word && (stat(word, &info) != 0 || S_ISDIR(info.st_mode));
}

/* Replaces the message on top, which says why the script `word` cannot be opened, by the subcommand `word`.
   Returns LUA_OK if it exists; otherwise the message may suggest a similar name. */
static int load_command(lua_State *L, const char *word) {
  lua_pushstring(L, word);
  lua_insert(L, -2);
  int status = call_commands(L, "load", 2, 2);
  if (status != LUA_OK)
    return status;
  const bool found = lua_isfunction(L, -2);
  lua_remove(L, found ? -1 : -2);
  return found ? LUA_OK : LUA_ERRFILE;
}

/* Runs the script that the command line names, or the subcommand if there is no such file. */
static bool run_script(lua_State *L, const struct command_line *line) {
  const char *file = line->argv[line->script];
  bool after_dashes = strcmp(line->argv[line->script - 1], "--") == 0;
  if (strcmp(file, "-") == 0 && !after_dashes)
    file = NULL; /* stdin */
  int status = load_file(L, file);
  const bool is_command = status == LUA_ERRFILE && file != NULL && !after_dashes &&
                          may_be_command(file);
  if (is_command)
    status = load_command(L, file);
  if (status == LUA_OK)
    status = host_call(L, push_script_arguments(L), is_command ? 1 : 0);
  return host_report(L, status, program_name) && (!is_command || lua_toboolean(L, -1));
}

/* Calls the functions registered with core.at_end, after the script has ended without an error. */
static bool run_at_end(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, BAM_AT_END);
  bool ok = true;
  for (lua_Integer i = 1; ok && lua_rawgeti(L, -1, i) != LUA_TNIL; i++)
    ok = host_report(L, host_call(L, 0, 0), program_name);
  lua_settop(L, 1);
  return ok;
}

/* help(...): loads bam.help on first use, replaces the global help by it, and calls it. */
static int load_help(lua_State *L) {
  for (int i = 0; i < 2; i++) {
    lua_getglobal(L, "require");
    lua_pushstring(L, i == 0 ? "bam" : "bam.help");
    lua_call(L, 1, 1);
  }
  lua_pushvalue(L, -1);
  lua_setglobal(L, "help");
  lua_insert(L, 1);
  lua_pop(L, 1);
  lua_call(L, lua_gettop(L) - 1, 0);
  return 0;
}

/* Prints the version. Returns the exit code. */
static int show_version(void) {
  printf("%s (%s)\n%s\n", BAM_VERSION_TEXT, LUA_RELEASE, bam_device_describe_cpu());
  return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Prints the help, with the subcommands from the registry. Returns whether that succeeded. */
static bool show_help(lua_State *L) {
  int status = call_commands(L, "describe", 0, 1);
  if (status != LUA_OK)
    return host_report(L, status, program_name);
  printf("usage: %s [options] [script [args]]\n       %s subcommand [args]\n%s%s\n%s", program_name,
         program_name, option_list, help_options, lua_tostring(L, -1));
  printf("%s", help_notes);
  return fflush(stdout) == 0;
}

static void show_lua_version(void) {
  printf("%s\n", LUA_COPYRIGHT);
  fflush(stdout);
}

static void open_libraries(lua_State *L, const struct command_line *line) {
  luaL_checkversion(L);
  if (line->ignores_environment) { /* luaL_openlibs looks for this mark */
    lua_pushboolean(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
  }
  luaL_openlibs(L);
  host_textonly_install(L);
  host_embed_install(L);
  create_arg_table(L, line);
  lua_register(L, "help", load_help);
  lua_gc(L, LUA_GCGEN, 0, 0);
}

/* Executes the command line. Argument: the parsed command line; result: whether everything succeeded. */
static int run_command_line(lua_State *L) {
  const struct command_line *line = lua_touserdata(L, 1);
  if (line->shows_version)
    show_lua_version();
  open_libraries(L, line);
  if (line->shows_help) {
    lua_pushboolean(L, show_help(L));
    return 1;
  }
  bool ok = (line->ignores_environment || run_environment(L)) && run_options(L, line);
  bool has_script = line->script < line->argc;
  if (ok && has_script)
    ok = run_script(L, line);
  if (ok && line->interactive) {
    host_repl_run(L);
  } else if (ok && !has_script && !line->executes && !line->shows_version) {
    if (isatty(STDIN_FILENO)) {
      show_lua_version();
      host_repl_run(L);
    } else {
      run_file(L, NULL); /* as in lua5.4, an error in a program from stdin is only reported */
    }
  }
  if (ok && !line->interactive)
    ok = run_at_end(L);
  lua_pushboolean(L, ok);
  return 1;
}

/* If a standard stream is closed at startup, the first file opened would get its descriptor, and output to
   the stream would end up in that file. So occupy the descriptor with a stream on which I/O fails as on a
   closed one. */
static void occupy_standard_streams(void) {
  for (int file = STDIN_FILENO; file <= STDERR_FILENO; file++)
    if (fcntl(file, F_GETFD) < 0)
      (void)!open("/dev/null", file == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int bamlua_main(int argc, char **argv) {
  occupy_standard_streams();
  bind_signals_announce();
  struct command_line line = { .argv = argv, .argc = argc };
  if (argc > 0 && argv[0][0] != '\0')
    program_name = argv[0];
  parse_command_line(&line);
  if (line.wrong) {
    show_wrong_option(argv[line.script]);
    return EXIT_FAILURE;
  }
  if (line.shows_bam_version)
    return show_version();
  lua_State *L = luaL_newstate();
  if (L == NULL) {
    fprintf(stderr, "%s: cannot create state: not enough memory\n", program_name);
    return EXIT_FAILURE;
  }
  lua_pushcfunction(L, run_command_line);
  lua_pushlightuserdata(L, &line);
  int status = lua_pcall(L, 1, 1, 0);
  bool ok = host_report(L, status, program_name) && lua_toboolean(L, -1);
  lua_close(L);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
