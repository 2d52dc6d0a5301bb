/* libedit and the terminal. libedit reads keys through host_editor_read and writes to /dev/null; what the user
   sees is drawn by display.c. Signals that arrive while a line is edited are written to a pipe, so that they wake
   the read whichever thread they interrupt. */
#include "editor.h"
#include "colors.h"
#include "history.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PASTE_ON "\033[?2004h" /* the terminal brackets what is pasted */
#define PASTE_OFF "\033[?2004l"

static const int handled[] = { SIGWINCH, SIGCONT, SIGINT, SIGTERM, SIGHUP, SIGQUIT };
enum { HANDLED = sizeof handled / sizeof handled[0], CTRL_C = 3 };

/* Of the process, because signal handlers have no argument. */
static struct sigaction usual[HANDLED];
static int signal_pipe[2] = { -1, -1 };

static void note_signal(int number) {
  int error = errno;
  unsigned char byte = (unsigned char)number;
  (void)!write(signal_pipe[1], &byte, 1);
  errno = error;
}

static void catch_signals(void) {
  struct sigaction action = { .sa_handler = note_signal, .sa_flags = SA_RESTART };
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < HANDLED; i++) {
    sigaction(handled[i], NULL, &usual[i]);
    if (usual[i].sa_handler != SIG_IGN)
      sigaction(handled[i], &action, NULL);
  }
}

static void release_signals(void) {
  for (int i = 0; i < HANDLED; i++)
    sigaction(handled[i], &usual[i], NULL);
}

struct host_editor *host_editor_of(EditLine *edit) {
  void *editor = NULL;
  el_get(edit, EL_CLIENTDATA, &editor);
  return editor;
}

/* ---- Lua ---- */

bool host_editor_call(struct host_editor *editor, const char *function, int nargs, int nresults) {
  lua_State *L = editor->L;
  if (!lua_checkstack(L, 4 + nresults)) {
    lua_pop(L, nargs);
    return false;
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, editor->functions);
  lua_pushstring(L, function); /* a short string that exists already: no error */
  lua_rawget(L, -2);
  lua_remove(L, -2);
  lua_insert(L, -nargs - 1);
  if (lua_pcall(L, nargs, nresults, 0) == LUA_OK)
    return true;
  lua_pop(L, 1);
  return false;
}

/* ---- drawing ---- */

static void write_string(const char *text) { host_display_write(text, strlen(text)); }

/* The number of bytes of a character in UTF-8. */
static size_t bytes_of(wchar_t c) { return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4; }

/* Sets the colors of the characters from the list on top of the stack: first byte, last byte, kind, ... */
static void read_colors(lua_State *L, const LineInfoW *line, unsigned char *colors) {
  size_t byte = 1, length = (size_t)(line->lastchar - line->buffer);
  lua_Integer entry = 1, first = 0, last = 0;
  enum host_color color = HOST_PLAIN;
  for (size_t i = 0; i < length; i++) {
    while (last < (lua_Integer)byte && lua_rawgeti(L, -1, entry) == LUA_TNUMBER) {
      lua_rawgeti(L, -2, entry + 1);
      lua_rawgeti(L, -3, entry + 2);
      first = lua_tointeger(L, -3);
      last = lua_tointeger(L, -2);
      color = lua_isstring(L, -1) ? host_color_of(lua_tostring(L, -1)) : HOST_PLAIN;
      entry += 3;
      lua_pop(L, 3);
    }
    if (lua_type(L, -1) == LUA_TNIL)
      lua_pop(L, 1);
    bool inside = (lua_Integer)byte >= first && (lua_Integer)byte <= last;
    colors[i] = (unsigned char)(inside ? color : HOST_PLAIN);
    byte += bytes_of(line->buffer[i]);
  }
}

/* The colors of the text, to be freed; NULL if there are none. */
static unsigned char *colors_of(struct host_editor *editor, const LineInfoW *line) {
  size_t length = (size_t)(line->lastchar - line->buffer);
  if (length == 0 || !host_has_colors(stdout))
    return NULL;
  unsigned char *colors = malloc(length);
  const LineInfo *bytes = el_line(editor->edit);
  lua_State *L = editor->L;
  int top = lua_gettop(L);
  if (colors == NULL || !lua_checkstack(L, 4)) {
    free(colors);
    return NULL;
  }
  lua_pushlstring(L, bytes->buffer, (size_t)(bytes->lastchar - bytes->buffer));
  if (host_editor_call(editor, "colors", 1, 1) && lua_istable(L, -1)) {
    read_colors(L, line, colors);
  } else {
    free(colors);
    colors = NULL;
  }
  lua_settop(L, top);
  return colors;
}

static void show(struct host_editor *editor,
                 void (*how)(struct host_display *, const struct host_view *)) {
  const LineInfoW *line = el_wline(editor->edit);
  unsigned char *colors = colors_of(editor, line);
  struct host_view view = {
    .prompt = editor->prompt,
    .next_prompt = editor->next_prompt,
    .text = line->buffer,
    .length = (size_t)(line->lastchar - line->buffer),
    .cursor = (size_t)(line->cursor - line->buffer),
    .colors = colors,
  };
  how(&editor->display, &view);
  free(colors);
}

void host_editor_draw(struct host_editor *editor) { show(editor, host_display_draw); }
void host_editor_leave(struct host_editor *editor) { show(editor, host_display_finish); }

/* ---- reading ---- */

static void prepare_terminal(struct host_editor *editor) {
  el_set(editor->edit, EL_PREP_TERM, 1);
  write_string(editor->is_vi ? "" : PASTE_ON);
}

