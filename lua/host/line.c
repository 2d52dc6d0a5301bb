/* Reading lines: with libedit on a terminal; otherwise lines of stdin are read and echoed after the
   prompt, as in lua5.4. On Tab, libedit calls back into Lua. That call is protected, so no Lua error
   unwinds through libedit. */
#include "line.h"
#include "history.h"

#include <histedit.h>
#include <lauxlib.h>
#include <locale.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MAX_SHOWN_NAMES = 200, DEFAULT_COLUMNS = 80 };

struct bam_line_reader {
  lua_State *L;
  lua_CFunction complete;
  EditLine *editor; /* NULL when stdin is not a terminal */
  History *history;
  const char *prompt;       /* borrowed during host_line_read */
  bool cancelled;           /* the line was ended by Ctrl-C */
  unsigned char tab_result; /* the result of Tab for libedit, such as CC_REFRESH */
};

/* One editor for the one terminal, never freed: el_end would leak the names copied by EL_ADDFN, and the
   terminal is restored after every line anyway. */
static EditLine *the_editor;
static History *the_history;

static struct bam_line_reader *reader_of(EditLine *editor) {
  void *reader = NULL;
  el_get(editor, EL_CLIENTDATA, &reader);
  return reader;
}

static char *show_prompt(EditLine *editor) { return (char *)reader_of(editor)->prompt; }

static unsigned char cancel_line(EditLine *editor, int key) {
  (void)key;
  reader_of(editor)->cancelled = true;
  fputs("^C\n", stdout);
  return CC_NEWLINE;
}

/* libedit's signal handler (EL_SIGNAL) restores the terminal while the process is suspended. */
static unsigned char suspend_process(EditLine *editor, int key) {
  (void)editor;
  (void)key;
  raise(SIGTSTP);
  return CC_REDISPLAY;
}

