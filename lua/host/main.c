/* The main function of bamlua, in a file of its own: programs with another one take the rest. */
#include "program.h"

int main(int argc, char **argv) { return bamlua_main(argc, argv); }
