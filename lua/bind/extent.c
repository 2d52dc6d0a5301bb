/* Dynamic extents: the time during which a function called by bam.scope or with_grad runs. An extent belongs to the
   coroutine that entered it, and does not count while that is suspended, so a coroutine may yield inside one. It ends
   when the function returns or fails, when its coroutine is closed, or when it is collected. */
#include "extent.h"
#include "traces.h"

#define TYPE "bam.Extent"

static int extent_end(lua_State *L);

/* Whether the coroutine is running, or waits for one that it has resumed. */
static bool is_active(lua_State *L) {
  lua_Debug ar;
  return lua_status(L) == LUA_OK && lua_getstack(L, 0, &ar);
}

bind_extent *bind_extent_find(const bind_state *state, lua_State *L, bind_extent_kind kind) {
  for (bind_extent *e = state->extents; e != NULL; e = e->older)
    if (e->kind == kind && e->L == L)
      return e;
  for (bind_extent *e = state->extents; e != NULL;
       e = e->older) /* of a coroutine that resumed it */
    if (e->kind == kind && is_active(e->L))
      return e;
  return NULL;
}

void bind_extent_select(bind_state *state, lua_State *L) {
  state->thread = L;
  if (state->context == NULL)
    return;
  const bind_extent *e = bind_extent_find(state, L, BIND_GRAD_MODE);
  state->context->no_grad = e != NULL && e->no_grad;
}

void bind_extent_link(bind_state *state, bind_extent *e) {
  e->older = state->extents;
  state->extents = e;
  e->is_linked = true;
}

void bind_extent_unlink(bind_state *state, bind_extent *e) {
  bind_extent **at = &state->extents;
  if (!e->is_linked)
    return;
  while (*at != e)
    at = &(*at)->older;
  *at = e->older;
  e->is_linked = false;
}

/* The extent at 1, or NULL. Requests no memory, so that finalizers do not fail. */
static bind_extent *test_extent(lua_State *L) {
  lua_CFunction end = NULL;
  if (lua_type(L, 1) == LUA_TUSERDATA && lua_getmetatable(L, 1)) {
    lua_rawgeti(L, -1, 1);
    end = lua_tocfunction(L, -1);
    lua_pop(L, 2);
  }
  return end == extent_end ? lua_touserdata(L, 1) : NULL;
}

/* __gc and __close: the extent's function will not go on. */
static int extent_end(lua_State *L) {
  bind_extent *e = test_extent(L);
  if (e == NULL)
    return 0;
  bind_state *state = bind_get_state(L);
  bind_extent_unlink(state, e);
  bind_scope_release(e);
  if (e->kind == BIND_GRAD_MODE)
    bind_extent_select(state, state->thread);
  return 0;
}

/* Push a new extent as a userdata. */
static bind_extent *push_extent(lua_State *L) {
  bind_extent *e = lua_newuserdatauv(L, sizeof *e, 1);
  *e = (bind_extent){ .L = L };
  lua_pushthread(L); /* its address is not used again while the extent is there */
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, TYPE);
  return e;
}

void bind_extent_open(lua_State *L) {
  const luaL_Reg events[] = { { "__close", extent_end }, { "__gc", extent_end }, { NULL, NULL } };
  luaL_newmetatable(L, TYPE);
  luaL_setfuncs(L, events, 0);
  lua_pushcfunction(L, extent_end); /* what test_extent recognizes the type by */
  lua_rawseti(L, -2, 1);
  lua_pop(L, 1);
}

bind_extent *bind_extent_begin(lua_State *L, bind_extent_kind kind, bind_extent *room) {
  bind_extent *e = room;
  if (L == bind_get_state(L)->main) { /* cannot yield, so the C function returns */
    *room = (bind_extent){ .L = L };
    lua_pushnil(L);
    lua_replace(L, 1);
  } else {
    e = push_extent(L);
    lua_replace(L, 1);
    lua_toclose(L, 1);
  }
  e->kind = kind;
  bind_extent_link(bind_get_state(L), e);
  return e;
}

const char bind_note_error;

/* Nothing may raise before the protected call: an extent of the main thread is in a variable of the caller. */
int bind_extent_call(lua_State *L, bind_extent *e, lua_KFunction end) {
  const int arguments = lua_gettop(L) - 2;
  const bool notes = lua_rawgetp(L, LUA_REGISTRYINDEX, &bind_note_error) == LUA_TFUNCTION;
  lua_insert(L, 2);
  const lua_KContext context = (lua_KContext)e;
  return end(L, lua_pcallk(L, arguments, LUA_MULTRET, notes ? 2 : 0, context, end), context);
}
