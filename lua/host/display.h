/* Drawing of the input that is being edited: a prompt, the text with its colors, and a second prompt in front of
   each further line. libedit decides what keys do to the text, but draws nothing itself: it has no second prompt and
   no colors, and it misplaces the cursor when the window is resized or the text is taller than the screen. */
#ifndef BAM_DISPLAY_H
#define BAM_DISPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <wchar.h>

/* What is drawn; all of it is borrowed. Prompts are UTF-8 and may contain escape sequences. */
struct host_view {
  const char *prompt, *next_prompt;
  const wchar_t *text;
  size_t length, cursor;       /* in characters */
  const unsigned char *colors; /* an enum host_color per character; NULL: no colors */
};

/* What is on the screen: rows and the place of the cursor, counted from the first row that is shown. */
struct host_display {
  int columns, rows; /* of the window */
  int *widths;       /* of the rows that are shown */
  int shown, capacity;
  int cursor_row, cursor_column;
  bool
    unknown; /* rows below the first may have other contents than those drawn: the terminal has wrapped them */
  int
    first; /* the row of the text that is shown first; others than 0 if it is taller than the window */
};

/* Draws over what was drawn before. A text taller than the window is drawn around the cursor. */
void host_display_draw(struct host_display *display, const struct host_view *view);

/* Draws all of the text and leaves the cursor on the row below, for other output. */
void host_display_finish(struct host_display *display, const struct host_view *view);

/* The next draw starts at the cursor, which other output has left at the start of a row. */
void host_display_forget(struct host_display *display);

/* Asks for the size of the window. If that is new, takes into account how the terminal has wrapped the rows; a
   draw must follow. */
void host_display_resize(struct host_display *display);

/* Clears the screen; a draw must follow. */
void host_display_clear(struct host_display *display);

/* The columns of the terminal on stdout. */
int host_display_columns(void);

/* Writes to the terminal at once; flush stdout before. */
void host_display_write(const char *text, size_t length);

#endif
