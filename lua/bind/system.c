/* The engine's settings and counters: seed, threads, memory, instruction set. */
#include <time.h>

#include "../../engine/core/random.h"
#include "at_end.h"
#include "bind.h"

BIND_DOC(system_seed, "seed(seed)",
         "Seed the random number generator. The same seed gives the same numbers with any number "
         "of threads.\n"
         "@param seed integer");
static int system_seed(lua_State *L) {
  bam_context_set_seed(bind_context(L), (uint64_t)bind_integer(L, 1, "seed"));
  return 0;
}

BIND_DOC(
  system_random_state, "random_state(state)",
  "The state of the random number generator, { seed, counter }; with an argument, restore it.\n"
  "@param state? integer[]\n"
  "@return integer[]? state");
static int system_random_state(lua_State *L) {
  bam_context *context = bind_context(L);
  if (lua_isnoneornil(L, 1)) {
    bam_random_state state = bam_random_get_state(context);
    lua_createtable(L, 2, 0);
    lua_pushinteger(L, (lua_Integer)state.seed);
    lua_rawseti(L, -2, 1);
    lua_pushinteger(L, (lua_Integer)state.counter);
    lua_rawseti(L, -2, 2);
    return 1;
  }
  if (lua_type(L, 1) != LUA_TTABLE)
    return bind_error(L, "random_state: expected { seed, counter }, got %s", bind_describe(L, 1));
  lua_rawgeti(L, 1, 1);
  lua_rawgeti(L, 1, 2);
  bam_random_state state = { (uint64_t)bind_integer(L, -2, "random_state: seed"),
                             (uint64_t)bind_integer(L, -1, "random_state: counter") };
  bam_random_set_state(context, state);
  return 0;
}

BIND_DOC(system_threads, "threads(count)",
         "Set the number of threads of the CPU kernels. Without an argument, only return it.\n"
         "@param count? integer 1 to 1024\n"
         "@return integer");
static int system_threads(lua_State *L) {
  bam_context *context = bind_context(L);
  if (!lua_isnone(L, 1)) {
    int64_t threads = bind_integer(L, 1, "threads");
    if (threads < 1 || threads > 1024)
      return bind_error(L, "threads: expected 1 to 1024, got %I", (LUAI_UACINT)threads);
    bam_context_set_threads(context, (int)threads);
  }
  lua_pushinteger(L, context->threads);
  return 1;
}

static void set(lua_State *L, const char *name, int64_t value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

BIND_DOC(system_memory, "memory(device)",
         "Memory counters of the engine, in bytes: `live`, `peak` and `reserved`; also `objects` "
         "(live objects),\n"
         "`requests` (allocations) and `system_requests` (allocations that the system had to "
         "serve). One device\n"
         "has `live` (in use), `peak` (its maximum so far) and `reserved` (held from the device).\n"
         "@param device? device all devices together by default\n"
         "@return table<string, integer>");
static int system_memory(lua_State *L) {
  const bam_memory *memory = &bind_context(L)->memory;
  if (!lua_isnoneornil(L, 1)) {
    const bam_device *device = bind_device(L, 1, "memory");
    lua_createtable(L, 0, 3);
    set(L, "live", device->live_bytes);
    set(L, "peak", device->peak_bytes);
    set(L, "reserved", device->reserved_bytes);
    return 1;
  }
  lua_createtable(L, 0, 7);
  set(L, "live", memory->live_bytes);
  set(L, "peak", memory->peak_bytes);
  set(L, "reserved", memory->reserved_bytes);
  set(L, "objects", memory->live_objects);
  set(L, "requests", memory->requests);
  set(L, "system_requests", memory->system_requests);
  lua_pushboolean(L, !memory->no_cache);
  lua_setfield(L, -2, "cached");
  return 1;
}

BIND_DOC(
  system_memory_limit, "memory_limit(bytes)",
  "Make allocations of tensors fail beyond a number of live bytes; 0 lifts the limit. For tests.\n"
  "@param bytes integer");
static int system_memory_limit(lua_State *L) {
  bind_context(L)->memory.limit_bytes = bind_integer(L, 1, "memory_limit");
  return 0;
}

BIND_DOC(system_fail_allocation, "fail_allocation(n)",
         "Make the n-th engine allocation from now on fail; 0 cancels it. For tests.\n"
         "@param n integer");
static int system_fail_allocation(lua_State *L) {
  bam_memory *memory = &bind_context(L)->memory;
  int64_t n = bind_integer(L, 1, "fail_allocation");
  memory->fail_at = n > 0 ? memory->requests + n : 0;
  return 0;
}

BIND_DOC(system_nearest, "nearest(word, names)",
         "The name most similar to a misspelt word; nil if none is similar.\n"
         "@param word string\n"
         "@param names string[]\n"
         "@return string?");
static int system_nearest(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING || lua_type(L, 2) != LUA_TTABLE)
    return bind_error(L, "nearest: expected a string and a list of strings");
  const char *word = lua_tostring(L, 1);
  const size_t n = (size_t)bind_list(L, 2, "nearest");
  const char **names = lua_newuserdatauv(L, (n + 1) * sizeof *names, 0);
  size_t kept = 0;
  for (size_t i = 0; i < n; i++) {
    if (lua_rawgeti(L, 2, (lua_Integer)i + 1) == LUA_TSTRING)
      names[kept++] = lua_tostring(L, -1); /* the list keeps the string alive */
    lua_pop(L, 1);
  }
  names[kept] = NULL;
  lua_pushstring(L, bind_nearest(word, names)); /* nil for NULL */
  return 1;
}

