/* Functions to call after a script has ended without an error. */
#ifndef BAM_AT_END_H
#define BAM_AT_END_H

/* The registry key of the list of functions, to which core.at_end appends. An error in one of them counts as
   an error of the script: it is reported, and the exit code is 1. */
#define BAM_AT_END "bamlua.at_end"

#endif
