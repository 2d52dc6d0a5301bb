/* Ctrl-C as a Lua error. The first Ctrl-C raises the error once; the second raises it repeatedly, in case a
   pcall caught it; the third ends the process, which is the way out of C code that does not return. In a session
   none ends the process: while C code runs on, a line on stderr says what will happen and how to end it. */
#include "interrupts.h"

#include <lauxlib.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "raise.h"

/* State of the signal handler, which takes no argument, hence global: the thread that is running Lua code, and
   how often the current call was interrupted. */
static lua_State *volatile running;
static volatile sig_atomic_t interrupts;
static volatile sig_atomic_t waiting; /* an interrupt has not been raised yet */
static int held;                      /* open calls of bind_interrupts_hold */
static bool in_session;

/* How long code may take to stop before something is said about it. */
static const struct itimerval patience = { .it_value = { .tv_usec = 300000 } };

static void catch_interrupt(void (*handler)(int)) {
  struct sigaction action = { .sa_handler = handler }; /* no SA_RESTART: a blocked read returns */
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
}

/* ---- sessions ---- */

/* Between the inputs of a session Ctrl-C has no effect. It is not ignored, because children would inherit that. */
static void drop_interrupt(int signal_number) { (void)signal_number; }

/* The handler of SIGALRM: an interrupt has been waiting for a while. */
static void say_waiting(int signal_number) {
  static const char first[] = "Ctrl-C: stops after the running operation\n";
  static const char later[] =
    "Ctrl-C: the operation still runs; Ctrl-\\ ends the session at once, and its "
    "variables are lost\n";
  (void)signal_number;
  if (waiting)
    (void)!write(STDERR_FILENO, interrupts == 1 ? first : later,
                 interrupts == 1 ? sizeof first - 1 : sizeof later - 1);
}

void bind_interrupts_session(void) {
  struct sigaction action = { .sa_handler = say_waiting, .sa_flags = SA_RESTART };
  sigemptyset(&action.sa_mask);
  sigaction(SIGALRM, &action, NULL);
  in_session = true;
  catch_interrupt(drop_interrupt);
}

bool bind_interrupts_in_session(void) { return in_session; }

/* ---- the error ---- */

void bind_interrupts_hold(void) { held++; }
void bind_interrupts_release(void) { held--; }

static void interrupt_thread(lua_State *L);

/* The hook. While interrupts are held it stays set, and raises at the first event afterwards. */
static void raise_interrupted(lua_State *L, lua_Debug *where) {
  (void)where;
  if (held > 0)
    return;
  waiting = 0;
  lua_sethook(L, NULL, 0, 0);
  if (interrupts >= 2) /* read after the hook is cleared: the second may come in between */
    interrupt_thread(L);
  luaL_error(L, "interrupted!");
}

bool bind_is_interrupt(lua_State *L, int index) {
  static const char text[] = "interrupted!";
  size_t length, tail = sizeof text - 1;
  if (interrupts == 0 || lua_type(L, index) != LUA_TSTRING)
    return false;
  const char *message = lua_tolstring(L, index, &length);
  return length >= tail && strcmp(message + length - tail, text) == 0;
}

static void interrupt_thread(lua_State *L) {
  lua_sethook(L, raise_interrupted, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

/* Cancels an interrupt that has not yet been raised. Returns whether there was one. */
static bool withdraw_interrupt(lua_State *L) {
  if (lua_gethook(L) != raise_interrupted)
    return false;
  lua_sethook(L, NULL, 0, 0);
  return true;
}

/* The signal handler. lua_sethook is the only function of Lua that it may call. */
static void on_interrupt(int signal_number) {
  (void)signal_number;
  interrupts = interrupts + 1;
  waiting = 1;
  if (in_session)
    setitimer(ITIMER_REAL, &patience, NULL);
  else if (interrupts == 2)
    catch_interrupt(SIG_DFL);
  interrupt_thread(running);
}

void bind_interrupts_begin(lua_State *L) {
  running = L;
  interrupts = waiting = 0;
  catch_interrupt(on_interrupt);
}

void bind_interrupts_end(lua_State *L) {
  catch_interrupt(in_session ? drop_interrupt : SIG_DFL);
  waiting = 0;
  withdraw_interrupt(L); /* a late interrupt must not hit the next call */
}

/* Calls the function below its `nargs` arguments, which resumes the thread `inner`, and tracks `inner` as the
   running thread. An interrupt that `inner` has not raised is passed to the resuming thread. */
static int call_resumer(lua_State *L, lua_State *inner, int nargs) {
  lua_State *outer = running;
  running = inner;
  int status = lua_pcall(L, nargs, LUA_MULTRET, 0);
  running = outer;
  if (withdraw_interrupt(inner))
    interrupt_thread(outer);
  return status;
}

/* coroutine.resume. Upvalue: the original. */
static int tracked_resume(lua_State *L) {
  lua_State *thread = lua_tothread(L, 1);
  if (thread == NULL)
    luaL_typeerror(L, 1, "thread");
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  if (call_resumer(L, thread, lua_gettop(L) - 1) != LUA_OK)
    return lua_error(L);
  return lua_gettop(L);
}

/* A function made by coroutine.wrap. Upvalues: the original function, its thread. */
static int tracked_step(lua_State *L) {
  lua_State *thread = lua_tothread(L, lua_upvalueindex(2));
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  int status = call_resumer(L, thread, lua_gettop(L) - 1);
  if (status == LUA_OK)
    return lua_gettop(L);
  if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1); /* the original would add the position of its caller, tracked_step */
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

/* coroutine.wrap. Upvalue: the original, whose functions hold their thread as first upvalue. */
static int tracked_wrap(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  if (lua_getupvalue(L, -1, 1) == NULL)
    return 1;
  lua_pushcclosure(L, tracked_step, 2);
  return 1;
}

void bind_coroutines_track(lua_State *L) {
  lua_getglobal(L, "coroutine");
  lua_getfield(L, -1, "resume");
  lua_pushcclosure(L, tracked_resume, 1);
  lua_setfield(L, -2, "resume");
  lua_getfield(L, -1, "wrap");
  lua_pushcclosure(L, tracked_wrap, 1);
  lua_setfield(L, -2, "wrap");
  lua_pop(L, 1);
}
