/* Scopes: see scope.h. The newest temporaries lie in the scope itself; when that is full they move to a block. */
#include "scope.h"

#include <string.h>

#include "memory.h"

typedef struct bam_scope_block {
  struct bam_scope_block *older;
  bam_tensor *tensors[BAM_SCOPE_TENSORS];
} bam_scope_block;

static void release_all(bam_tensor **tensors, int count) {
  while (count > 0)
    bam_tensor_release(tensors[--count]);
}

void bam_scope_begin(bam_scope *scope, bam_context *context) {
  scope->context = context;
  scope->count = 0;
  scope->blocks = NULL;
}

void bam_scope_end(bam_scope *scope) {
  release_all(scope->tensors, scope->count);
  scope->count = 0;
  for (bam_scope_block *block; (block = scope->blocks) != NULL;) {
    release_all(block->tensors, BAM_SCOPE_TENSORS);
    scope->blocks = block->older;
    bam_object_free(scope->context, block, sizeof *block);
  }
}

/* Move the full array of the scope to a block. */
static bam_status make_room(bam_scope *scope) {
  bam_scope_block *block = bam_object_alloc(scope->context, sizeof *block);
  if (block == NULL)
    return BAM_ERROR_MEMORY;
  memcpy(block->tensors, scope->tensors, sizeof block->tensors);
  block->older = scope->blocks;
  scope->blocks = block;
  scope->count = 0;
  return BAM_OK;
}

bam_status bam_scope_take(bam_scope *scope, bam_tensor *tensor) {
  if (scope->count == BAM_SCOPE_TENSORS && make_room(scope) != BAM_OK) {
    bam_tensor_release(tensor);
    return BAM_ERROR_MEMORY;
  }
  scope->tensors[scope->count++] = tensor;
  return BAM_OK;
}

/* Release the newest of tensors[0 .. count) that is `tensor`; NULL, which is legal to release, takes its place. */
static bool release_one(bam_tensor **tensors, int count, bam_tensor *tensor) {
  for (int i = count - 1; i >= 0; i--)
    if (tensors[i] == tensor) {
      tensors[i] = NULL;
      bam_tensor_release(tensor);
      return true;
    }
  return false;
}

void bam_temp_release(bam_scope *scope, bam_tensor *tensor) {
  if (tensor == NULL)
    return;
  bool found = release_one(scope->tensors, scope->count, tensor);
  while (found && scope->count > 0 && scope->tensors[scope->count - 1] == NULL)
    scope->count--; /* a loop that releases what it made needs no more room */
  for (bam_scope_block *block = scope->blocks; block != NULL && !found; block = block->older)
    found = release_one(block->tensors, BAM_SCOPE_TENSORS, tensor);
}

/* ---- temporaries ---- */

/* Hand `made`, an owned reference, to the scope and out. */
static bam_status hand_out(bam_scope *scope, bam_tensor *made, bam_tensor **out) {
  BAM_TRY(bam_scope_take(scope, made));
  *out = made;
  return BAM_OK;
}

bam_status bam_temp_new(bam_scope *scope, bam_device *device, bam_dtype dtype,
                        const bam_shape *shape, bam_tensor **out) {
  bam_tensor *made = NULL;
  BAM_TRY(bam_tensor_new(scope->context, device, dtype, shape, &made));
  return hand_out(scope, made, out);
}

bam_status bam_temp_like(bam_scope *scope, bam_tensor *like, bam_tensor **out) {
  return bam_temp_new(scope, bam_tensor_device(like), like->dtype, &like->shape, out);
}

bam_status bam_temp_scratch(bam_scope *scope, bam_device *device, bam_dtype dtype, int64_t count,
                            bam_tensor **out) {
  return bam_temp_new(scope, device, dtype, &(bam_shape){ .ndim = 1, .size = { count } }, out);
}

bam_status bam_temp_zeros(bam_scope *scope, bam_device *device, bam_dtype dtype,
                          const bam_shape *shape, bam_tensor **out) {
  bam_tensor *made = NULL;
  BAM_TRY(bam_tensor_zeros(scope->context, device, dtype, shape, &made));
  return hand_out(scope, made, out);
}

bam_status bam_temp_contiguous(bam_scope *scope, bam_tensor *x, bam_tensor **out) {
  return bam_temp_convert(scope, x, x->dtype, out);
}

bam_status bam_temp_convert(bam_scope *scope, bam_tensor *x, bam_dtype dtype, bam_tensor **out) {
  bam_tensor *made = NULL;
  if (x->dtype == dtype && bam_tensor_is_contiguous(x)) {
    *out = x;
    return BAM_OK;
  }
  BAM_TRY(bam_tensor_convert(x, dtype, &made));
  return hand_out(scope, made, out);
}

bam_status bam_temp_view(bam_scope *scope, bam_tensor *of, const bam_shape *shape,
                         const int64_t *stride, int64_t offset, bam_tensor **out) {
  bam_tensor *made = NULL;
  BAM_TRY(bam_tensor_view(of, shape, stride, offset, &made));
  return hand_out(scope, made, out);
}