static void restore_terminal(struct host_editor *editor) {
  write_string(editor->is_vi ? "" : PASTE_OFF);
  el_set(editor->edit, EL_PREP_TERM, 0);
}

void host_editor_suspend(struct host_editor *editor) {
  host_editor_leave(editor);
  restore_terminal(editor);
  raise(SIGTSTP);
  prepare_terminal(editor);
}

/* Ends the process by a signal, as it would have ended without the editor. */
static void end_by(struct host_editor *editor, int number) {
  host_editor_leave(editor);
  restore_terminal(editor);
  release_signals();
  raise(number);
  catch_signals(); /* the handler has returned */
  prepare_terminal(editor);
}

/* Takes a signal from the pipe. Returns whether it was an interrupt. */
static bool take_signal(struct host_editor *editor) {
  unsigned char number;
  if (read(signal_pipe[0], &number, 1) != 1)
    return false;
  switch (number) {
  case SIGINT: return true;
  case SIGWINCH:
    host_display_resize(&editor->display);
    el_resize(editor->edit);
    break;
  case SIGCONT:
    prepare_terminal(editor); /* a shell has used the terminal meanwhile */
    host_display_forget(&editor->display);
    break;
  default: end_by(editor, number);
  }
  host_editor_draw(editor);
  return false;
}

static bool has_input(int timeout) {
  struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
  return poll(&input, 1, timeout) > 0;
}

/* Waits for a byte. Returns 1, or 0 at the end of input. */
static int read_byte(struct host_editor *editor, unsigned char *byte) {
  if (!has_input(0))
    host_editor_draw(editor);
  for (;;) {
    struct pollfd inputs[] = { { .fd = signal_pipe[0], .events = POLLIN },
                               { .fd = STDIN_FILENO, .events = POLLIN } };
    if (poll(inputs, 2, -1) < 0)
      continue;
    if (inputs[0].revents != 0 && take_signal(editor)) {
      *byte = CTRL_C;
      return 1;
    }
    if (inputs[1].revents == 0)
      continue;
    ssize_t n = read(STDIN_FILENO, byte, 1);
    if (n == 1)
      return 1;
    if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
      editor->hung_up = true;
      return 0;
    }
  }
}

int host_editor_read(EditLine *edit, wchar_t *c) {
  struct host_editor *editor = host_editor_of(edit);
  mbstate_t state = { 0 };
  for (;;) {
    unsigned char byte;
    if (read_byte(editor, &byte) == 0)
      return 0;
    size_t n = mbrtowc(c, (const char *)&byte, 1, &state);
    if (n <= 1)
      return 1;
    if (n == (size_t)-1)
      state = (mbstate_t){ 0 }; /* not UTF-8: leave the byte out */
  }
}

/* ---- the editor ---- */

static char *no_prompt(EditLine *edit) {
  (void)edit;
  return (char *)"";
}

static EditLine *new_libedit(void) {
  FILE *nowhere = fopen("/dev/null", "we");
  if (nowhere == NULL)
    return NULL;
  EditLine *edit = el_init_fd("bamlua", stdin, nowhere, stderr, STDIN_FILENO, STDOUT_FILENO,
                              STDERR_FILENO);
  if (edit == NULL)
    fclose(nowhere);
  return edit;
}

static void set_up(struct host_editor *editor) {
  HistEvent event;
  history(editor->history, &event, H_SETSIZE, BAM_HISTORY_SIZE);
  history(editor->history, &event, H_SETUNIQUE, 1);
  el_set(editor->edit, EL_CLIENTDATA, editor);
  el_set(editor->edit, EL_PROMPT, no_prompt);
  el_set(editor->edit, EL_EDITOR, "emacs");
  el_set(editor->edit, EL_HIST, history, editor->history);
  el_wset(editor->edit, EL_GETCFN, host_editor_read);
  /* At the prompt Ctrl-C, Ctrl-Z and Ctrl-\ are ordinary keys, so no signal interrupts libedit. */
  el_set(editor->edit, EL_SETTY, "-d", "-isig", NULL);
  host_keys_define(editor);
  host_keys_bind(editor, false);
  el_source(editor->edit, NULL);
  const char *mode = NULL;
  editor->is_vi = el_get(editor->edit, EL_EDITOR, &mode) == 0 && mode != NULL &&
                  strcmp(mode, "vi") == 0;
  if (editor->is_vi)
    host_keys_bind(editor, true); /* `bind -v` has replaced the key maps */
}

struct host_editor *host_editor_get(void) {
  static struct host_editor the_editor;
  if (the_editor.edit != NULL)
    return &the_editor;
  setlocale(LC_CTYPE, "C.UTF-8"); /* characters for libedit; Lua classifies bytes as before */
  if (signal_pipe[0] < 0 && pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
    return NULL;
  if (the_editor.history == NULL)
    the_editor.history = history_init();
  if (the_editor.history == NULL || (the_editor.edit = new_libedit()) == NULL)
    return NULL;
  set_up(&the_editor);
  host_history_load(the_editor.history);
  return &the_editor;
}

void host_editor_begin(struct host_editor *editor) {
  fflush(stdout);
  host_display_forget(&editor->display);
  host_recall_reset(editor);
  editor->accepted = editor->cancelled = editor->hung_up = false;
  catch_signals();
  write_string(editor->is_vi ? "" : PASTE_ON);
}

void host_editor_end(struct host_editor *editor) {
  restore_terminal(editor);
  release_signals();
}
