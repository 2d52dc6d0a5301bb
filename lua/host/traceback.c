/* Tracebacks for users. Frames inside bam's own modules are omitted, unless the error is a bug in bam. */
#include "../bind/traces.h"
#include "interp.h"

#include <lauxlib.h>
#include <string.h>

#define INTERNAL "=bam/" /* prefix of the chunk name of embedded modules */
#define SHOWN 20         /* maximum frames shown, about as many as in luaL_traceback */
#define SEARCHED 200     /* maximum frames examined: lua_getstack starts from the top every time */

static bool is_internal(const char *source) {
  return strncmp(source, INTERNAL, sizeof INTERNAL - 1) == 0;
}

/* Whether the frame is of a function of bam.core, such as an op. */
static bool is_of_core(lua_State *L, lua_Debug *frame) {
  lua_getinfo(L, "f", frame);
  const bool ours = bind_is_binding(L, -1);
  lua_pop(L, 1);
  return ours;
}

/* Whether the frame at `level` belongs to bam: a function of bam.core or of an embedded module, or a C function
   called by one. */
static bool frame_is_internal(lua_State *L, int level) {
  lua_Debug frame;
  if (lua_getstack(L, level, &frame) && is_of_core(L, &frame))
    return true;
  while (lua_getstack(L, level++, &frame)) {
    lua_getinfo(L, "S", &frame);
    if (*frame.what != 'C')
      return is_internal(frame.source);
  }
  return false;
}

/* Whether a function of bam is running. */
static bool any_internal(lua_State *L) {
  lua_Debug frame;
  for (int level = 1; level < SEARCHED && lua_getstack(L, level, &frame); level++) {
    lua_getinfo(L, "S", &frame);
    if (is_internal(frame.source) || is_of_core(L, &frame))
      return true;
  }
  return false;
}

/* Appends a line about the frame at `level` to the text at the top. */
static void append_frame(lua_State *L, int level) {
  luaL_traceback(L, L, NULL, level);
  const char *text = strchr(lua_tostring(L, -1), '\n') + 1;
  const char *end = strchr(text, '\n');
  lua_pushliteral(L, "\n");
  lua_pushlstring(L, text, end == NULL ? strlen(text) : (size_t)(end - text));
  lua_remove(L, -3);
  lua_concat(L, 3);
}

/* Whether the message names a line of an embedded module, hence a bug in bam: then all frames are shown. */
static bool is_own_fault(const char *message) {
  return strncmp(message, INTERNAL + 1, sizeof INTERNAL - 2) == 0;
}

/* Pushes the message and the frames that are not bam's; the message alone if no line of a script is among them. */
static void append_script_frames(lua_State *L, const char *message) {
  lua_Debug frame;
  int level = 1, shown = 0;
  bool has_lines = false;
  lua_pushfstring(L, "%s\nstack traceback:", message);
  for (; level < SEARCHED && shown < SHOWN && lua_getstack(L, level, &frame); level++)
    if (!frame_is_internal(L, level)) {
      append_frame(L, level);
      lua_getinfo(L, "S", &frame);
      has_lines |= *frame.what != 'C';
      shown++;
    }
  if (lua_getstack(L, level, &frame)) {
    lua_pushliteral(L, "\n\t...");
    lua_concat(L, 2);
  }
  if (!has_lines)
    lua_pushstring(L, message);
}

/* Whether the script wants all frames: bam.debug { traces = true }. */
static bool wants_all(lua_State *L) {
  const bool wanted = lua_getfield(L, LUA_REGISTRYINDEX, BAM_TRACE_ALL) == LUA_TBOOLEAN &&
                      lua_toboolean(L, -1);
  lua_pop(L, 1);
  return wanted;
}

/* Pushes what an embedded module gives, and true; or nothing, and false. */
static bool push_module(lua_State *L, const char *name) {
  const int top = lua_gettop(L);
  if (lua_getglobal(L, "require") == LUA_TFUNCTION) {
    lua_pushstring(L, name);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK)
      return true;
  }
  lua_settop(L, top);
  return false;
}

static bool is_bam_loaded(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  const bool loaded = lua_getfield(L, -1, "bam") != LUA_TNIL;
  lua_pop(L, 2);
  return loaded;
}

/* Pushes the message with what to write instead and, if bam is loaded, the line of the script that failed; see
   lua/bam/util/failing_line.lua. Called by the message handler: there must be no other function between. */
static const char *push_with_line(lua_State *L, const char *message) {
  const int top = lua_gettop(L);
  const char *module = is_bam_loaded(L) ? "bam.util.failing_line" : "bam.util.native_errors";
  if (push_module(L, module) && lua_istable(L, -1) &&
      lua_getfield(L, -1, "ending") == LUA_TFUNCTION) {
    lua_pushstring(L, message);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK && lua_isstring(L, -1))
      return lua_pushfstring(L, "%s%s", message, lua_tostring(L, -1));
  }
  lua_settop(L, top);
  return message;
}

void host_explain_syntax(lua_State *L, const char *text, const char *path) {
  const int message = lua_gettop(L);
  const char *function = text != NULL ? "explain" : "explain_file";
  if ((text != NULL || path != NULL) && push_module(L, "bam.util.other_syntax") &&
      lua_istable(L, -1) && lua_getfield(L, -1, function) == LUA_TFUNCTION) {
    lua_pushvalue(L, message);
    lua_pushstring(L, text != NULL ? text : path);
    if (lua_pcall(L, 2, 1, 0) == LUA_OK && lua_isstring(L, -1))
      lua_copy(L, -1, message);
  }
  lua_settop(L, message);
}

void host_traceback(lua_State *L, const char *message) {
  const bool own_fault = is_own_fault(message);
  message = push_with_line(L, message);
  if (own_fault || wants_all(L) || !any_internal(L)) {
    luaL_traceback(L, L, message, 1);
    return;
  }
  append_script_frames(L, message);
}
