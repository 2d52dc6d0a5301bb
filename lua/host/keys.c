/* What the keys of the line editor do beyond libedit's own functions. Each function here is one of libedit's editor
   functions: it may change the text, and returns CC_REFRESH, or CC_ERROR if the key can do nothing. */
#include "editor.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

enum { MAX_SHOWN_NAMES = 200, CTRL_C = 3, ESCAPE = 27 };

/* ---- moving ---- */

static unsigned char move_to(EditLine *edit, const wchar_t *to) {
  const LineInfoW *line = el_wline(edit);
  if (to == line->cursor)
    return CC_ERROR;
  el_cursor(edit, (int)(to - line->cursor));
  return CC_REFRESH;
}

static bool is_word(wchar_t c) { return iswalnum((wint_t)c) || c == L'_'; }

static unsigned char previous_word(EditLine *edit, int key) {
  (void)key;
  const LineInfoW *line = el_wline(edit);
  const wchar_t *at = line->cursor;
  while (at > line->buffer && !is_word(at[-1]))
    at--;
  while (at > line->buffer && is_word(at[-1]))
    at--;
  return move_to(edit, at);
}

static unsigned char next_word(EditLine *edit, int key) {
  (void)key;
  const LineInfoW *line = el_wline(edit);
  const wchar_t *at = line->cursor;
  while (at < line->lastchar && !is_word(*at))
    at++;
  while (at < line->lastchar && is_word(*at))
    at++;
  return move_to(edit, at);
}

static const wchar_t *line_start(const LineInfoW *line, const wchar_t *at) {
  while (at > line->buffer && at[-1] != L'\n')
    at--;
  return at;
}

static const wchar_t *line_end(const LineInfoW *line, const wchar_t *at) {
  while (at < line->lastchar && *at != L'\n')
    at++;
  return at;
}

/* Home: the start of the line; from there, the start of the block. */
static unsigned char to_start(EditLine *edit, int key) {
  (void)key;
  const LineInfoW *line = el_wline(edit);
  const wchar_t *start = line_start(line, line->cursor);
  return move_to(edit, start == line->cursor ? line->buffer : start);
}

static unsigned char to_end(EditLine *edit, int key) {
  (void)key;
  const LineInfoW *line = el_wline(edit);
  const wchar_t *end = line_end(line, line->cursor);
  return move_to(edit, end == line->cursor ? line->lastchar : end);
}

static unsigned char older(EditLine *edit, int key) {
  (void)key;
  return host_recall_move(host_editor_of(edit), true) ? CC_REFRESH : CC_ERROR;
}

static unsigned char newer(EditLine *edit, int key) {
  (void)key;
  return host_recall_move(host_editor_of(edit), false) ? CC_REFRESH : CC_ERROR;
}

/* Up: the line above in a block, otherwise the history. */
static unsigned char up(EditLine *edit, int key) {
  const LineInfoW *line = el_wline(edit);
  const wchar_t *start = line_start(line, line->cursor);
  if (start == line->buffer)
    return older(edit, key);
  const wchar_t *above = line_start(line, start - 1), *to = above + (line->cursor - start);
  return move_to(edit, to < start ? to : start - 1);
}

static unsigned char down(EditLine *edit, int key) {
  const LineInfoW *line = el_wline(edit);
  const wchar_t *end = line_end(line, line->cursor);
  if (end == line->lastchar)
    return newer(edit, key);
  const wchar_t *to = end + 1 + (line->cursor - line_start(line, line->cursor)),
                *last = line_end(line, end + 1);
  return move_to(edit, to < last ? to : last);
}

/* ---- lines ---- */

/* Removes spaces from the start of the cursor's line. */
static void remove_indent(EditLine *edit, int count) {
  const LineInfoW *line = el_wline(edit);
  int column = (int)(line->cursor - line_start(line, line->cursor));
  if (count <= 0 || count > column)
    return;
  el_cursor(edit, count - column);
  el_deletestr(edit, count);
  el_cursor(edit, column - count);
}

