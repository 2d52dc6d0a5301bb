#include "display.h"
#include "colors.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { DEFAULT_COLUMNS = 80, DEFAULT_ROWS = 24, TAB_STOP = 8 };

/* A text that grows. After a failed allocation it is incomplete, and nothing more is added. */
struct text {
  char *bytes;
  size_t length, capacity;
  bool failed;
};

/* The rows of a view: bytes of `out` from starts[i] to starts[i + 1]. */
struct layout {
  struct text out;
  size_t *starts;
  int *widths;
  int count, capacity; /* of rows */
  int columns, column;
  int cursor_row, cursor_column;
  enum host_color color; /* in effect */
};

static void add_bytes(struct text *text, const char *bytes, size_t length) {
  if (text->failed)
    return;
  if (text->bytes == NULL || text->length + length > text->capacity) {
    size_t capacity = 2 * (text->length + length) + 256;
    char *larger = realloc(text->bytes, capacity);
    if (larger == NULL) {
      text->failed = true;
      return;
    }
    text->bytes = larger;
    text->capacity = capacity;
  }
  memcpy(text->bytes + text->length, bytes, length);
  text->length += length;
}

static void add_string(struct text *text, const char *string) {
  add_bytes(text, string, strlen(string));
}

/* ---- layout ---- */

static bool grow_rows(struct layout *layout) {
  if (layout->count + 2 <= layout->capacity)
    return true;
  int capacity = 2 * layout->capacity + 32;
  size_t *starts = realloc(layout->starts, (size_t)capacity * sizeof *starts);
  if (starts != NULL)
    layout->starts = starts;
  int *widths = realloc(layout->widths, (size_t)capacity * sizeof *widths);
  if (widths != NULL)
    layout->widths = widths;
  if (starts == NULL || widths == NULL)
    return false;
  layout->capacity = capacity;
  return true;
}

static void set_color(struct layout *layout, enum host_color color) {
  if (layout->color == color)
    return;
  if (layout->color != HOST_PLAIN)
    add_string(&layout->out, host_color_code(HOST_PLAIN));
  if (color != HOST_PLAIN)
    add_string(&layout->out, host_color_code(color));
  layout->color = color;
}

/* Ends the current row and starts the next. */
static void next_row(struct layout *layout) {
  set_color(layout, HOST_PLAIN);
  if (!grow_rows(layout)) {
    layout->out.failed = true;
    return;
  }
  layout->widths[layout->count - 1] = layout->column;
  layout->starts[layout->count++] = layout->out.length;
  layout->starts[layout->count] = layout->out.length;
  layout->column = 0;
}

static void add_character(struct layout *layout, wchar_t c, int width) {
  char bytes[MB_LEN_MAX * 4];
  mbstate_t state = { 0 };
  size_t length = wcrtomb(bytes, c, &state);
  if (layout->column + width > layout->columns)
    next_row(layout);
  if (length != (size_t)-1)
    add_bytes(&layout->out, bytes, length);
  layout->column += width;
}

/* Adds a character that may be a tab or another control character. */
static void add_visible(struct layout *layout, wchar_t c) {
  int width = wcwidth(c);
  if (c == L'\t') {
    do
      add_character(layout, L' ', 1);
    while (layout->column % TAB_STOP != 0 && layout->column < layout->columns);
  } else if (width >= 0) {
    add_character(layout, c, width);
  } else if (c >= 0 && c < 0x20) {
    add_character(layout, L'^', 1);
    add_character(layout, c + L'@', 1);
  } else {
    add_character(layout, L'?', 1);
  }
}

/* The length of the escape sequence at `at`: ESC [ ... letter. 0 if none is there. */
static size_t escape_length(const char *at) {
  if (at[0] != '\033' || at[1] != '[')
    return 0;
  size_t n = 2 + strspn(at + 2, "0123456789;:?");
  return at[n] == '\0' ? 0 : n + 1;
}

static void add_prompt(struct layout *layout, const char *prompt) {
  mbstate_t state = { 0 };
  while (*prompt != '\0') {
    size_t n = escape_length(prompt);
    wchar_t c;
    if (n > 0) {
      add_bytes(&layout->out, prompt, n);
    } else if (*prompt == '\n') {
      next_row(layout);
      n = 1;
    } else {
      n = mbrtowc(&c, prompt, strlen(prompt), &state);
      if (n == (size_t)-1 || n == (size_t)-2) {
        state = (mbstate_t){ 0 };
        c = L'?';
        n = 1;
      }
      add_visible(layout, c);
    }
    prompt += n;
  }
}

static void note_cursor(struct layout *layout, int width) {
  if (layout->column + width > layout->columns)
    next_row(layout);
  layout->cursor_row = layout->count - 1;
  layout->cursor_column = layout->column;
}

static void add_text(struct layout *layout, const struct host_view *view) {
  for (size_t i = 0; i <= view->length; i++) {
    wchar_t c = i < view->length ? view->text[i] : L'\n';
    if (i == view->cursor)
      note_cursor(layout, wcwidth(c) > 0 ? wcwidth(c) : 1);
    if (i == view->length)
      break;
    if (c == L'\n') {
      next_row(layout);
      add_prompt(layout, view->next_prompt);
    } else {
      set_color(layout, view->colors != NULL ? view->colors[i] : HOST_PLAIN);
      add_visible(layout, c);
    }
  }
  set_color(layout, HOST_PLAIN);
}

/* Lays out a view. Returns false if memory is short. */
static bool lay_out(struct layout *layout, const struct host_view *view, int columns) {
  *layout = (struct layout){ .columns = columns };
  if (!grow_rows(layout))
    return false;
  layout->count = 1;
  layout->starts[0] = 0;
  add_prompt(layout, view->prompt);
  add_text(layout, view);
  layout->widths[layout->count - 1] = layout->column;
  layout->starts[layout->count] = layout->out.length;
  return !layout->out.failed;
}

