/* The size of the terminal, for progress displays. */
#include <sys/ioctl.h>
#include <unistd.h>

#include "bind.h"

BIND_DOC(terminal_about, "terminal(stream)",
         "The terminal on a standard stream; nil if the stream is not one. Without a known size it "
         "has 80 columns and 0\n"
         "rows.\n"
         "@param stream? \"stdout\"|\"stderr\" stderr by default\n"
         "@return { columns: integer, rows: integer }?");
static int terminal_about(lua_State *L) {
  static const char *const names[] = { "stderr", "stdout", NULL };
  const int file = luaL_checkoption(L, 1, "stderr", names) == 0 ? STDERR_FILENO : STDOUT_FILENO;
  struct winsize size;
  if (!isatty(file))
    return 0;
  const bool known = ioctl(file, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  lua_createtable(L, 0, 2);
  lua_pushinteger(L, known ? size.ws_col : 80);
  lua_setfield(L, -2, "columns");
  lua_pushinteger(L, known ? size.ws_row : 0);
  lua_setfield(L, -2, "rows");
  return 1;
}

const bind_export bind_terminal_functions[] = {
  BIND_EXPORT(terminal_about),
  { NULL, NULL },
};