/* Pushes the text before the cursor, and the text after it. */
static void push_parts(lua_State *L, EditLine *edit) {
  const LineInfo *line = el_line(edit);
  lua_pushlstring(L, line->buffer, (size_t)(line->cursor - line->buffer));
  lua_pushlstring(L, line->cursor, (size_t)(line->lastchar - line->cursor));
}

/* Enter: ends the input if it is complete or wrong, otherwise begins another line. */
static unsigned char enter(EditLine *edit, int key) {
  (void)key;
  struct host_editor *editor = host_editor_of(edit);
  lua_State *L = editor->L;
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 4))
    return CC_ERROR;
  push_parts(L, edit);
  editor->accepted = true;
  if (host_editor_call(editor, "enter", 2, 2)) {
    remove_indent(edit, (int)lua_tointeger(L, -1));
    editor->accepted = !lua_isstring(L, -2) || el_insertstr(edit, lua_tostring(L, -2)) != 0;
  }
  lua_settop(L, top);
  return editor->accepted ? CC_NEWLINE : CC_REFRESH;
}

static unsigned char new_line(EditLine *edit, int key) {
  (void)key;
  return el_insertstr(edit, "\n") == 0 ? CC_REFRESH : CC_ERROR;
}

static unsigned char cancel(EditLine *edit, int key) {
  (void)key;
  const LineInfoW *line = el_wline(edit);
  el_cursor(edit, (int)(line->lastchar - line->cursor));
  el_insertstr(edit, "^C");
  host_editor_of(edit)->cancelled = true;
  return CC_NEWLINE;
}

static unsigned char suspend(EditLine *edit, int key) {
  (void)key;
  host_editor_suspend(host_editor_of(edit));
  return CC_REDISPLAY;
}

static unsigned char clear(EditLine *edit, int key) {
  (void)key;
  host_display_clear(&host_editor_of(edit)->display);
  return CC_REDISPLAY;
}

/* ---- paste ---- */

/* A pasted text while it is read. */
struct paste {
  wchar_t *text;
  size_t length, capacity;
};

static bool add(struct paste *paste, wchar_t c) {
  if (paste->length + 1 >= paste->capacity) {
    size_t capacity = 2 * paste->capacity + 256;
    wchar_t *larger = realloc(paste->text, capacity * sizeof *larger);
    if (larger == NULL)
      return false;
    paste->text = larger;
    paste->capacity = capacity;
  }
  paste->text[paste->length++] = c;
  paste->text[paste->length] = L'\0';
  return true;
}

/* Reads up to the mark ESC [ 2 0 1 ~ that ends a paste, or up to Ctrl-C, which nobody pastes. Returns whether
   there was memory for all of it. */
static bool read_paste(EditLine *edit, struct paste *paste) {
  static const wchar_t mark[] = L"\033[201~";
  const size_t tail = sizeof mark / sizeof mark[0] - 1;
  bool fits = true;
  wchar_t c;
  while (host_editor_read(edit, &c) == 1 && c != CTRL_C) {
    fits = fits && add(paste, c == L'\r' ? L'\n' : c);
    if (!fits || paste->length < tail || wcscmp(paste->text + paste->length - tail, mark) != 0)
      continue;
    paste->length -= tail;
    paste->text[paste->length] = L'\0';
    break;
  }
  return fits;
}

/* Removes control characters other than newlines and tabs. */
static void remove_controls(struct paste *paste) {
  size_t kept = 0;
  for (size_t i = 0; i < paste->length; i++) {
    wchar_t c = paste->text[i];
    if (c == L'\n' || c == L'\t' || (c >= 0x20 && c != 0x7f))
      paste->text[kept++] = c;
  }
  paste->length = kept;
  if (paste->text != NULL)
    paste->text[kept] = L'\0';
}

/* Inserts the string on top of the stack without the newlines at its end. Returns the key that follows: Enter if
   it had any. */
static unsigned char insert_paste(EditLine *edit, lua_State *L) {
  size_t length, kept;
  const char *text = lua_tolstring(L, -1, &length);
  if (text == NULL)
    return CC_ERROR;
  for (kept = length; kept > 0 && text[kept - 1] == '\n';)
    kept--;
  lua_pushlstring(L, text, kept);
  if (kept > 0 && el_insertstr(edit, lua_tostring(L, -1)) != 0)
    return CC_ERROR;
  return kept < length ? enter(edit, '\n') : CC_REFRESH;
}

