/* The read-eval-print loop. Every input, a line or a block, is a separate chunk, so locals end with it. `_` holds
   the last result. Reading an undefined global is allowed, as always in Lua, but gets a warning, once per name.
   What an input means, how tables are shown and what Tab offers is written in Lua, in lua/bam/repl. */
#include "../bind/interrupts.h"
#include "colors.h"
#include "display.h"
#include "interp.h"
#include "line.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Places on the stack while the loop runs: the functions of bam.repl, and the reader. */
enum { FUNCTIONS = 1, READER, BASE = READER };

/* The result of reading an input: functions to run, a syntax error, cancelled by Ctrl-C, `exit`, end of input. */
enum input { INPUT_READY, INPUT_WRONG, INPUT_CANCELLED, INPUT_EXIT, INPUT_END };

/* Pushes a global, bypassing any metatable that the user gave the globals. Returns its type. */
static int push_raw_global(lua_State *L, const char *name) {
  lua_pushglobaltable(L);
  lua_pushstring(L, name);
  int type = lua_rawget(L, -2);
  lua_remove(L, -2);
  return type;
}

/* Pops a value into a global, bypassing metamethods. */
static void set_raw_global(lua_State *L, const char *name) {
  lua_pushglobaltable(L);
  lua_pushstring(L, name);
  lua_rotate(L, -3, -1);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/* Whether a traceback says no more than a message that begins with "stdin:": its only frames are the input itself and
   functions of C. */
static bool is_trivial(const char *trace) {
  const char *line = strchr(trace + 1, '\n');
  for (; line != NULL; line = strchr(line + 1, '\n')) {
    const char *end = strchr(line + 1, '\n'), *main = strstr(line, ": in main chunk");
    const bool of_input = strncmp(line, "\n\tstdin:", 8) == 0 && main != NULL &&
                          (end == NULL || main < end);
    if (!of_input && strncmp(line, "\n\t[C]:", 6) != 0)
      return false;
  }
  return true;
}

/* Whether the user types in a terminal. Otherwise the session prints what lua5.4 prints. */
static bool is_typed(lua_State *L) {
  struct bam_line_reader *reader = lua_touserdata(L, READER);
  return reader != NULL && host_line_edits(reader);
}

/* Writes an error: its message in color, the traceback plain. Pops it. */
static void report(lua_State *L) {
  const char *message = lua_tostring(L, -1);
  if (message == NULL)
    message = "(error message is not a string)";
  const char *trace = strstr(message, "\nstack traceback:");
  if (trace == NULL) {
    host_write_colored(stderr, HOST_ERROR, message);
  } else {
    lua_pushlstring(L, message, (size_t)(trace - message));
    host_write_colored(stderr, HOST_ERROR, lua_tostring(L, -1));
    if (!is_typed(L) || strncmp(message, "stdin:", 6) != 0 || !is_trivial(trace))
      fprintf(stderr, "%s\n", trace + 1);
    fflush(stderr);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* Calls a function of bam.repl with the `nargs` values on top. On failure reports why, pushes nothing and returns
   false. */
static bool call_repl(lua_State *L, const char *function, int nargs, int nresults) {
  lua_getfield(L, FUNCTIONS, function);
  lua_insert(L, -nargs - 1);
  if (host_call(L, nargs, nresults) == LUA_OK)
    return true;
  report(L);
  return false;
}

/* ---- reading ---- */

/* Pushes the prompt: _PROMPT or _PROMPT2 if the user has set it. */
static const char *push_prompt(lua_State *L, bool first) {
  if (push_raw_global(L, first ? "_PROMPT" : "_PROMPT2") == LUA_TNIL) {
    lua_pop(L, 1);
    const char *text = first ? "> " : ">> ";
    if (!host_line_edits(lua_touserdata(L, READER)) || !host_has_colors(stdout))
      return lua_pushstring(L, text);
    return lua_pushfstring(L, "%s%s%s", host_color_code(HOST_PROMPT), text,
                           host_color_code(HOST_PLAIN));
  }
  const char *prompt = luaL_tolstring(L, -1, NULL);
  lua_remove(L, -2);
  return prompt;
}

/* Reads a line, or a block if the reader edits. Pushes it if the result is BAM_LINE_READ, else nothing. */
static enum bam_line push_input(lua_State *L, bool first) {
  int top = lua_gettop(L);
  const char *prompt = push_prompt(L, first), *next_prompt = push_prompt(L, false);
  enum bam_line result = host_line_read(L, lua_touserdata(L, READER), prompt, next_prompt);
  if (result == BAM_LINE_READ)
    lua_replace(L, top + 1);
  lua_settop(L, result == BAM_LINE_READ ? top + 1 : top);
  return result;
}

/* Parses the input at the top. Pushes the list of its functions, or a message. `*more` is set if lines are
   missing. */
static enum input parse(lua_State *L, bool *more) {
  lua_pushvalue(L, -1);
  *more = false;
  if (!call_repl(L, "parse", 1, 2)) {
    lua_pushliteral(L, "not enough memory");
    return INPUT_WRONG;
  }
  const char *status = lua_tostring(L, -2);
  enum input result = strcmp(status, "ready") == 0  ? INPUT_READY
                      : strcmp(status, "exit") == 0 ? INPUT_EXIT
                                                    : INPUT_WRONG;
  *more = strcmp(status, "more") == 0;
  lua_remove(L, -2);
  return result;
}

/* Appends the line at the top to the text below it. */
static void append_line(lua_State *L) {
  lua_pushliteral(L, "\n");
  lua_insert(L, -2);
  lua_concat(L, 3);
}

/* Reads an input. Leaves the list of its functions, or the message of a syntax error, at the top. */
static enum input read_input(lua_State *L) {
  enum bam_line line = push_input(L, true);
  for (;;) {
    if (line != BAM_LINE_READ)
      return line == BAM_LINE_END ? INPUT_END : INPUT_CANCELLED;
    bool more;
    enum input result = parse(L, &more);
    line = more ? push_input(L, false) : BAM_LINE_END;
    if (line == BAM_LINE_END) {
      host_line_remember(lua_touserdata(L, READER), lua_tostring(L, -2));
      if (result == INPUT_READY) {
        lua_pushvalue(L, -2);
        call_repl(L, "note", 1, 0);
      }
      return result;
    }
    lua_remove(L, line == BAM_LINE_READ ? -2 : -1); /* the message */
    if (line == BAM_LINE_READ)
      append_line(L);
  }
}

/* ---- results ---- */

/* Replaces the message at the top by one that names print and has no traceback, as lua does. */
static void describe_print_error(lua_State *L) {
  const char *message = luaL_tolstring(L, -1, NULL);
  const char *trace = strstr(message, "\nstack traceback:");
  lua_pushlstring(L, message, trace == NULL ? strlen(message) : (size_t)(trace - message));
  lua_pushfstring(L, "error calling 'print' (%s)", lua_tostring(L, -1));
  lua_replace(L, -4);
  lua_pop(L, 2);
}

/* Replaces a table at `index` by its text, unless it has a better one. */
static void show_table(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TTABLE)
    return;
  lua_pushvalue(L, index);
  lua_pushinteger(L, host_display_columns());
  lua_pushboolean(L, host_has_colors(stdout));
  if (!call_repl(L, "show", 3, 1))
    return;
  if (lua_isstring(L, -1))
    lua_copy(L, -1, index);
  lua_pop(L, 1);
}

/* Says why the only result is nil, true or false, if that may surprise. */
static void explain(lua_State *L, int result) {
  lua_pushvalue(L, result);
  if (!call_repl(L, "about", 1, 1))
    return;
  if (lua_isstring(L, -1))
    host_write_colored(stderr, HOST_NOTE, lua_tostring(L, -1));
  lua_pop(L, 1);
}

/* Prints the values above `base` with the global print, and keeps the first one as `_`. */
static void print_results(lua_State *L, int base) {
  int count = lua_gettop(L) - base;
  if (count == 0)
    return;
  luaL_checkstack(L, LUA_MINSTACK, "too many results to print");
  if (!lua_isnil(L, base + 1)) {
    lua_pushvalue(L, base + 1);
    set_raw_global(L, "_");
  }
  if (count == 1 && (lua_isnil(L, base + 1) || lua_isboolean(L, base + 1)))
    explain(L, base + 1);
  for (int i = base + 1; i <= base + count; i++)
    show_table(L, i);
  push_raw_global(L, "print");
  lua_insert(L, base + 1);
  if (host_call(L, count, 0) != LUA_OK) {
    describe_print_error(L);
    report(L);
  }
}

/* ---- globals ---- */

/* __index of the globals. Upvalue: the functions of bam.repl. Warns about an undefined global, or raises an error
   if it is a constant of Python. Only in Lua code; a lookup from C is not a typing mistake. */
static int warn_undefined(lua_State *L) {
  lua_Debug reader;
  if (!lua_getstack(L, 1, &reader))
    return 0;
  lua_getinfo(L, "Sl", &reader);
  if (reader.currentline <= 0 || lua_type(L, 2) != LUA_TSTRING)
    return 0;
  lua_getfield(L, lua_upvalueindex(1), "undefined");
  lua_pushvalue(L, 2);
  lua_pushfstring(L, "%s:%d", reader.short_src, reader.currentline);
  if (lua_pcall(L, 2, 2, 0) != LUA_OK || !lua_isstring(L, -2))
    return 0;
  if (lua_toboolean(L, -1))
    return luaL_error(L, "%s", lua_tostring(L, -2));
  host_write_colored(stderr, HOST_NOTE, lua_tostring(L, -2));
  return 0;
}

/* Installs warn_undefined, unless a script has already given the globals a metatable. */
static void watch_globals(lua_State *L) {
  lua_pushvalue(L, FUNCTIONS);
  lua_pushcclosure(L, warn_undefined, 1);
  call_repl(L, "watch_globals", 1, 0);
  lua_settop(L, FUNCTIONS);
}

/* Sets a global to a module, unless a script has set it before. If the module cannot be loaded, the error is
   reported and the session continues. */
static void provide_global(lua_State *L, const char *name, const char *module) {
  if (push_raw_global(L, name) == LUA_TNIL) {
    push_raw_global(L, "require");
    lua_pushstring(L, module);
    if (host_report(L, host_call(L, 1, 1), NULL))
      set_raw_global(L, name);
  }
  lua_settop(L, FUNCTIONS);
}

/* ---- the loop ---- */

/* Runs the functions in the list at the top, up to the first error. */
static void run_functions(lua_State *L) {
  int list = lua_gettop(L);
  lua_Integer count = (lua_Integer)lua_rawlen(L, list);
  bool fine = true;
  for (lua_Integer i = 1; fine && i <= count; i++) {
    lua_settop(L, list);
    lua_rawgeti(L, list, i);
    fine = host_call(L, 0, LUA_MULTRET) == LUA_OK;
    if (fine)
      print_results(L, list);
    else
      report(L);
  }
}

/* Whether Ctrl-D ends the session: if variables would be lost, the user is asked. */
static bool may_end(lua_State *L) {
  const char *option = getenv("BAMLUA_CONFIRM_EXIT");
  struct bam_line_reader *reader = lua_touserdata(L, READER);
  if (!host_line_can_ask(reader) || (option != NULL && strcmp(option, "0") == 0))
    return true;
  if (!call_repl(L, "unsaved", 0, 1) || !lua_isstring(L, -1))
    return true;
  const char *question = lua_pushfstring(L, "leave and lose %s? (y: yes, Ctrl-D: yes) ",
                                         lua_tostring(L, -1));
  enum bam_line answer = host_line_read(L, reader, question, "");
  return answer == BAM_LINE_END || (answer == BAM_LINE_READ && lua_tostring(L, -1)[0] == 'y');
}

/* Reads an input and runs it. Returns whether the session goes on. */
static bool step(lua_State *L) {
  lua_settop(L, BASE);
  switch (read_input(L)) {
  case INPUT_READY: run_functions(L); return true;
  case INPUT_WRONG: report(L); return true;
  case INPUT_CANCELLED: return true;
  case INPUT_EXIT: return false;
  case INPUT_END: return !may_end(L);
  }
  return false;
}

/* Pushes the functions of bam.repl. Returns false, with a message on stderr, if they cannot be loaded. */
static bool push_functions(lua_State *L) {
  push_raw_global(L, "require");
  lua_pushliteral(L, "bam.repl");
  return host_report(L, host_call(L, 1, 1), NULL);
}

void host_repl_run(lua_State *L) {
  lua_settop(L, 0);
  bind_coroutines_track(L);
  bind_interrupts_session();
  if (!push_functions(L))
    return;
  provide_global(L, "bam", "bam");
  watch_globals(L);
  if (isatty(STDIN_FILENO)) {
    printf("%s: help() gives an overview, Ctrl-D or exit leaves\n", BAM_VERSION_TEXT);
  }
  lua_pushvalue(L, FUNCTIONS);
  struct bam_line_reader *reader = host_line_open(L);
  while (step(L))
    ;
  if (!host_line_edits(reader))
    printf("\n");
  lua_settop(L, 0);
  fflush(stdout);
}
