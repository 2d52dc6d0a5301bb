/* Signals put off in a program other than bamlua: its own handlers come back, also when the Lua
   state is closed. */
#include <criterion/criterion.h>
#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>

#include "../../lua/bind/bind.h"

static volatile sig_atomic_t caught;

static void catch (int number) { caught = number; }

static void expect_caught(int number) {
  caught = 0;
  raise(number);
  cr_expect_eq(caught, number);
}

static lua_State *new_state(void) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luaL_requiref(L, "bam.core", luaopen_bam_core, 0);
  lua_setglobal(L, "core");
  return L;
}

/* Run a script, which gives a string or nil. */
static void expect_result(lua_State *L, const char *script, const char *result) {
  cr_assert_eq(luaL_dostring(L, script), LUA_OK, "%s", lua_tostring(L, -1));
  const char *got = lua_tostring(L, -1);
  if (result == NULL)
    cr_expect_null(got);
  else
    cr_expect_str_eq(got, result);
  lua_pop(L, 1);
}

Test(signals, outside_bamlua) {
  lua_State *L = new_state();
  signal(SIGINT, catch);
  signal(SIGTERM, catch);
  expect_result(L, "core.defer_signals(true) return core.pending_signal()", NULL);
  raise(SIGTERM);
  cr_expect_eq(caught, 0);
  expect_result(L, "return core.pending_signal()", "SIGTERM");
  expect_result(L, "core.defer_signals(false) return core.pending_signal()", NULL);
  expect_caught(SIGINT);
  expect_caught(SIGTERM);
  lua_close(L);
}

Test(signals, end_with_the_state) {
  lua_State *L = new_state();
  signal(SIGTERM, catch);
  expect_result(L, "core.defer_signals(true) return core.pending_signal()", NULL);
  lua_close(L);
  expect_caught(SIGTERM);
}

Test(signals, second_one, .signal = SIGTERM) {
  lua_State *L = new_state();
  expect_result(L, "core.defer_signals(true) return core.pending_signal()", NULL);
  raise(SIGINT);
  raise(SIGTERM);
  cr_assert_fail("a second signal must end the process");
}