/* The length of the longest common prefix of the names in the list at the top. */
static size_t common_length(lua_State *L, lua_Integer count) {
  lua_rawgeti(L, -1, 1);
  const char *first = lua_tostring(L, -1);
  size_t common = strlen(first);
  for (lua_Integer i = 2; i <= count; i++) {
    lua_rawgeti(L, -2, i);
    const char *other = lua_tostring(L, -1);
    size_t same = 0;
    while (same < common && other[same] == first[same])
      same++;
    common = same;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return common;
}

static int terminal_columns(void) {
  struct winsize size;
  bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : DEFAULT_COLUMNS;
}

/* Prints the list at the top in columns, below the line being edited. */
static void show_names(lua_State *L, lua_Integer count) {
  lua_Integer shown = count < MAX_SHOWN_NAMES ? count : MAX_SHOWN_NAMES;
  int width = 1;
  for (lua_Integer i = 1; i <= shown; i++) {
    lua_rawgeti(L, -1, i);
    int length = (int)lua_rawlen(L, -1);
    if (length + 2 > width)
      width = length + 2;
    lua_pop(L, 1);
  }
  int per_row = terminal_columns() / width > 0 ? terminal_columns() / width : 1;
  for (lua_Integer i = 1; i <= shown; i++) {
    if ((i - 1) % per_row == 0)
      fputc('\n', stdout);
    lua_rawgeti(L, -1, i);
    printf("%-*s", width, lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  if (count > shown)
    printf("\n... and %d more", (int)(count - shown));
  fputc('\n', stdout);
}

/* The protected part of Tab. Arguments: the reader, and the text before the cursor. */
static int insert_completion(lua_State *L) {
  struct bam_line_reader *reader = lua_touserdata(L, 1);
  lua_pushcfunction(L, reader->complete);
  lua_insert(L, 2);
  lua_call(L, 1, 3);
  if (lua_isstring(L, -1)) {
    printf("\n%s\n", lua_tostring(L, -1));
    reader->tab_result = CC_REDISPLAY;
    return 0;
  }
  lua_pop(L, 1);
  size_t typed = (size_t)lua_tointeger(L, -1);
  lua_pop(L, 1);
  lua_Integer count = (lua_Integer)lua_rawlen(L, -1);
  if (count == 0)
    return 0;
  size_t common = common_length(L, count);
  if (common > typed) {
    lua_rawgeti(L, -1, 1);
    lua_pushlstring(L, lua_tostring(L, -1) + typed, common - typed);
    if (el_insertstr(reader->editor, lua_tostring(L, -1)) == 0)
      reader->tab_result = CC_REFRESH;
  } else if (count > 1) {
    show_names(L, count);
    reader->tab_result = CC_REDISPLAY;
  }
  return 0;
}

/* Pushes the arguments of insert_completion and calls it; both may need to grow the Lua stack. */
static void run_completion(struct bam_line_reader *reader, const LineInfo *line) {
  lua_State *L = reader->L;
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 4))
    return;
  lua_pushcfunction(L, insert_completion);
  lua_pushlightuserdata(L, reader);
  lua_pushlstring(L, line->buffer, (size_t)(line->cursor - line->buffer));
  lua_pcall(L, 2, 0, 0); /* the only possible error is lack of memory; then Tab does nothing */
  lua_settop(L, top);
}

/* Tab: indents at the start of a line, otherwise completes the word before the cursor. */
static unsigned char complete_line(EditLine *editor, int key) {
  (void)key;
  struct bam_line_reader *reader = reader_of(editor);
  const LineInfo *line = el_line(editor);
  const char *at = line->buffer;
  while (at < line->cursor && (*at == ' ' || *at == '\t'))
    at++;
  if (at == line->cursor)
    return el_insertstr(editor, "  ") == 0 ? CC_REFRESH : CC_ERROR;
  reader->tab_result = CC_ERROR;
  run_completion(reader, line);
  fflush(stdout);
  return reader->tab_result;
}

static void bind_keys(EditLine *editor) {
  el_set(editor, EL_ADDFN, "bam-complete", "complete a name", complete_line);
  el_set(editor, EL_BIND, "^I", "bam-complete", NULL);
  /* At the prompt Ctrl-C and Ctrl-Z are ordinary keys, so no signal interrupts libedit. */
  el_set(editor, EL_SETTY, "-d", "-isig", NULL);
  el_set(editor, EL_ADDFN, "bam-cancel", "cancel the line", cancel_line);
  el_set(editor, EL_BIND, "^C", "bam-cancel", NULL);
  el_set(editor, EL_ADDFN, "bam-suspend", "stop the process", suspend_process);
  el_set(editor, EL_BIND, "^Z", "bam-suspend", NULL);
  el_set(editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
}

static void open_editor(lua_State *L, struct bam_line_reader *reader) {
  setlocale(LC_CTYPE, "C.UTF-8"); /* characters for libedit; Lua classifies bytes as before */
  if (the_editor == NULL)
    the_editor = el_init("bamlua", stdin, stdout, stderr);
  if (the_history == NULL)
    the_history = history_init();
  if (the_editor == NULL || the_history == NULL)
    luaL_error(L, "not enough memory");
  reader->editor = the_editor;
  reader->history = the_history;
  HistEvent event;
  history(reader->history, &event, H_SETSIZE, BAM_HISTORY_SIZE);
  history(reader->history, &event, H_SETUNIQUE, 1);
  el_set(reader->editor, EL_CLIENTDATA, reader);
  el_set(reader->editor, EL_PROMPT, show_prompt);
  el_set(reader->editor, EL_EDITOR, "emacs");
  el_set(reader->editor, EL_SIGNAL, 1);
  el_set(reader->editor, EL_HIST, history, reader->history);
  bind_keys(reader->editor);
  host_history_load(reader->history);
}

struct bam_line_reader *host_line_open(lua_State *L, lua_CFunction complete) {
  struct bam_line_reader *reader = lua_newuserdatauv(L, sizeof *reader, 0);
  *reader = (struct bam_line_reader){ .L = L, .complete = complete };
  if (isatty(STDIN_FILENO))
    open_editor(L, reader);
  return reader;
}

/* Pushes the line without its newline. */
static void push_line(lua_State *L, const char *text, size_t length) {
  if (length > 0 && text[length - 1] == '\n')
    length--;
  lua_pushlstring(L, text, length);
}

static enum bam_line read_edited(lua_State *L, struct bam_line_reader *reader) {
  int length = 0;
  reader->cancelled = false;
  const char *text = el_gets(reader->editor, &length);
  if (reader->cancelled)
    return BAM_LINE_CANCELLED;
  if (text == NULL || length <= 0)
    return BAM_LINE_END;
  push_line(L, text, (size_t)length);
  return BAM_LINE_READ;
}

static enum bam_line read_plain(lua_State *L, const char *prompt) {
  char piece[BUFSIZ];
  luaL_Buffer line;
  fputs(prompt, stdout);
  fflush(stdout);
  luaL_buffinit(L, &line);
  bool any = false;
  while (fgets(piece, sizeof piece, stdin) != NULL) {
    any = true;
    luaL_addstring(&line, piece);
    if (strchr(piece, '\n') != NULL)
      break;
  }
  luaL_pushresult(&line);
  if (!any) {
    lua_pop(L, 1);
    return BAM_LINE_END;
  }
  size_t length;
  const char *text = lua_tolstring(L, -1, &length);
  push_line(L, text, length);
  lua_remove(L, -2);
  printf("%s\n", lua_tostring(L, -1));
  fflush(stdout);
  return BAM_LINE_READ;
}

enum bam_line host_line_read(lua_State *L, struct bam_line_reader *reader, const char *prompt) {
  if (reader->editor == NULL)
    return read_plain(L, prompt);
  reader->prompt = prompt;
  enum bam_line result = read_edited(L, reader);
  reader->prompt = "";
  return result;
}

void host_line_remember(struct bam_line_reader *reader, const char *statement) {
  if (reader->history == NULL || statement[0] == '\0')
    return;
  HistEvent event;
  history(reader->history, &event, H_ENTER, statement);
  host_history_append(statement);
}
