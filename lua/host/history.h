/* The history file of the REPL. */
#ifndef BAM_HISTORY_H
#define BAM_HISTORY_H

#include <histedit.h>

enum { BAM_HISTORY_SIZE = 2000 }; /* the number of statements loaded and kept */

/* Loads the newest BAM_HISTORY_SIZE statements of the file into the list, and shortens the file if it has
   more than twice as many. The file is $BAMLUA_HISTORY, or bamlua_history in $XDG_STATE_HOME, or
   ~/.bamlua_history. If the name is empty or the file cannot be used, no history is kept. */
void host_history_load(History *history_list);

/* Appends a statement to the file immediately, so that it survives a crash. */
void host_history_append(const char *statement);

#endif
