/* The main function of bamlua, in its own file: test programs link everything else with their own. */
#include "program.h"

int main(int argc, char **argv) { return bamlua_main(argc, argv); }
