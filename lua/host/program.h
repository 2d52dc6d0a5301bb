/* The entry point of the program, apart from main(). */
#ifndef BAM_PROGRAM_H
#define BAM_PROGRAM_H

/* Runs bamlua with this command line (see bamlua --help). Returns the exit code. */
int bamlua_main(int argc, char **argv);

#endif
