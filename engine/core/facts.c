/* facts.h. */
#include "facts.h"

#include "capture.h"

static void state(bam_tensor *tensor, bam_facts facts) {
  facts.version = tensor->storage->version;
  tensor->storage->facts = facts;
}

static bool still_hold(const bam_tensor *tensor) {
  return tensor->storage->facts.version == tensor->storage->version;
}

void bam_facts_bound(bam_tensor *tensor, int64_t low, int64_t high) {
  state(tensor, (bam_facts){ .bounded = true, .low = low, .high = high, .other = low });
}

void bam_facts_copy(bam_tensor *to, const bam_tensor *from) {
  if (still_hold(from) && to->dtype == from->dtype)
    state(to, from->storage->facts);
}

void bam_facts_are_starts(bam_tensor *tensor) {
  state(tensor, (bam_facts){ .starts = tensor->shape.size[1] });
}

void bam_facts_are_order(bam_tensor *tensor, int64_t assignments, int64_t experts, bool is_complete,
                         uint64_t copy) {
  state(tensor, (bam_facts){ .order = { assignments, experts, is_complete, copy } });
}

void bam_facts_are_rotations(bam_tensor *tensor, uint64_t rotation) {
  state(tensor, (bam_facts){ .rotation = rotation });
}

void bam_facts_measure(bam_tensor *tensor, const bam_tensor *host) {
  const int64_t *x = bam_tensor_data(host), n = bam_tensor_count(host);
  bam_facts facts = { .bounded = true, .low = INT64_MAX, .high = INT64_MIN, .other = 0 };
  for (int64_t i = 0; i < n && facts.other == 0; i++)
    facts.other = x[i] < 0 ? x[i] : 0;
  for (int64_t i = 0; i < n; i++) {
    const bool apart = x[i] == facts.other;
    facts.low = !apart && x[i] < facts.low ? x[i] : facts.low;
    facts.high = !apart && x[i] > facts.high ? x[i] : facts.high;
  }
  state(tensor, facts);
}

bool bam_facts_within(const bam_tensor *tensor, int64_t low, int64_t high, int64_t other) {
  const bam_facts *f = &tensor->storage->facts;
  if (!f->bounded || !still_hold(tensor) || tensor->dtype != BAM_I64)
    return false;
  const bool inside = f->low > f->high || (f->low >= low && f->high <= high);
  const bool good = inside && (f->other == other || (f->other >= low && f->other <= high));
  if (good && tensor->context->capture != NULL)
    bam_capture_rely(tensor->context->capture, tensor, low, high, other);
  return good;
}

bool bam_facts_have_starts(const bam_tensor *tensor) {
  const int64_t time = tensor->storage->facts.starts;
  if (tensor->context->capture != NULL && bam_capture_is_input(tensor->context->capture, tensor))
    return false;
  return time > 0 && still_hold(tensor) && tensor->dtype == BAM_I32 && tensor->shape.ndim == 2 &&
         tensor->shape.size[1] == time && tensor->offset % time == 0 &&
         bam_tensor_is_contiguous(tensor);
}

const bam_facts *bam_facts_of_order(const bam_tensor *tensor) {
  const bam_facts *f = &tensor->storage->facts;
  const int64_t size = 2 * f->order.assignments + f->order.experts + 1;
  if (tensor->context->capture != NULL && bam_capture_is_input(tensor->context->capture, tensor))
    return NULL;
  const bool is_order = f->order.experts > 0 && still_hold(tensor) && tensor->dtype == BAM_I64 &&
                        tensor->shape.ndim == 1 && tensor->shape.size[0] == size &&
                        bam_tensor_is_contiguous(tensor);
  return is_order ? f : NULL;
}

uint64_t bam_facts_rotation(const bam_tensor *tensor) {
  const bam_shape *shape = &tensor->shape;
  if (!still_hold(tensor) || shape->ndim < 3 || !bam_tensor_is_contiguous(tensor))
    return 0;
  const int64_t row = shape->size[shape->ndim - 2] * shape->size[shape->ndim - 1];
  return row > 0 && tensor->offset % row == 0 ? tensor->storage->facts.rotation : 0;
}