/* Inserts a pasted text as it is; a newline at its end is Enter. */
static unsigned char paste(EditLine *edit, int key) {
  (void)key;
  struct host_editor *editor = host_editor_of(edit);
  lua_State *L = editor->L;
  struct paste pasted = { 0 };
  unsigned char result = CC_ERROR;
  int top = lua_gettop(L);
  bool fits = read_paste(edit, &pasted) && lua_checkstack(L, 4);
  remove_controls(&pasted);
  size_t size = MB_CUR_MAX * pasted.length + 1;
  char *bytes = fits && pasted.length > 0 ? malloc(size) : NULL;
  if (bytes != NULL && wcstombs(bytes, pasted.text, size) != (size_t)-1) {
    lua_pushstring(L, bytes);
    if (host_editor_call(editor, "paste", 1, 1))
      result = insert_paste(edit, L);
  }
  free(bytes);
  free(pasted.text);
  lua_settop(L, top);
  return result;
}

/* ---- Tab ---- */

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

/* Prints the list at the top in columns, below the text. */
static void show_names(lua_State *L, lua_Integer count, int columns) {
  lua_Integer shown = count < MAX_SHOWN_NAMES ? count : MAX_SHOWN_NAMES;
  int width = 1;
  for (lua_Integer i = 1; i <= shown; i++) {
    lua_rawgeti(L, -1, i);
    int length = (int)lua_rawlen(L, -1);
    if (length + 2 > width)
      width = length + 2;
    lua_pop(L, 1);
  }
  int per_row = columns / width > 0 ? columns / width : 1;
  for (lua_Integer i = 1; i <= shown; i++) {
    lua_rawgeti(L, -1, i);
    bool ends_row = i % per_row == 0 || i == shown;
    printf("%-*s%s", ends_row ? 0 : width, lua_tostring(L, -1), ends_row ? "\n" : "");
    lua_pop(L, 1);
  }
  if (count > shown)
    printf("... and %d more\n", (int)(count - shown));
}

/* Inserts what the names have in common beyond what is typed. */
static unsigned char insert_common(EditLine *edit, lua_State *L, size_t typed, size_t common) {
  lua_rawgeti(L, -1, 1);
  lua_pushlstring(L, lua_tostring(L, -1) + typed, common - typed);
  return el_insertstr(edit, lua_tostring(L, -1)) == 0 ? CC_REFRESH : CC_ERROR;
}

/* The protected part of Tab. Arguments: the editor, and the results of bam.repl's complete. */
static int use_completion(lua_State *L) {
  struct host_editor *editor = lua_touserdata(L, 1);
  int columns = editor->display.columns > 0 ? editor->display.columns : 80;
  const char *usage = lua_tostring(L, 4);
  size_t typed = (size_t)lua_tointeger(L, 3);
  lua_settop(L, 2);
  lua_Integer count = (lua_Integer)lua_rawlen(L, 2);
  size_t common = count > 0 ? common_length(L, count) : 0;
  if (common > typed) {
    editor->result = insert_common(editor->edit, L, typed, common);
  } else if (usage != NULL || count > 1) {
    host_editor_leave(editor);
    if (usage != NULL)
      printf("%s\n", usage);
    else
      show_names(L, count, columns);
    fflush(stdout);
    editor->result = CC_REDISPLAY;
  }
  return 0;
}

/* Tab: indents at the start of a line, otherwise completes the word before the cursor. */
static unsigned char complete(EditLine *edit, int key) {
  (void)key;
  struct host_editor *editor = host_editor_of(edit);
  lua_State *L = editor->L;
  int top = lua_gettop(L);
  const LineInfo *line = el_line(edit);
  const char *at = line->cursor;
  while (at > line->buffer && (at[-1] == ' ' || at[-1] == '\t'))
    at--;
  if (at == line->buffer || at[-1] == '\n')
    return el_insertstr(edit, "  ") == 0 ? CC_REFRESH : CC_ERROR;
  editor->result = CC_ERROR;
  if (!lua_checkstack(L, 6))
    return CC_ERROR;
  lua_pushcfunction(L, use_completion);
  lua_pushlightuserdata(L, editor);
  lua_pushlstring(L, line->buffer, (size_t)(line->cursor - line->buffer));
  if (host_editor_call(editor, "complete", 1, 3))
    lua_pcall(L, 4, 0, 0); /* the only possible error is lack of memory; then Tab does nothing */
  lua_settop(L, top);
  return editor->result;
}

