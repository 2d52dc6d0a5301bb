/* The read-eval-print loop. Every statement is a separate chunk, so locals end with it. `_` holds the last
   result. Reading an undefined global is allowed, as always in Lua, but gets a warning, once per name. */
#include "../bind/interrupts.h"
#include "complete.h"
#include "interp.h"
#include "line.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The result of reading a statement: ready to run, a syntax error, cancelled by Ctrl-C, end of input. */
enum statement { STATEMENT_READY, STATEMENT_WRONG, STATEMENT_CANCELLED, STATEMENT_NONE };

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

/* Pushes the prompt: _PROMPT or _PROMPT2 if the user has set it. */
static const char *push_prompt(lua_State *L, bool first) {
  if (push_raw_global(L, first ? "_PROMPT" : "_PROMPT2") == LUA_TNIL) {
    lua_pop(L, 1);
    return lua_pushstring(L, first ? "> " : ">> ");
  }
  const char *prompt = luaL_tolstring(L, -1, NULL);
  lua_remove(L, -2);
  return prompt;
}

/* Reads a line. Pushes it if the result is BAM_LINE_READ, else nothing. */
static enum bam_line push_input(lua_State *L, struct bam_line_reader *reader, bool first) {
  const char *prompt = push_prompt(L, first);
  enum bam_line result = host_line_read(L, reader, prompt);
  lua_remove(L, result == BAM_LINE_READ ? -2 : -1);
  return result;
}

static int load_text(lua_State *L, const char *text) {
  return luaL_loadbufferx(L, text, strlen(text), "=stdin", "t");
}

/* Tries the text at the top as an expression. On success replaces it by the function. */
static bool load_expression(lua_State *L) {
  lua_pushfstring(L, "return %s", lua_tostring(L, -1));
  if (load_text(L, lua_tostring(L, -1)) != LUA_OK) {
    lua_pop(L, 2);
    return false;
  }
  lua_replace(L, -3);
  lua_pop(L, 1);
  return true;
}

/* Whether more lines could complete the statement: the syntax error at the top is about the end of the
   text. */
static bool is_incomplete(lua_State *L, int status) {
  static const char mark[] = "<eof>";
  if (status != LUA_ERRSYNTAX)
    return false;
  size_t length;
  const char *message = lua_tolstring(L, -1, &length);
  return length >= sizeof mark - 1 && strcmp(message + length - (sizeof mark - 1), mark) == 0;
}

/* Reads lines until the statement that begins with the line at the top is complete. Replaces the line by
   the compiled function, or by the error message. */
static enum statement read_rest(lua_State *L, struct bam_line_reader *reader) {
  for (;;) {
    int status = load_text(L, lua_tostring(L, -1));
    enum bam_line more = BAM_LINE_END;
    if (is_incomplete(L, status))
      more = push_input(L, reader, false);
    if (more == BAM_LINE_CANCELLED)
      return STATEMENT_CANCELLED;
    if (more == BAM_LINE_END) {
      host_line_remember(reader, lua_tostring(L, -2));
      return status == LUA_OK ? STATEMENT_READY : STATEMENT_WRONG;
    }
    lua_remove(L, -2); /* the error message */
    lua_pushliteral(L, "\n");
    lua_insert(L, -2);
    lua_concat(L, 3);
  }
}

/* Reads a statement. Leaves its function, or the message of a syntax error, at the top. */
static enum statement read_statement(lua_State *L, struct bam_line_reader *reader) {
  switch (push_input(L, reader, true)) {
  case BAM_LINE_END: return STATEMENT_NONE;
  case BAM_LINE_CANCELLED: return STATEMENT_CANCELLED;
  case BAM_LINE_READ: break;
  }
  const char *text = lua_tostring(L, -1);
  if (text[0] == '=')
    lua_pushfstring(L, "return %s", text + 1); /* as in older versions of Lua */
  lua_pushvalue(L, -1);
  if (!load_expression(L))
    return read_rest(L, reader);
  host_line_remember(reader, lua_tostring(L, -2));
  return STATEMENT_READY;
}

/* Replaces the message at the top by one that names print and has no traceback, as lua does. */
static void describe_print_error(lua_State *L) {
  const char *message = luaL_tolstring(L, -1, NULL);
  const char *trace = strstr(message, "\nstack traceback:");
  lua_pushlstring(L, message, trace == NULL ? strlen(message) : (size_t)(trace - message));
  lua_pushfstring(L, "error calling 'print' (%s)", lua_tostring(L, -1));
  lua_replace(L, -4);
  lua_pop(L, 2);
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
  push_raw_global(L, "print");
  lua_insert(L, base + 1);
  int status = host_call(L, count, 0);
  if (status != LUA_OK)
    describe_print_error(L);
  host_report(L, status, NULL);
}

/* __index of the globals. Upvalue: the names already warned about. Warns only about Lua code; a lookup from
   C is not a typing mistake. */
static int warn_undefined(lua_State *L) {
  lua_Debug reader;
  if (!lua_getstack(L, 1, &reader))
    return 0;
  lua_getinfo(L, "Sl", &reader);
  if (reader.currentline <= 0 || lua_type(L, 2) != LUA_TSTRING)
    return 0;
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
    return 0;
  lua_pushvalue(L, 2);
  lua_pushboolean(L, 1);
  lua_rawset(L, lua_upvalueindex(1));
  fflush(stdout);
  fprintf(stderr, "warning: undefined global '%s' (%s:%d)\n", lua_tostring(L, 2), reader.short_src,
          reader.currentline);
  return 0;
}

/* Installs warn_undefined, unless a script has already given the globals a metatable. */
static void watch_globals(lua_State *L) {
  lua_pushglobaltable(L);
  if (!lua_getmetatable(L, -1)) {
    lua_createtable(L, 0, 1);
    lua_newtable(L);
    lua_pushcclosure(L, warn_undefined, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
  }
  lua_settop(L, 0);
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
  lua_settop(L, 0);
}

static void run_statement(lua_State *L, int base) {
  int status = host_call(L, 0, LUA_MULTRET);
  if (host_report(L, status, NULL))
    print_results(L, base);
}

void host_repl_run(lua_State *L) {
  lua_settop(L, 0);
  bind_coroutines_track(L);
  provide_global(L, "bam", "bam");
  watch_globals(L);
  if (isatty(STDIN_FILENO)) {
    printf("%s: help() gives an overview, Ctrl-D exits\n", BAM_VERSION_TEXT);
  }
  struct bam_line_reader *reader = host_line_open(L, host_complete);
  for (enum statement got; lua_settop(L, 1), (got = read_statement(L, reader)) != STATEMENT_NONE;) {
    if (got == STATEMENT_READY) {
      lua_replace(L, 2);
      lua_settop(L, 2);
      run_statement(L, 1);
    } else if (got == STATEMENT_WRONG) {
      host_report(L, LUA_ERRSYNTAX, NULL);
    }
  }
  lua_settop(L, 0);
  printf("\n");
  fflush(stdout);
}