static void release_layout(struct layout *layout) {
  free(layout->out.bytes);
  free(layout->starts);
  free(layout->widths);
}

/* ---- the screen ---- */

void host_display_write(const char *text, size_t length) {
  while (length > 0) {
    ssize_t n = write(STDOUT_FILENO, text, length);
    if (n <= 0)
      return; /* the terminal is gone; reading from it says so */
    text += n;
    length -= (size_t)n;
  }
}

static void add_move(struct text *out, int count, char direction) {
  char sequence[32];
  if (count > 0)
    add_bytes(out, sequence,
              (size_t)snprintf(sequence, sizeof sequence, "\033[%d%c", count, direction));
}

/* Remembers the widths of the rows that are shown, for the next resize. */
static void remember_rows(struct host_display *display, const struct layout *layout, int count) {
  if (count > display->capacity) {
    int *larger = realloc(display->widths, (size_t)count * sizeof *larger);
    if (larger == NULL)
      return;
    display->widths = larger;
    display->capacity = count;
  }
  memcpy(display->widths, layout->widths + display->first, (size_t)count * sizeof *display->widths);
  display->shown = count;
}

/* Writes `count` rows from display->first on over those that were drawn, and clears the rest of these. A window
   is never cleared from its first place on: tmux keeps a copy of what is cleared so. Returns the number of rows
   that the cursor is below the first row. */
static int add_rows(struct text *out, const struct host_display *display,
                    const struct layout *layout, int count) {
  add_string(out, "\r");
  add_move(out, display->cursor_row, 'A');
  int rows = display->shown > count ? display->shown : count;
  bool clears = display->unknown;
  for (int i = 0; i < rows; i++) {
    int row = display->first + i;
    if (i > 0)
      add_string(out, "\r\n");
    if (i < count)
      add_bytes(out, layout->out.bytes + layout->starts[row],
                layout->starts[row + 1] - layout->starts[row]);
    if (i < count && layout->widths[row] == layout->columns)
      continue; /* clearing would take the last column too */
    add_string(out, clears ? "\033[J" : "\033[K");
    clears = false;
  }
  if (clears) {
    add_string(out, "\r\n\033[J");
    rows++;
  }
  return rows - 1;
}

/* Chooses the rows to show, so that the cursor is among them. Returns their number. */
static int choose_rows(struct host_display *display, const struct layout *layout) {
  int count = layout->count < display->rows ? layout->count : display->rows;
  if (display->first > layout->cursor_row)
    display->first = layout->cursor_row;
  if (display->first + count <= layout->cursor_row)
    display->first = layout->cursor_row - count + 1;
  if (display->first + count > layout->count)
    display->first = layout->count - count;
  return count;
}

static void measure(struct host_display *display) {
  struct winsize size = { 0 };
  ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
  display->columns = size.ws_col > 1 ? size.ws_col : DEFAULT_COLUMNS;
  display->rows = size.ws_row > 1 ? size.ws_row : DEFAULT_ROWS;
}

int host_display_columns(void) {
  struct host_display display;
  measure(&display);
  return display.columns;
}

void host_display_draw(struct host_display *display, const struct host_view *view) {
  struct layout layout;
  struct text out = { 0 };
  if (display->columns == 0)
    measure(display);
  if (lay_out(&layout, view, display->columns)) {
    int count = choose_rows(display, &layout);
    int last = add_rows(&out, display, &layout, count), row = layout.cursor_row - display->first;
    add_move(&out, last - row, 'A');
    add_string(&out, "\r");
    add_move(&out, layout.cursor_column, 'C');
    remember_rows(display, &layout, count);
    display->cursor_row = row;
    display->cursor_column = layout.cursor_column;
    display->unknown = false;
    host_display_write(out.bytes, out.length);
  }
  free(out.bytes);
  release_layout(&layout);
}

void host_display_finish(struct host_display *display, const struct host_view *view) {
  struct layout layout;
  struct text out = { 0 };
  if (display->columns == 0)
    measure(display);
  if (lay_out(&layout, view, display->columns)) {
    display->first = 0;
    int last = add_rows(&out, display, &layout, layout.count);
    add_move(&out, last - (layout.count - 1), 'A');
    add_string(&out, "\r\n");
    host_display_write(out.bytes, out.length);
  }
  free(out.bytes);
  release_layout(&layout);
  host_display_forget(display);
}

void host_display_forget(struct host_display *display) {
  display->shown = display->cursor_row = display->cursor_column = display->first = 0;
  display->unknown = true;
  display->columns = 0; /* the window may be resized while nothing is edited */
}

/* The number of terminal rows that a line of `width` columns takes on a terminal of `columns` columns. */
static int rows_taken(int width, int columns) {
  return width <= columns ? 1 : (width - 1) / columns + 1;
}

void host_display_resize(struct host_display *display) {
  int before = display->columns, row = 0;
  measure(display);
  if (before == 0 || display->columns == before)
    return;
  for (int i = 0; i < display->cursor_row && i < display->shown; i++)
    row += rows_taken(display->widths[i], display->columns);
  row += display->cursor_column / display->columns;
  display->cursor_row = row < display->rows ? row : display->rows - 1;
  display->unknown = true;
  display->shown = 0;
}

void host_display_clear(struct host_display *display) {
  static const char clear[] = "\033[H\033[2J";
  host_display_write(clear, sizeof clear - 1);
  display->cursor_row = display->cursor_column = display->shown = 0;
}
