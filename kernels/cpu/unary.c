/* Functions of one floating-point operand and their backward, as kernels/unary_list.h lists them. */
#include "vmath.h"
#include "walk.h"

#define MAKE_UNARY(unused, name, value) UNARY(name, value)
#define MAKE_BINARY(unused, name, value) BINARY(name, value)

BAM_UNARY_FUNCTIONS(, MAKE_UNARY, MAKE_BINARY)
