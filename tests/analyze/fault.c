/* Planted faults, which the analyzers must report: memory used after it was freed, and a NULL that
   may be read. clean.c is the same without them. */
#include <stdlib.h>

#include "../../lua/bind/raise.h"

int use_after_free(lua_State *L);
int read_null(lua_State *L);

int use_after_free(lua_State *L) {
  int *number = malloc(sizeof *number);
  if (number == NULL)
    return luaL_error(L, "no memory");
  *number = 1;
  free(number);
  return *number;
}

int read_null(lua_State *L) {
  int more = 0;
  const int *number = lua_touserdata(L, 1);
  if (number == NULL)
    more = 1; /* and no return */
  return *number + more;
}
