/* Colors of what the REPL writes. */
#ifndef BAM_COLORS_H
#define BAM_COLORS_H

#include <stdbool.h>
#include <stdio.h>

enum host_color {
  HOST_PLAIN,
  HOST_PROMPT,
  HOST_KEYWORD,
  HOST_STRING,
  HOST_NUMBER,
  HOST_COMMENT,
  HOST_ERROR,
  HOST_NOTE,
};

/* Whether a stream is a terminal with colors: TERM is set and not "dumb", and NO_COLOR is unset or empty. */
bool host_has_colors(FILE *stream);

/* The escape sequence that starts a color; HOST_PLAIN ends the others. */
const char *host_color_code(enum host_color color);

/* The color of a kind of token ("keyword", "string", ...), HOST_PLAIN if it has none. */
enum host_color host_color_of(const char *kind);

/* Writes a line to a stream, in color if it has colors. */
void host_write_colored(FILE *stream, enum host_color color, const char *line);

#endif
