/* The Lua state of the border fuzzer: its allocator can be made to fail, and hanging calls are terminated. */
#include "border.h"

#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "../../lua/host/embed.h"
#include "../../lua/host/interp.h"
#include "random.h"

#define LUA_BYTES ((size_t)256 << 20) /* memory limit of Lua */
#define WAIT_SECONDS 600              /* of wall-clock time: more is a hang */
#define CALL_STEPS 200                /* steps of the count hook in one call */
#define STEP 500000                   /* Lua instructions between two of them */

uint64_t random_state;
static const border_options *options;
static int64_t requests_left = -1; /* allocations until they fail; negative: never */
static size_t lua_bytes;           /* in use */
static int steps, lost_finalizers;

/* Lua seeds its hashes with the time; a fixed time makes rounds reproducible. */
time_t time(time_t *result) {
  if (result != NULL)
    *result = 1700000000;
  return 1700000000;
}

static void *limited_alloc(void *data, void *block, size_t old_size, size_t size) {
  (void)data;
  old_size = block == NULL ? 0 : old_size;
  if (size > old_size) { /* Lua requires that shrinking never fails */
    if (requests_left == 0 || size - old_size > LUA_BYTES - lua_bytes)
      return NULL;
    requests_left -= requests_left > 0;
  }
  void *result = NULL;
  if (size == 0)
    free(block);
  else
    result = realloc(block, size);
  if (size == 0 || result != NULL)
    lua_bytes += size - old_size;
  return result;
}

/* ---- findings ---- */

static _Noreturn void end_with(int code, const char *what) {
  fprintf(stderr, "fuzz: %s\n", what);
  fflush(stderr);
  _exit(code);
}

static void on_timer(int signal_number) {
  (void)signal_number;
  static const char text[] = "fuzz: a call does not end\n";
  if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
    _exit(BORDER_BROKEN);
  abort(); /* the sanitizer's handler prints the stack */
}

static void on_step(lua_State *L, lua_Debug *ar) {
  (void)ar;
  if (++steps < CALL_STEPS)
    return;
  requests_left = -1;
  luaL_traceback(L, L, "a call does not end in Lua code", 0);
  end_with(BORDER_HANG, lua_tostring(L, -1));
}

static void watch_call(void) {
  struct itimerval used = { .it_value.tv_sec = options->call_seconds };
  struct itimerval waited = { .it_value.tv_sec = WAIT_SECONDS };
  steps = 0;
  setitimer(ITIMER_PROF, &used, NULL);
  setitimer(ITIMER_REAL, &waited, NULL);
}

/* ---- functions for the scripts ---- */

/* start(call): from here on, random choices depend only on seed, round and call. Returns whether to make the call. */
static int fuzz_start(lua_State *L) {
  border_progress *progress = options->progress;
  uint64_t call = (uint64_t)luaL_checkinteger(L, 1);
  random_state = (options->seed * 0x2545f4914f6cdd1d + progress->round) * 0x9e3779b97f4a7c15 + call;
  random_next();
  progress->call = call;
  bool made = call > BORDER_ROUND || !progress->skip[call];
  progress->calls += made && call > 0;
  watch_call();
  lua_pushboolean(L, made);
  return 1;
}

/* below(n): a random integer from 0 to n - 1. */
static int fuzz_below(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)below((size_t)luaL_checkinteger(L, 1)));
  return 1;
}

/* guarded(requests, f, ...): pcall in which Lua's allocator fails after `requests` allocations (negative: never). */
static int fuzz_guarded(lua_State *L) {
  int64_t outer = requests_left;
  lua_checkstack(L, 10);
  requests_left = luaL_checkinteger(L, 1);
  int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
  requests_left = outer;
  options->progress->errors += status != LUA_OK;
  lua_pushboolean(L, status == LUA_OK);
  lua_replace(L, 1);
  return lua_gettop(L);
}

static int fuzz_finding(lua_State *L) { end_with(BORDER_FINDING, luaL_checkstring(L, 1)); }

/* Lua warns of errors in finalizers, in pieces. One that it could not even call, for want of memory, loses what the
   object holds until the state closes. */
