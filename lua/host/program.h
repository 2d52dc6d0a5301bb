/* The whole program, for whoever has the main function. */
#ifndef BAM_PROGRAM_H
#define BAM_PROGRAM_H

/* What bamlua does with this command line (bamlua --help says what there is). Returns the exit
   code. */
int bamlua_main(int argc, char **argv);

#endif
