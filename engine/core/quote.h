/* Quoting of what users gave, such as paths, for messages. */
#ifndef BAM_QUOTE_H
#define BAM_QUOTE_H

/* `text` in double quotes, fit for a message: control characters become '?', and what is too long
   loses its middle. Returns `quoted`. */
#define BAM_QUOTE_TEXT 240
const char *bam_quote(const char *text, char quoted[BAM_QUOTE_TEXT]);

#endif
