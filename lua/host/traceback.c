/* Tracebacks for the user. What a script calls in bam's own modules is not the user's to read: those
   frames are left out, unless the fault is in bam itself. */
#include "interp.h"

#include <lauxlib.h>
#include <string.h>

#define INTERNAL "=bam/" /* what the source of an embedded module begins with */
#define SHOWN 20         /* frames at most, about as many as luaL_traceback shows */
#define SEARCHED 200     /* frames looked at: lua_getstack walks from the top every time */

static bool is_internal(const char *source) {
  return strncmp(source, INTERNAL, sizeof INTERNAL - 1) == 0;
}

/* Is the frame at `level` bam's own: a function of an embedded module, or one of C that such a
   function called? */
static bool frame_is_internal(lua_State *L, int level) {
  lua_Debug frame;
  while (lua_getstack(L, level++, &frame)) {
    lua_getinfo(L, "S", &frame);
    if (*frame.what != 'C') return is_internal(frame.source);
  }
  return false;
}

static bool any_internal(lua_State *L) {
  lua_Debug frame;
  for (int level = 1; level < SEARCHED && lua_getstack(L, level, &frame); level++) {
    lua_getinfo(L, "S", &frame);
    if (is_internal(frame.source)) return true;
  }
  return false;
}

/* Replaces the text at the top by itself and a line about the frame at `level`. */
static void append_frame(lua_State *L, int level) {
  luaL_traceback(L, L, NULL, level);
  const char *text = strchr(lua_tostring(L, -1), '\n') + 1;
  const char *end = strchr(text, '\n');
  lua_pushliteral(L, "\n");
  lua_pushlstring(L, text, end == NULL ? strlen(text) : (size_t)(end - text));
  lua_remove(L, -3);
  lua_concat(L, 3);
}

/* An error that names a line of an embedded module is a fault of bam's: then all of it is shown. */
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
