/* Nothing is wrong here, as long as analysers know that raising does not return. */
#include <stdlib.h>

#include "../../lua/bind/bind.h"

int free_after_use(lua_State *L);
int check_null(lua_State *L);
int check_size(lua_State *L);

int free_after_use(lua_State *L) {
  int *number = malloc(sizeof *number);
  if (number == NULL)
    return luaL_error(L, "no memory");
  *number = 1;
  const int result = *number;
  free(number);
  return result;
}

int check_null(lua_State *L) {
  int *number = lua_touserdata(L, 1);
  if (number == NULL)
    bind_error(L, "expected a number");
  return *number;
}

int check_size(lua_State *L) {
  const int64_t numbers[4] = { 1, 2, 3, 4 }, at = bind_integer(L, 1, "at");
  if (at < 0 || at >= 4)
    bind_error(L, "expected 0 to 3");
  return (int)numbers[at];
}
