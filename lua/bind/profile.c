/* Recording profiles (engine/core/profile.h); lua/bam/tensor/profile.lua makes reports of them. */
#include "../../engine/core/profile.h"

#include "bind.h"

BIND_DOC(
  profile_begin, "profile_begin()",
  "Begin to record what ops run and how long they take. An error if a profile is being recorded.");
static int profile_begin(lua_State *L) {
  bind_check(L, bam_profile_begin(bind_context(L)));
  return 0;
}

static void set_number(lua_State *L, const char *name, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

static void push_event(lua_State *L, const bam_profile_event *event) {
  lua_createtable(L, 0, 8);
  lua_pushstring(L, event->name);
  lua_setfield(L, -2, "name");
  lua_pushboolean(L, event->backward);
  lua_setfield(L, -2, "backward");
  lua_pushinteger(L, event->depth);
  lua_setfield(L, -2, "depth");
  set_number(L, "start", event->start);
  set_number(L, "seconds", event->seconds);
  set_number(L, "own", event->seconds - event->inner);
  set_number(L, "flops", event->flops);
  set_number(L, "bytes", event->bytes);
}

static int push_profile(lua_State *L) {
  const bam_profile *profile = lua_touserdata(L, 1);
  lua_createtable(L, 0, 3);
  set_number(L, "seconds", profile->seconds);
  lua_pushinteger(L, profile->lost);
  lua_setfield(L, -2, "lost");
  lua_newtable(L);
  for (int64_t i = 0; i < profile->count; i++) {
    push_event(L, &profile->events[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "events");
  return 1;
}

BIND_DOC(
  profile_end, "profile_end()",
  "End the recording. Its events have name, backward, depth, start, seconds, own, flops, bytes.\n"
  "@return { seconds: number, lost: integer, events: table[] }? profile nil if none was recorded");
static int profile_end(lua_State *L) {
  bam_profile *profile = bam_profile_end(bind_context(L));
  if (profile == NULL)
    return 0;
  lua_pushcfunction(L, push_profile);
  lua_pushlightuserdata(L, profile);
  const int status = lua_pcall(L, 1, 1, 0);
  bam_profile_free(profile);
  return status == LUA_OK ? 1 : lua_error(L);
}

const bind_export bind_profile_functions[] = {
  BIND_EXPORT(profile_begin),
  BIND_EXPORT(profile_end),
  { NULL, NULL },
};
