/* Which dtype a result has when its inputs differ, by PyTorch's three tiers: a tensor with
   dimensions decides before a 0-dimensional one, and that before a plain number, unless the lesser
   is of a higher category (bool < integer < float). Numbers count as i64 and f32. */
#ifndef BAM_PROMOTE_H
#define BAM_PROMOTE_H

#include "../ops.h"

/* The dtype that inputs[first .. first + n) of the call have together. NULL inputs do not count.
   Fails for a dtype that the device only stores. */
bam_status bam_promote_types(bam_call *call, int first, int n, bam_dtype *out);

/* Input i in `dtype`: itself (whatever its strides) when it has it, else a contiguous copy; a temporary
   of the call. Fails for a plain number that the dtype cannot hold. */
bam_status bam_promote_input(bam_call *call, int i, bam_dtype dtype, bam_tensor **out);

#endif
