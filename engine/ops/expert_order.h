/* The order of assignments by expert, see expert_order.c. */
#ifndef BAM_EXPERT_ORDER_H
#define BAM_EXPERT_ORDER_H

#include "ops.h"

/* The number of elements in the order of `assignments` assignments to `experts` experts: rows, slots, offsets. */
static inline int64_t bam_order_size(int64_t assignments, int64_t experts) {
  return 2 * assignments + experts + 1;
}

/* Sort input `i`, integers within 0 .. experts, into `order`, which has the size of its order and is alone in its
   storage, on the device of the call. Its offsets are on their way to the host when this returns. Fails if an id is
   out of range. */
bam_status bam_call_sort_experts(bam_call *call, int i, int64_t experts, bam_tensor *order);

#endif