/* ---- bindings ---- */

static const struct {
  const char *name, *help;
  unsigned char (*function)(EditLine *, int);
} functions[] = {
  { "bam-complete", "complete a name", complete },
  { "bam-enter", "end the input if it is complete, else begin a line", enter },
  { "bam-new-line", "begin a line", new_line },
  { "bam-cancel", "cancel the input", cancel },
  { "bam-suspend", "stop the process", suspend },
  { "bam-clear", "clear the screen", clear },
  { "bam-paste", "insert what the terminal pastes", paste },
  { "bam-up", "go up in a block or in the history", up },
  { "bam-down", "go down in a block or in the history", down },
  { "bam-older", "go to the older input that begins like this one", older },
  { "bam-newer", "go to the newer input that begins like this one", newer },
  { "bam-prev-word", "go to the start of the word", previous_word },
  { "bam-next-word", "go to the end of the word", next_word },
  { "bam-start", "go to the start of the line", to_start },
  { "bam-end", "go to the end of the line", to_end },
};

static const struct {
  const char *function;
  const char *keys[8];
} bindings[] = {
  { "bam-complete", { "^I" } },
  { "bam-enter", { "^M", "^J" } },
  { "bam-new-line", { "\\e^M", "\\e^J" } },
  { "bam-cancel", { "^C" } },
  { "bam-suspend", { "^Z" } },
  { "bam-clear", { "^L" } },
  { "bam-paste", { "\\e[200~" } },
  { "bam-up", { "\\e[A", "\\eOA" } },
  { "bam-down", { "\\e[B", "\\eOB" } },
  { "bam-older", { "^P", "\\e[5~", "\\e[1;5A" } },
  { "bam-newer", { "^N", "\\e[6~", "\\e[1;5B" } },
  { "bam-prev-word", { "\\eb", "\\e[1;5D", "\\e[1;3D", "\\e[5D", "\\eOd" } },
  { "bam-next-word", { "\\ef", "\\e[1;5C", "\\e[1;3C", "\\e[5C", "\\eOc" } },
  { "bam-start", { "^A", "\\e[H", "\\eOH", "\\e[1~", "\\e[7~" } },
  { "bam-end", { "^E", "\\e[F", "\\eOF", "\\e[4~", "\\e[8~" } },
  { "ed-prev-char", { "\\e[D", "\\eOD" } },
  { "ed-next-char", { "\\e[C", "\\eOC" } },
  { "ed-delete-next-char", { "\\e[3~" } },
  { "em-delete-next-word", { "\\e[3;5~" } },
  { "em-inc-search-prev", { "^R" } },
};

void host_keys_define(struct host_editor *editor) {
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
    el_set(editor->edit, EL_ADDFN, functions[i].name, functions[i].help, functions[i].function);
}

/* In vi mode, sequences that begin with Escape are for command mode: in insert mode Escape is a key by itself. */
static void bind(EditLine *edit, const char *key, const char *function, bool vi) {
  if (vi && key[0] == '\\')
    el_set(edit, EL_BIND, "-a", key, function, NULL);
  else
    el_set(edit, EL_BIND, key, function, NULL);
}

void host_keys_bind(struct host_editor *editor, bool vi) {
  for (size_t i = 0; i < sizeof bindings / sizeof bindings[0]; i++)
    for (size_t k = 0; k < 8 && bindings[i].keys[k] != NULL; k++)
      if (!vi || strcmp(bindings[i].function, "bam-paste") != 0)
        bind(editor->edit, bindings[i].keys[k], bindings[i].function, vi);
}
