#include "colors.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_set(const char *name) {
  const char *value = getenv(name);
  return value != NULL && value[0] != '\0';
}

bool host_has_colors(FILE *stream) {
  return !is_set("NO_COLOR") && is_set("TERM") && strcmp(getenv("TERM"), "dumb") != 0 &&
         isatty(fileno(stream));
}

const char *host_color_code(enum host_color color) {
  static const char *const codes[] = {
    [HOST_PLAIN] = "\033[0m",   [HOST_PROMPT] = "\033[1;32m", [HOST_KEYWORD] = "\033[1;34m",
    [HOST_STRING] = "\033[32m", [HOST_NUMBER] = "\033[33m",   [HOST_COMMENT] = "\033[90m",
    [HOST_ERROR] = "\033[31m",  [HOST_NOTE] = "\033[33m",
  };
  return codes[color];
}

enum host_color host_color_of(const char *kind) {
  static const struct {
    const char *kind;
    enum host_color color;
  } known[] = {
    { "keyword", HOST_KEYWORD },
    { "string", HOST_STRING },
    { "number", HOST_NUMBER },
    { "comment", HOST_COMMENT },
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (strcmp(kind, known[i].kind) == 0)
      return known[i].color;
  return HOST_PLAIN;
}

void host_write_colored(FILE *stream, enum host_color color, const char *line) {
  bool colored = host_has_colors(stream);
  fflush(stdout);
  fprintf(stream, "%s%s%s\n", colored ? host_color_code(color) : "", line,
          colored ? host_color_code(HOST_PLAIN) : "");
  fflush(stream);
}
