/* The history at the Up key: entries that begin with the text before the cursor, newest first. */
#include "editor.h"

#include <stdlib.h>
#include <string.h>

void host_recall_reset(struct host_editor *editor) {
  free(editor->recall.typed);
  free(editor->recall.shown);
  editor->recall = (struct host_recall){ 0 };
}

/* Replaces the whole text; the cursor goes to its end. */
static bool replace_text(struct host_editor *editor, const char *text) {
  const LineInfoW *line = el_wline(editor->edit);
  int length = (int)(line->lastchar - line->buffer);
  el_cursor(editor->edit, length); /* clamped at the end */
  el_deletestr(editor->edit, length);
  return text[0] == '\0' || el_insertstr(editor->edit, text) == 0;
}

static char *copy_bytes(const char *text, size_t length) {
  char *copy = malloc(length + 1);
  if (copy != NULL) {
    memcpy(copy, text, length);
    copy[length] = '\0';
  }
  return copy;
}

/* Begins a search unless the text is the entry that was shown last. */
static bool begin_search(struct host_editor *editor) {
  struct host_recall *recall = &editor->recall;
  const LineInfo *line = el_line(editor->edit);
  size_t length = (size_t)(line->lastchar - line->buffer);
  if (recall->shown != NULL && strlen(recall->shown) == length &&
      memcmp(recall->shown, line->buffer, length) == 0)
    return true;
  host_recall_reset(editor);
  recall->typed = copy_bytes(line->buffer, length);
  recall->prefix = (size_t)(line->cursor - line->buffer);
  return recall->typed != NULL;
}

/* The place-th newest entry that begins with the prefix and differs from the one before it; NULL if there is none. */
static const char *find_entry(struct host_editor *editor, int place) {
  const struct host_recall *recall = &editor->recall;
  const char *last = recall->typed;
  HistEvent event;
  for (int got = history(editor->history, &event, H_FIRST); got >= 0;
       got = history(editor->history, &event, H_NEXT)) {
    if (strncmp(event.str, recall->typed, recall->prefix) != 0 || strcmp(event.str, last) == 0)
      continue;
    last = event.str;
    if (--place == 0)
      return event.str;
  }
  return NULL;
}

bool host_recall_move(struct host_editor *editor, bool older) {
  struct host_recall *recall = &editor->recall;
  if (!begin_search(editor))
    return false;
  int place = recall->place + (older ? 1 : -1);
  const char *entry = place > 0 ? find_entry(editor, place) : place == 0 ? recall->typed : NULL;
  char *copy = entry != NULL ? copy_bytes(entry, strlen(entry)) : NULL;
  if (copy == NULL)
    return false;
  free(recall->shown);
  recall->shown = copy;
  recall->place = place;
  return replace_text(editor, copy);
}