static void note_warning(void *data, const char *text, int continues) {
  (void)data;
  (void)continues;
  lost_finalizers += strcmp(text, "not enough memory") == 0;
}

/* lost(): how many finalizers Lua had no memory to call. */
static int fuzz_lost(lua_State *L) {
  lua_pushinteger(L, lost_finalizers);
  return 1;
}

/* message(text): record a soft finding, one line. */
static int fuzz_message(lua_State *L) {
  FILE *file = fopen("../messages", "a");
  if (file == NULL)
    end_with(BORDER_BROKEN, "cannot write");
  fprintf(file, "%s\n", luaL_checkstring(L, 1));
  fclose(file);
  return 0;
}

static int fuzz_trace(lua_State *L) {
  fprintf(stderr, "%s\n", luaL_checkstring(L, 1));
  return 0;
}

static const luaL_Reg functions[] = { { "start", fuzz_start },     { "below", fuzz_below },
                                      { "guarded", fuzz_guarded }, { "finding", fuzz_finding },
                                      { "lost", fuzz_lost },       { "message", fuzz_message },
                                      { "trace", fuzz_trace },     { NULL, NULL } };

/* ---- a round ---- */

static void open_state(lua_State *L) {
  luaL_openlibs(L);
  host_textonly_install(L);
  host_embed_install(L);
  lua_gc(L, LUA_GCGEN, 0, 0); /* like bamlua */
  lua_createtable(L, 0, 1);
  lua_pushstring(L, "fuzz.lua");
  lua_rawseti(L, -2, 0);
  lua_setglobal(L, "arg");
}

static int run_round(lua_State *L) {
  open_state(L);
  if (options->plant != NULL) {
    lua_getglobal(L, "require");
    lua_pushliteral(L, "bam.core");
    lua_call(L, 1, 1);
    lua_pushcfunction(L, border_find_plant(options->plant));
    lua_setfield(L, -2, "planted");
  }
  lua_getglobal(L, "package");
  lua_pushfstring(L, "%s/tests/fuzz/border/?.lua", options->root);
  lua_setfield(L, -2, "path");
  lua_pushfstring(L, "%s/tests/fuzz/border/main.lua", options->root);
  if (luaL_loadfilex(L, lua_tostring(L, -1), "t") != LUA_OK)
    return lua_error(L);
  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  lua_pushboolean(L, options->trace);
  lua_setfield(L, -2, "tracing");
  lua_pushstring(L, options->root);
  lua_setfield(L, -2, "root");
  lua_pushinteger(L, (lua_Integer)options->progress->round);
  lua_setfield(L, -2, "round");
  lua_pushinteger(L, BORDER_ROUND);
  lua_setfield(L, -2, "calls");
  lua_call(L, 1, 0);
  return 0;
}

static int add_traceback(lua_State *L) {
  luaL_traceback(L, L, lua_tostring(L, 1), 1);
  return 1;
}

/* Enter a new directory, so that the round does not depend on earlier ones. */
static void enter_directory(void) {
  char name[40];
  snprintf(name, sizeof name, "round-%llu", (unsigned long long)options->progress->round);
  if (mkdir(name, 0700) != 0 || chdir(name) != 0)
    end_with(BORDER_BROKEN, "cannot create a directory for the round");
}

void border_run_round(const border_options *given, uint64_t round) {
  options = given;
  options->progress->round = round;
  options->progress->call = 0;
  enter_directory();
  signal(SIGPROF, on_timer);
  signal(SIGALRM, on_timer);
  watch_call();
  lua_State *L = lua_newstate(limited_alloc, NULL);
  lost_finalizers = 0;
  lua_setwarnf(L, note_warning, NULL);
  lua_sethook(L, on_step, LUA_MASKCOUNT, STEP);
  lua_pushcfunction(L, add_traceback);
  lua_pushcfunction(L, run_round);
  if (lua_pcall(L, 0, 0, 1) != LUA_OK)
    end_with(BORDER_BROKEN, lua_tostring(L, -1));
  lua_close(L);
  if (chdir("..") != 0)
    end_with(BORDER_BROKEN, "the directory of the round is gone");
}
