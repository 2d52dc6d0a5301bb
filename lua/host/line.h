/* Reading one line from the user: with editing, history and completion on a terminal. */
#ifndef BAM_LINE_H
#define BAM_LINE_H

#include <lua.h>

enum bam_line { BAM_LINE_END, BAM_LINE_READ, BAM_LINE_CANCELLED };

/* Pushes a reader, a userdata that must stay on the stack while it is used. `complete` is bound to Tab. If
   stdin is not a terminal, the reader returns its lines unedited. */
struct bam_line_reader *host_line_open(lua_State *L, lua_CFunction complete);

/* Shows the prompt and reads a line. BAM_LINE_READ: pushes the line without its newline.
   BAM_LINE_CANCELLED: Ctrl-C was typed; BAM_LINE_END: no more input. Neither pushes anything. */
enum bam_line host_line_read(lua_State *L, struct bam_line_reader *reader, const char *prompt);

/* Adds a statement, which may have several lines, to the history and to its file. */
void host_line_remember(struct bam_line_reader *reader, const char *statement);

#endif
