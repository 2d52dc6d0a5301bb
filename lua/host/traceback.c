/* Tracebacks for users. Frames inside bam's own modules are omitted, unless the error is a bug in bam. */
#include "interp.h"

#include <lauxlib.h>
#include <string.h>

#define INTERNAL "=bam/" /* prefix of the chunk name of embedded modules */
#define SHOWN 20         /* maximum frames shown, about as many as in luaL_traceback */
#define SEARCHED 200     /* maximum frames examined: lua_getstack starts from the top every time */

static bool is_internal(const char *source) {
  return strncmp(source, INTERNAL, sizeof INTERNAL - 1) == 0;
}

/* Whether the frame at `level` belongs to bam: a function of an embedded module, or a C function called by
   one. */
static bool frame_is_internal(lua_State *L, int level) {
  lua_Debug frame;
  while (lua_getstack(L, level++, &frame)) {
    lua_getinfo(L, "S", &frame);
    if (*frame.what != 'C')
      return is_internal(frame.source);
  }
  return false;
}

static bool any_internal(lua_State *L) {
  lua_Debug frame;
  for (int level = 1; level < SEARCHED && lua_getstack(L, level, &frame); level++) {
    lua_getinfo(L, "S", &frame);
    if (is_internal(frame.source))
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

void host_traceback(lua_State *L, const char *message) {
  if (is_own_fault(message) || !any_internal(L)) {
    luaL_traceback(L, L, message, 1);
    return;
  }
  lua_Debug frame;
  int level = 1, shown = 0;
  lua_pushfstring(L, "%s\nstack traceback:", message);
  for (; level < SEARCHED && shown < SHOWN && lua_getstack(L, level, &frame); level++)
    if (!frame_is_internal(L, level)) {
      append_frame(L, level);
      shown++;
    }
  if (lua_getstack(L, level, &frame)) {
    lua_pushliteral(L, "\n\t...");
    lua_concat(L, 2);
  }
}
