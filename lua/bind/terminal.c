/* The size of the terminal, for progress displays. */
#include <sys/ioctl.h>
#include <unistd.h>

#include "bind.h"

BIND_DOC(terminal_about, "terminal()",
         "The terminal on stderr; nil if stderr is not one.\n"
         "@return { columns: integer }?");
static int terminal_about(lua_State *L) {
  struct winsize size;
  if (!isatty(STDERR_FILENO))
    return 0;
  bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  lua_createtable(L, 0, 1);
  lua_pushinteger(L, known ? size.ws_col : 80);
  lua_setfield(L, -2, "columns");
  return 1;
}

const bind_export bind_terminal_functions[] = {
  BIND_EXPORT(terminal_about),
  { NULL, NULL },
};
