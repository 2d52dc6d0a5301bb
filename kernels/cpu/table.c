/* The kernel table of one instruction set and dtype. */
#include "cpu.h"

#include "../table.h"
