/* The program with the op tests in it, in one file to carry to a machine with another device:
   bamlua --op-cases [options] runs them, anything else is the program itself. */
#include <string.h>

#include "../../lua/host/program.h"
#include "driver.h"

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "--op-cases") == 0)
    return bam_cases_main(argc - 2, argv + 2);
  return bamlua_main(argc, argv);
}
