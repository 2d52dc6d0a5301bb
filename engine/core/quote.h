/* Quoting of paths, names and other text from users, for use in messages. The result is always one
   line of at most BAM_QUOTE_TEXT bytes, so a hostile name can neither flood a message nor send
   control sequences to a terminal. */
#ifndef BAM_QUOTE_H
#define BAM_QUOTE_H

/* Write `text` in double quotes into `quoted`, and return it. Control characters become '?'; the
   middle of a long text is elided. */
#define BAM_QUOTE_TEXT 240
const char *bam_quote(const char *text, char quoted[BAM_QUOTE_TEXT]);

#endif
