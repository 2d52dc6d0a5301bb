/* The Lua state in which parsers are fuzzed. Executed Lua lines are counted for libFuzzer like branches in C. */
#include "parsers.h"

#include <lauxlib.h>
#include <limits.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../lua/host/embed.h"
#include "../../lua/host/interp.h"

#define LINES 16384

/* libFuzzer finds the counters by this section. */
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t lines[LINES];

static lua_State *state; /* the target is at stack index 1 */
static char scratch[] = "/dev/shm/bamlua-parsers-XXXXXX";

static _Noreturn void end_with(const char *what) {
  fprintf(stderr, "fuzz: %s\n", what);
  abort();
}

static void count_line(lua_State *L, lua_Debug *ar) {
  lua_getinfo(L, "Sl", ar);
  uint32_t hash = (uint32_t)ar->currentline * 2654435761u;
  for (const char *c = ar->short_src; *c != '\0'; c++)
    hash = (hash ^ (uint8_t)*c) * 16777619u;
  lines[hash % LINES]++;
}

static void remove_scratch(void) {
  pid_t child = chdir("/") == 0 ? fork() : -1;
  if (child == 0) {
    execlp("rm", "rm", "-rf", scratch, (char *)NULL);
    _exit(127);
  }
  if (child > 0)
    waitpid(child, NULL, 0);
}

static void enter_scratch(void) {
  if (mkdtemp(scratch) == NULL || chdir(scratch) != 0)
    end_with("cannot create a scratch directory");
  atexit(remove_scratch);
}

static int add_traceback(lua_State *L) {
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

/* Open the libraries, run the script, and leave the target on the stack. Arguments: path of the script, target. */
static int load_target(lua_State *L) {
  luaL_openlibs(L);
  host_textonly_install(L);
  host_embed_install(L);
  lua_gc(L, LUA_GCGEN, 0, 0);
  if (luaL_loadfilex(L, lua_tostring(L, 1), "t") != LUA_OK)
    return lua_error(L);
  lua_call(L, 0, 1);
  lua_getfield(L, -1, lua_tostring(L, 2));
  return 1;
}

void parsers_open(const char *target) {
  char path[PATH_MAX];
  if (getcwd(path, sizeof path - 30) == NULL)
    end_with("no current directory");
  strcat(path, "/tests/fuzz/parsers.lua");
  enter_scratch();
  state = luaL_newstate();
  lua_pushcfunction(state, add_traceback);
  lua_pushcfunction(state, load_target);
  lua_pushstring(state, path);
  lua_pushstring(state, target);
  if (lua_pcall(state, 2, 1, 1) != LUA_OK)
    end_with(lua_tostring(state, -1));
  lua_remove(state, 1);
  if (!lua_istable(state, 1))
    end_with("no such target");
  lua_sethook(state, count_line, LUA_MASKLINE, 0);
}

static const char *entry(const char *list, int i, size_t *size) {
  lua_getfield(state, 1, list);
  const char *text = lua_rawgeti(state, -1, i + 1) == LUA_TSTRING ? lua_tolstring(state, -1, size)
                                                                  : NULL;
  lua_pop(state, 2); /* the list keeps the string alive */
  return text;
}

const char *parsers_seed(int i, size_t *size) { return entry("seeds", i, size); }
const char *parsers_word(int i, size_t *size) { return entry("words", i, size); }

bool parsers_run(const uint8_t *data, size_t size) {
  lua_pushcfunction(state, add_traceback);
  lua_getfield(state, 1, "run");
  lua_pushlstring(state, (const char *)data, size);
  if (lua_pcall(state, 1, 1, 2) != LUA_OK)
    end_with(lua_tostring(state, -1));
  bool accepted = lua_toboolean(state, -1);
  lua_settop(state, 1);
  return accepted;
}

void parsers_close(void) { lua_close(state); }
