/* Functions of one floating-point operand and their backward, as kernels/unary.h lists them. */
#include "vmath.h"
#include "walk.h"

BAM_UNARY_FUNCTIONS(UNARY, BINARY)
