/* Reading inputs: edited on a terminal; otherwise lines of stdin are read, and echoed after the prompt unless a
   terminal has echoed them, as in lua5.4. */
#include "line.h"
#include "editor.h"
#include "history.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bam_line_reader {
  struct host_editor *editor; /* NULL: lines are not edited */
};

/* Whether the cursor can be moved on the terminal. */
static bool can_edit(void) {
  const char *kind = getenv("TERM");
  return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && kind != NULL && kind[0] != '\0' &&
         strcmp(kind, "dumb") != 0;
}

struct bam_line_reader *host_line_open(lua_State *L) {
  struct host_editor *editor = can_edit() ? host_editor_get() : NULL;
  int enabled = 1;
  if (editor != NULL && el_get(editor->edit, EL_EDITMODE, &enabled) == 0 && !enabled)
    editor = NULL; /* ~/.editrc says `edit off` */
  if (editor != NULL) {
    editor->L = L;
    editor->functions = luaL_ref(L, LUA_REGISTRYINDEX);
  } else {
    lua_pop(L, 1);
  }
  struct bam_line_reader *reader = lua_newuserdatauv(L, sizeof *reader, 0);
  reader->editor = editor;
  return reader;
}

bool host_line_edits(const struct bam_line_reader *reader) { return reader->editor != NULL; }

bool host_line_can_ask(const struct bam_line_reader *reader) {
  return reader->editor != NULL && !reader->editor->hung_up;
}

static enum bam_line read_edited(lua_State *L, struct host_editor *editor) {
  int length = 0;
  host_editor_begin(editor);
  const char *text = el_gets(editor->edit, &length);
  if (editor->accepted && !editor->cancelled)
    lua_pushlstring(L, text == NULL ? "" : text, text == NULL || length < 0 ? 0 : (size_t)length);
  host_editor_end(editor);
  host_editor_leave(editor);
  if (editor->cancelled)
    return BAM_LINE_CANCELLED;
  return editor->accepted ? BAM_LINE_READ : BAM_LINE_END;
}

/* Pushes the line without its newline. */
static void push_line(lua_State *L, const char *text, size_t length) {
  if (length > 0 && text[length - 1] == '\n')
    length--;
  lua_pushlstring(L, text, length);
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
  if (!isatty(STDIN_FILENO))
    printf("%s\n", lua_tostring(L, -1));
  fflush(stdout);
  return BAM_LINE_READ;
}

enum bam_line host_line_read(lua_State *L, struct bam_line_reader *reader, const char *prompt,
                             const char *next_prompt) {
  struct host_editor *editor = reader->editor;
  if (editor == NULL)
    return read_plain(L, prompt);
  editor->prompt = prompt;
  editor->next_prompt = next_prompt;
  enum bam_line result = read_edited(L, editor);
  editor->prompt = editor->next_prompt = "";
  return result;
}

void host_line_remember(struct bam_line_reader *reader, const char *input) {
  if (reader->editor == NULL || input[0] == '\0')
    return;
  HistEvent event;
  history(reader->editor->history, &event, H_ENTER, input);
  host_history_append(input);
}
