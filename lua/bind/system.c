/* The engine's settings and counters: seed, threads, memory, instruction set. */
#include <time.h>

#include "../../engine/random.h"
#include "at_end.h"
#include "bind.h"

static int system_seed(lua_State *L) {
  bam_context_set_seed(bind_context(L), (uint64_t)bind_integer(L, 1, "seed"));
  return 0;
}

/* random_state() gives { seed, counter }; random_state(s) restores it. */
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

/* memory() counts all devices together; memory("cuda") one of them. */
static int system_memory(lua_State *L) {
  const bam_memory *memory = &bind_context(L)->memory;
  if (!lua_isnoneornil(L, 1)) {
    const bam_device *device = bind_device(L, 1, "memory");
    lua_createtable(L, 0, 2);
    set(L, "live", device->live_bytes);
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

/* memory_limit(bytes): storage allocations beyond it fail; 0 lifts it. */
static int system_memory_limit(lua_State *L) {
  bind_context(L)->memory.limit_bytes = bind_integer(L, 1, "memory_limit");
  return 0;
}

/* fail_allocation(n): the n-th engine allocation from now on fails; 0 stops that. For tests. */
static int system_fail_allocation(lua_State *L) {
  bam_memory *memory = &bind_context(L)->memory;
  int64_t n = bind_integer(L, 1, "fail_allocation");
  memory->fail_at = n > 0 ? memory->requests + n : 0;
  return 0;
}

/* nearest(word, { names }): the name nearest to a misspelt word, or nil. */
static int system_nearest(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING || lua_type(L, 2) != LUA_TTABLE)
    return bind_error(L, "nearest: expected a string and a list of strings");
  const char *word = lua_tostring(L, 1);
  const size_t n = (size_t)bind_list(L, 2, "nearest");
  const char **names = lua_newuserdatauv(L, (n + 1) * sizeof *names, 0);
  size_t kept = 0;
  for (size_t i = 0; i < n; i++) {
    if (lua_rawgeti(L, 2, (lua_Integer)i + 1) == LUA_TSTRING)
      names[kept++] = lua_tostring(L, -1); /* the list keeps the string */
    lua_pop(L, 1);
  }
  names[kept] = NULL;
  lua_pushstring(L, bind_nearest(word, names)); /* nil for NULL */
  return 1;
}

/* version(x): counts the in-place changes of x's storage. */
static int system_version(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)bind_tensor(L, 1)->storage->version);
  return 1;
}

/* clock(): seconds of a clock that never goes back, for measuring. */
static int system_clock(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  lua_pushnumber(L, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
  return 1;
}

/* sleep(seconds): returns early when a signal comes, so that Ctrl-C is seen. */
static int system_sleep(lua_State *L) {
  double seconds = bind_number(L, 1, "sleep: seconds");
  if (!(seconds >= 0 && seconds <= 1e6))
    return bind_error(L, "sleep: expected 0 to 1000000 seconds, got %f", seconds);
  struct timespec wait = { .tv_sec = (time_t)seconds };
  wait.tv_nsec = (long)((seconds - (double)wait.tv_sec) * 1e9);
  nanosleep(&wait, NULL);
  return 0;
}

static int system_isa(lua_State *L) {
  lua_pushstring(L, bind_context(L)->cpu.isa);
  return 1;
}

/* products(): which library and kernels compute matrix products on the CPU, and whether they use a
   lesser instruction set than the CPU's other kernels. */
static int system_products(lua_State *L) {
  char text[96];
  bam_device_describe_products(text, sizeof text);
  lua_pushstring(L, text);
  lua_pushboolean(L, bind_context(L)->cpu.products_lag);
  return 2;
}

/* peak(): the FLOP/s of the CPU's multiply-adds, measured now. */
static int system_peak(lua_State *L) {
  lua_pushnumber(L, bind_context(L)->cpu.peak());
  return 1;
}

/* at_end(f): the program calls f when the script has ended without an error. */
static int system_at_end(lua_State *L) {
  if (lua_type(L, 1) != LUA_TFUNCTION)
    return bind_error(L, "at_end: expected a function, got %s", bind_describe(L, 1));
  lua_settop(L, 1);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, BAM_AT_END);
  lua_insert(L, 1);
  lua_rawseti(L, 1, (lua_Integer)lua_rawlen(L, 1) + 1);
  return 0;
}

const luaL_Reg bind_system_functions[] = {
  { "seed", system_seed },       { "random_state", system_random_state },
  { "threads", system_threads }, { "memory", system_memory },
  { "memory_limit", system_memory_limit }, { "fail_allocation", system_fail_allocation },
  { "isa", system_isa },         { "nearest", system_nearest },
  { "products", system_products }, { "peak", system_peak },
  { "version", system_version }, { "clock", system_clock },
  { "sleep", system_sleep },     { "at_end", system_at_end },
  { NULL, NULL },
};
