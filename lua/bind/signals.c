/* Deferring and announcing signals, and the functions of bam.core for it. */
#include "signals.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "bind.h"
#include "interrupts.h"

/* State of the signal handlers, which take no argument, hence global. */
static volatile sig_atomic_t noted;
static bool deferring;
static volatile sig_atomic_t
  was_deferred; /* signals were deferred before, so there is a run to resume */

/* The signals that can be deferred. */
static const struct {
  int number;
  const char *name, *said; /* the message if it is not deferred */
} deferred[] = {
  { SIGINT, "SIGINT", NULL },
  { SIGTERM, "SIGTERM", "bamlua: ended by SIGTERM" },
  { SIGHUP, "SIGHUP", "bamlua: ended by SIGHUP" },
  { SIGPIPE, "SIGPIPE", "bamlua: ended by SIGPIPE: the reader of its output is gone" },
};
#define DEFERRED (sizeof deferred / sizeof deferred[0])
static struct sigaction usual[DEFERRED];

/* ---- handlers ---- */

/* Restore the default action and raise the signal again; it takes effect when the handler returns. */
static void end_by(int number) {
  struct sigaction at_once = { .sa_handler = SIG_DFL };
  sigaction(number, &at_once, NULL);
  raise(number);
}

static void write_text(const char *text) { (void)!write(STDERR_FILENO, text, strlen(text)); }

static void announce(int number) {
  for (size_t i = 0; i < DEFERRED; i++)
    if (number == deferred[i].number && deferred[i].said != NULL)
      write_text(deferred[i].said);
  write_text(was_deferred ? "; run the same command again to resume\n" : "\n");
  end_by(number);
}

/* In a session, say what Ctrl-C does while it is deferred. */
static void answer_interrupt(void) {
  write_text(noted == 0 ? "Ctrl-C: stops after the running step\n"
                        : "Ctrl-C: the step still runs; Ctrl-\\ ends the session at once, and its "
                          "variables are lost\n");
}

static void note(int number) {
  if (number == SIGINT && bind_interrupts_in_session()) {
    answer_interrupt();
    noted = noted == 0 || noted == SIGPIPE ? SIGINT : noted;
    return;
  }
  if (noted != 0 && number == SIGPIPE)
    return;
  if (noted != 0 && noted != SIGPIPE)
    end_by(number);
  noted = number;
}

/* ---- installing handlers ---- */

static struct sigaction action_of(void (*handler)(int)) {
  struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < DEFERRED; i++)
    sigaddset(&action.sa_mask, deferred[i].number); /* handlers must not interrupt one another */
  return action;
}

/* Whether the parent process set the signal to be ignored, as nohup does. */
static bool is_ignored(int number) {
  struct sigaction now;
  return sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

void bind_signals_announce(void) {
  struct sigaction action = action_of(announce);
  for (size_t i = 0; i < DEFERRED; i++)
    if (deferred[i].said != NULL && !is_ignored(deferred[i].number))
      sigaction(deferred[i].number, &action, NULL);
}

bool bind_signals_defer(void) {
  if (deferring)
    return true;
  struct sigaction action = action_of(note);
  noted = 0;
  deferring = true;
  was_deferred = true;
  for (size_t i = 0; i < DEFERRED; i++) {
    sigaction(deferred[i].number, NULL, &usual[i]);
    if (!is_ignored(deferred[i].number) || deferred[i].number == SIGINT)
      sigaction(deferred[i].number, &action, NULL);
  }
  return false;
}

bool bind_signals_restore(void) {
  if (!deferring)
    return false;
  for (size_t i = 0; i < DEFERRED; i++)
    sigaction(deferred[i].number, &usual[i], NULL);
  deferring = false;
  noted = 0;
  return true;
}

const char *bind_signals_pending(void) {
  for (size_t i = 0; i < DEFERRED; i++)
    if (noted == deferred[i].number)
      return deferred[i].name;
  return NULL;
}

/* ---- for scripts ---- */

BIND_DOC(signals_defer, "defer_signals(on)",
         "Defer Ctrl-C, SIGTERM, SIGHUP and SIGPIPE: the first one is noted for pending_signal, a "
         "second one ends\n"
         "the process (except SIGPIPE, which every write raises). `false` restores the previous "
         "state and forgets\n"
         "what was noted. So does the end of the script, or of a statement in the REPL.\n"
         "@param on boolean\n"
         "@return boolean before were they deferred before?");
static int signals_defer(lua_State *L) {
  if (lua_type(L, 1) != LUA_TBOOLEAN)
    return bind_error(L, "defer_signals: expected true or false, got %s", bind_describe(L, 1));
  bool before = lua_toboolean(L, 1) ? bind_signals_defer() : bind_signals_restore();
  lua_pushboolean(L, before);
  return 1;
}

BIND_DOC(signals_pending, "pending_signal()",
         "The signal noted since defer_signals(true), if any.\n"
         "@return \"SIGINT\"|\"SIGTERM\"|\"SIGHUP\"|\"SIGPIPE\"|nil");
static int signals_pending(lua_State *L) {
  lua_pushstring(L, bind_signals_pending()); /* nil for NULL */
  return 1;
}

BIND_DOC(signals_uninterrupted, "uninterrupted(f, ...)",
         "Call f(...). Ctrl-C raises \"interrupted!\" before f starts or after it has returned, "
         "never inside it.\n"
         "@param f function\n"
         "@param ... any arguments of f\n"
         "@return any ... results of f");
static int signals_uninterrupted(lua_State *L) {
  if (!bind_is_callable(L, 1))
    return bind_error(L, "uninterrupted: expected a function, got %s", bind_describe(L, 1));
  bind_interrupts_hold();
  int status = bind_callback(L, lua_gettop(L) - 1);
  bind_interrupts_release();
  return status == LUA_OK ? lua_gettop(L) : bind_raise(L);
}

BIND_DOC(signals_try, "try(f, ...)",
         "pcall for expected errors: Ctrl-C is passed on to the caller.\n"
         "@param f function\n"
         "@param ... any arguments of f\n"
         "@return boolean ok\n"
         "@return any ... results of f, or the error");
static int signals_try(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, true);
  lua_insert(L, 1);
  if (bind_callback(L, lua_gettop(L) - 2) == LUA_OK)
    return lua_gettop(L);
  if (bind_is_interrupt(L, -1))
    return bind_raise(L);
  lua_pushboolean(L, false);
  lua_insert(L, -2);
  return 2;
}

const bind_export bind_signals_functions[] = {
  BIND_EXPORT(signals_defer),
  BIND_EXPORT(signals_pending),
  BIND_EXPORT(signals_uninterrupted),
  BIND_EXPORT(signals_try),
  { NULL, NULL },
};
