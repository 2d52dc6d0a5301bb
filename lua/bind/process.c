/* The process and its terminal, for scripts. */
#include "../../engine/process.h"

#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "bind.h"

static void set(lua_State *L, const char *name, int64_t value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

/* process() gives { pid, host, peak_bytes, available_bytes, cores } */
static int process_about(lua_State *L) {
  bam_process process;
  bam_process_about(&process);
  lua_createtable(L, 0, 5);
  set(L, "pid", process.pid);
  set(L, "peak_bytes", process.peak_bytes);
  set(L, "available_bytes", process.available_bytes);
  set(L, "cores", process.cores);
  lua_pushstring(L, process.host);
  lua_setfield(L, -2, "host");
  return 1;
}

/* terminal() gives { columns }, or nil when stderr is none */
static int process_terminal(lua_State *L) {
  struct winsize size;
  if (!isatty(STDERR_FILENO))
    return 0;
  bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  lua_createtable(L, 0, 1);
  set(L, "columns", known ? size.ws_col : 80);
  return 1;
}

/* utc() gives "2026-11-24T06:48:53Z" */
static int process_utc(lua_State *L) {
  char text[40];
  time_t now = time(NULL);
  struct tm utc;
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
  lua_pushstring(L, text);
  return 1;
}

const luaL_Reg bind_process_functions[] = {
  { "process", process_about }, { "terminal", process_terminal }, { "utc", process_utc },
  { NULL, NULL },
};
