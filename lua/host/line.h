/* Reading inputs from the user: with editing, history and completion on a terminal. */
#ifndef BAM_LINE_H
#define BAM_LINE_H

#include <lua.h>
#include <stdbool.h>

enum bam_line { BAM_LINE_END, BAM_LINE_READ, BAM_LINE_CANCELLED };

/* Pushes a reader, a userdata that must stay on the stack while it is used. The table at the top, which is
   popped, has the functions of bam.repl. Without a terminal on stdin and stdout, or with one that is dumb, inputs
   are single lines. */
struct bam_line_reader *host_line_open(lua_State *L);

/* Whether the reader edits, and so returns whole blocks. */
bool host_line_edits(const struct bam_line_reader *reader);

/* Shows the prompt and reads an input; `next_prompt` is shown before its further lines. BAM_LINE_READ: pushes the
   input without its last newline. BAM_LINE_CANCELLED: Ctrl-C was typed; BAM_LINE_END: Ctrl-D, or no more input.
   Neither pushes anything. */
enum bam_line host_line_read(lua_State *L, struct bam_line_reader *reader, const char *prompt,
                             const char *next_prompt);

/* After BAM_LINE_END: whether more can be read, because it was Ctrl-D. */
bool host_line_can_ask(const struct bam_line_reader *reader);

/* Adds an input, which may have several lines, to the history and to its file. */
void host_line_remember(struct bam_line_reader *reader, const char *input);

#endif
