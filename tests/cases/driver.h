/* The op tests as one command of a program. */
#ifndef BAM_CASES_DRIVER_H
#define BAM_CASES_DRIVER_H

/* Run the tests that the options ask for, as --help lists them. Ends with "N passed, N failed" on
   standard output; returns the exit code, which is 0 when none failed. */
int bam_cases_main(int argc, char **argv);

#endif
