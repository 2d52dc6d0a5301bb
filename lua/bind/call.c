/* Protected calls as the interpreter makes them: messages get a traceback, Ctrl-C becomes an error,
   reports go to stderr. A second Ctrl-C before the first took effect ends the process: that is the
   way out of C code that never returns to Lua. */
#include "interp.h"

#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>

/* A signal handler has no argument of its own, so the state it interrupts must be a global. */
static lua_State *volatile interruptible;

static void catch_interrupt(void (*handler)(int)) {
  struct sigaction action = {.sa_handler = handler}; /* no SA_RESTART: a blocked read gives up */
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
}

static void raise_interrupted(lua_State *L, lua_Debug *where) {
  (void)where;
  lua_sethook(L, NULL, 0, 0);
  luaL_error(L, "interrupted!");
}

/* lua_sethook is the one function of Lua that may be called from a signal handler. */
static void on_interrupt(int signal_number) {
  (void)signal_number;
  catch_interrupt(SIG_DFL);
  int events = LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT;
  lua_sethook(interruptible, raise_interrupted, events, 1);
}

/* An error object with __tostring speaks for itself; any other message gets a traceback. */
static int describe_error(lua_State *L) {
  const char *message = lua_tostring(L, 1);
  if (message == NULL) {
    if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING) return 1;
    message = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
  }
  luaL_traceback(L, L, message, 1);
  return 1;
}

int bam_call(lua_State *L, int nargs, int nresults) {
  int handler = lua_gettop(L) - nargs;
  lua_pushcfunction(L, describe_error);
  lua_insert(L, handler);
  interruptible = L;
  catch_interrupt(on_interrupt);
  int status = lua_pcall(L, nargs, nresults, handler);
  catch_interrupt(SIG_DFL);
  /* An interrupt in the last moment must not hit the next call. */
  if (lua_gethook(L) == raise_interrupted) lua_sethook(L, NULL, 0, 0);
  lua_remove(L, handler);
  return status;
}

bool bam_report(lua_State *L, int status, const char *who) {
  if (status == LUA_OK) return true;
  const char *message = lua_tostring(L, -1);
  if (message == NULL) message = "(error message is not a string)";
  fflush(stdout);
  if (who != NULL) fprintf(stderr, "%s: ", who);
  fprintf(stderr, "%s\n", message);
  fflush(stderr);
  lua_pop(L, 1);
  return false;
}
