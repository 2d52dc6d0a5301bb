/* Rows of a table by token id, and the gradients back into the rows, added in an order that depends
   on the ids alone (move_rows.h). */
#include "find_first.h"
#include "scatter_add.h"

struct bad_id {
  const int64_t *ids;
  int64_t limit, ignore;
  __device__ bool operator()(int64_t i) const {
    return (ids[i] < 0 || ids[i] >= limit) && ids[i] != ignore;
  }
};

void KERNEL(check_ids)(bam_stream stream, int64_t *bad, const int64_t *ids, int64_t n,
                       int64_t limit, int64_t ignore) {
  const bad_id is_bad = { ids, limit, ignore };
  *bad = first_index(stream, n, is_bad);
}

void KERNEL(embedding)(bam_stream stream, void *y, const void *weight, const int64_t *ids,
                       int64_t n, int64_t width) {
  const move_shape shape = { 1, 0, n, width };
  take_rows(stream, (element *)y, (const element *)weight, ids, 0, shape);
}

void KERNEL(embedding_backward)(bam_stream stream, void *dweight, const void *dy,
                                const int64_t *ids, int64_t n, int64_t width) {
  const move_shape shape = { 1, 0, n, width };
  const move_of_row move_of = { ids, 0 };
  add_rows(stream, (real *)dweight, (const element *)dy, shape, n, move_of);
}
