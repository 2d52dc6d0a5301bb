/* The file that keeps what was typed at the prompt. */
#ifndef BAM_HISTORY_H
#define BAM_HISTORY_H

#include <histedit.h>

enum { BAM_HISTORY_SIZE = 2000 }; /* statements that are loaded and kept */

/* Reads the newest statements of the file into the list, and shortens a file that grew to more than
   twice that many. The file is $BAMLUA_HISTORY, or bamlua_history in $XDG_STATE_HOME, or
   ~/.bamlua_history; an empty name, or one that cannot be used, means that nothing is kept. */
void host_history_load(History *history_list);

/* Appends a statement at once, so that it survives whatever happens next. */
void host_history_append(const char *statement);

#endif