BIND_DOC(system_version, "version(x)",
         "How many times the storage of x was changed in place.\n"
         "@param x tensor\n"
         "@return integer");
static int system_version(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)bind_tensor(L, 1)->storage->version);
  return 1;
}

BIND_DOC(system_clock, "clock()",
         "Seconds of a monotonic clock, for timing.\n"
         "@return number");
static int system_clock(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  lua_pushnumber(L, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
  return 1;
}

BIND_DOC(system_sleep, "sleep(seconds)",
         "Sleep for a number of seconds, or until a signal arrives.\n"
         "@param seconds number");
static int system_sleep(lua_State *L) {
  double seconds = bind_number(L, 1, "sleep: seconds");
  if (!(seconds >= 0 && seconds <= 1e6))
    return bind_error(L, "sleep: expected 0 to 1000000 seconds, got %f", seconds);
  struct timespec wait = { .tv_sec = (time_t)seconds };
  wait.tv_nsec = (long)((seconds - (double)wait.tv_sec) * 1e9);
  nanosleep(&wait, NULL);
  return 0;
}

BIND_DOC(system_isa, "isa()",
         "The instruction set of the CPU kernels: \"baseline\", \"avx2\" or \"avx512\".\n"
         "@return string");
static int system_isa(lua_State *L) {
  lua_pushstring(L, bind_context(L)->cpu.isa);
  return 1;
}

BIND_DOC(system_peak, "peak()",
         "Measure the peak of the CPU: f32 multiply-adds of all threads without memory traffic. "
         "Takes a few\n"
         "milliseconds.\n"
         "@return number FLOP/s");
static int system_peak(lua_State *L) {
  lua_pushnumber(L, bind_context(L)->cpu.peak());
  return 1;
}

BIND_DOC(system_at_end, "at_end(f)",
         "Register a function that the program calls after the script has ended without an error. "
         "An error in f\n"
         "becomes the script's.\n"
         "@param f function");
static int system_at_end(lua_State *L) {
  if (lua_type(L, 1) != LUA_TFUNCTION)
    return bind_error(L, "at_end: expected a function, got %s", bind_describe(L, 1));
  lua_settop(L, 1);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, BAM_AT_END);
  lua_insert(L, 1);
  lua_rawseti(L, 1, (lua_Integer)lua_rawlen(L, 1) + 1);
  return 0;
}

const bind_export bind_system_functions[] = {
  BIND_EXPORT(system_seed),         BIND_EXPORT(system_random_state),
  BIND_EXPORT(system_threads),      BIND_EXPORT(system_memory),
  BIND_EXPORT(system_memory_limit), BIND_EXPORT(system_fail_allocation),
  BIND_EXPORT(system_isa),          BIND_EXPORT(system_nearest),
  BIND_EXPORT(system_peak),         BIND_EXPORT(system_version),
  BIND_EXPORT(system_clock),        BIND_EXPORT(system_sleep),
  BIND_EXPORT(system_at_end),       { NULL, NULL },
};
