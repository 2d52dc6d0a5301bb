/* What is to happen when a script has ended without an error. */
#ifndef BAM_AT_END_H
#define BAM_AT_END_H

/* The registry's list of functions to call then, which core.at_end appends to. An error in one of
   them is the script's: it is reported, and the exit code says so. */
#define BAM_AT_END "bamlua.at_end"

#endif
