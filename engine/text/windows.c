/* Values are read in pieces, from memory or from a file, and each is checked after reading. */
#include "windows.h"

#include <string.h>

#define BLOCK 512 /* document offsets per read: 4 KB */

/* A sequence of tokens and its documents. */
typedef struct text {
  bam_context *context;
  bam_row tokens, documents;
  int64_t n, n_documents;
  int64_t block_begin, block_end; /* the range of document offsets held in `block` */
  int64_t block[BLOCK];
  int32_t *piece; /* room for the tokens of a window and one more */
} text;

/* One row of the four output tensors: the window that begins at `start`. */
typedef struct row {
  int64_t start, time;
  int64_t *ids, *targets, *documents, *positions;
} row;

/* ---- arguments ---- */

static bam_status check_vector(bam_context *context, const char *role, const bam_row *x,
                               bam_dtype dtype, int64_t *size) {
  char shape_text[BAM_SHAPE_TEXT];
  int64_t n;
  const bam_tensor *tensor = x->tensor;
  const bam_safetensors_entry *entry = tensor == NULL
                                         ? bam_safetensors_entries(x->file, &n) + x->entry
                                         : NULL;
  const bam_shape *shape = tensor != NULL ? &tensor->shape : &entry->shape;
  bam_dtype found = tensor != NULL ? tensor->dtype : entry->dtype;
  if (found != dtype || shape->ndim != 1)
    return bam_fail(context, BAM_ERROR_ARGUMENT, "expected %s of dtype %s and shape (n), got %s %s",
                    role, bam_dtype_name(dtype), bam_dtype_name(found),
                    bam_shape_text(shape, shape_text));
  if (tensor != NULL &&
      (bam_tensor_device(tensor) != &context->cpu || !bam_tensor_is_contiguous(tensor)))
    return bam_fail(context, BAM_ERROR_ARGUMENT, "%s must be contiguous and on the CPU", role);
  if (shape->size[0] == 0)
    return bam_fail(context, BAM_ERROR_ARGUMENT, "%s are empty", role);
  *size = shape->size[0];
  return BAM_OK;
}

/* ---- reading ---- */

/* Copy elements [from, from + count) of `x`. */
static bam_status read_row(const bam_row *x, int64_t from, int64_t count, void *data) {
  if (x->tensor == NULL)
    return bam_safetensors_elements(x->file, x->entry, from, count, data);
  int64_t size = bam_dtype_size(x->tensor->dtype);
  const char *begin = bam_tensor_data(x->tensor);
  memcpy(data, begin + from * size, (size_t)(count * size));
  return BAM_OK;
}

/* Read the stored offset of document k, unchecked. */
static bam_status read_document(text *in, int64_t k, int64_t *out) {
  if (k < in->block_begin || k >= in->block_end) {
    int64_t begin = k / BLOCK * BLOCK;
    int64_t end = begin + BLOCK < in->n_documents ? begin + BLOCK : in->n_documents;
    in->block_begin = in->block_end = 0; /* empty, in case the read fails */
    BAM_TRY(read_row(&in->documents, begin, end - begin, in->block));
    in->block_begin = begin;
    in->block_end = end;
  }
  *out = in->block[k - in->block_begin];
  return BAM_OK;
}

static bam_status check_beginnings(text *in, const int64_t *starts, int64_t count, int64_t time) {
  if (time < 1 || count < 1)
    return bam_fail(in->context, BAM_ERROR_ARGUMENT,
                    "expected windows of at least 1 token, and at least 1 window");
  for (int64_t i = 0; i < count; i++)
    if (starts[i] < 0 || starts[i] >= in->n)
      return bam_fail(in->context, BAM_ERROR_ARGUMENT,
                      "window %lld begins at %lld, outside the tokens 0 to %lld", (long long)i + 1,
                      (long long)starts[i], (long long)in->n - 1);
  int64_t first;
  bam_status status = read_document(in, 0, &first);
  if (status != BAM_OK || first == 0)
    return status;
  return bam_fail(
    in->context, BAM_ERROR_FILE,
    "the first document begins at %lld, not at 0; the file is damaged: create it again",
    (long long)first);
}

/* ---- one row ---- */

static bam_status fill_tokens(const text *in, const row *r) {
  int64_t left = in->n - r->start, there = left <= r->time ? left : r->time + 1;
  BAM_TRY(read_row(&in->tokens, r->start, there, in->piece));
  for (int64_t t = 0; t <= r->time; t++) {
    bool inside = t < there;
    int64_t token = inside ? in->piece[t] : 0;
    if (token < 0)
      return bam_fail(in->context, BAM_ERROR_FILE,
                      "the token at %lld is %lld; the file is damaged: create it again",
                      (long long)(r->start + t), (long long)token);
    if (t < r->time)
      r->ids[t] = token;
    if (t > 0)
      r->targets[t - 1] = inside ? token : -100;
  }
  return BAM_OK;
}

/* Interpolation search: guess the first document that begins after `at`, in [low, high), as if documents
   were equally long. Document low - 1 begins at `before`, document `high` at `after`. */
static int64_t guess_document(int64_t low, int64_t high, int64_t before, int64_t after,
                              int64_t at) {
  double share = ((double)at - (double)before) / ((double)after - (double)before);
  int64_t guess = low + (int64_t)(share * (double)(high - low));
  return guess < low ? low : guess < high ? guess : high - 1;
}

/* Find the first document that begins after `at`. Even if the offsets are not sorted, the document before
   *out does not begin after `at`. Each probe may cost a read, and interpolation needs few. */
static bam_status find_document(text *in, int64_t at, int64_t *out) {
  int64_t low = 0, high = in->n_documents, before = 0, after = in->n;
  for (int tries = 0; low < high; tries++) {
    int64_t begin, middle = low + (high - low) / 2;
    if (tries < 4 && high - low > 1)
      middle = guess_document(low, high, before, after, at);
    BAM_TRY(read_document(in, middle, &begin));
    if (begin <= at) {
      low = middle + 1;
      before = begin;
    } else {
      high = middle;
      after = begin;
    }
  }
  *out = low;
  return BAM_OK;
}

/* Read and check the offset of document k, which must be beyond `at`. If there is no document k, *out gets
   the end of the tokens. */
static bam_status read_beginning(text *in, int64_t k, int64_t at, int64_t *out) {
  *out = in->n;
  bam_status status = k < in->n_documents ? read_document(in, k, out) : BAM_OK;
  if (status != BAM_OK || k == in->n_documents || (*out > at && *out < in->n))
    return status;
  return bam_fail(in->context, BAM_ERROR_FILE,
                  "document %lld begins at %lld, but must begin between %lld and %lld; the file is "
                  "damaged: create it again",
                  (long long)k + 1, (long long)*out, (long long)at + 1, (long long)in->n - 1);
}

static bam_status fill_documents(text *in, const row *r) {
  int64_t next = 0, k, number = 1, position = 0;
  bam_status status = find_document(in, r->start, &k);
  if (status == BAM_OK)
    status = read_beginning(in, k, r->start, &next);
  for (int64_t t = 0; t < r->time && status == BAM_OK; t++) {
    if (t == next - r->start) {
      number++;
      position = 0;
      if (next < in->n)
        status = read_beginning(in, ++k, next, &next);
    }
    r->documents[t] = number;
    r->positions[t] = position++;
  }
  return status;
}

/* ---- all rows ---- */

static bam_status make_tensors(bam_context *context, int64_t count, int64_t time,
                               bam_windows *out) {
  bam_shape shape = { 2, { count, time } };
  bam_tensor **const tensors[] = { &out->ids, &out->targets, &out->documents, &out->positions };
  bam_status status = BAM_OK;
  for (int i = 0; i < 4 && status == BAM_OK; i++)
    status = bam_tensor_new(context, &context->cpu, BAM_I64, &shape, tensors[i]);
  return status;
}

static row find_row(const bam_windows *w, int64_t i, int64_t start, int64_t time) {
  return (row){ start,
                time,
                (int64_t *)bam_tensor_data(w->ids) + i * time,
                (int64_t *)bam_tensor_data(w->targets) + i * time,
                (int64_t *)bam_tensor_data(w->documents) + i * time,
                (int64_t *)bam_tensor_data(w->positions) + i * time };
}

bam_status bam_windows_pack(bam_context *context, const bam_row *tokens, const bam_row *documents,
                            const int64_t *starts, int64_t count, int64_t time, bam_windows *out) {
  bam_windows windows = { NULL, NULL, NULL, NULL };
  text in = { .context = context, .tokens = *tokens, .documents = *documents };
  size_t piece_bytes = 0;
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(check_vector(context, "tokens", tokens, BAM_I32, &in.n));
  BAM_TRY_OR_DONE(check_vector(context, "documents", documents, BAM_I64, &in.n_documents));
  BAM_TRY_OR_DONE(check_beginnings(&in, starts, count, time));
  piece_bytes = sizeof *in.piece * (size_t)(time < in.n ? time + 1 : in.n);
  if ((in.piece = bam_object_alloc(context, piece_bytes)) == NULL)
    BAM_TRY_OR_DONE(BAM_ERROR_MEMORY);
  BAM_TRY_OR_DONE(make_tensors(context, count, time, &windows));
  for (int64_t i = 0; i < count; i++) {
    row r = find_row(&windows, i, starts[i], time);
    BAM_TRY_OR_DONE(fill_tokens(&in, &r));
    BAM_TRY_OR_DONE(fill_documents(&in, &r));
  }
  *out = windows;
  windows = (bam_windows){ NULL, NULL, NULL, NULL };
done:
  bam_object_free(context, in.piece, piece_bytes);
  bam_windows_release(&windows);
  return status;
}

void bam_windows_release(bam_windows *windows) {
  bam_tensor_release(windows->ids);
  bam_tensor_release(windows->targets);
  bam_tensor_release(windows->documents);
  bam_tensor_release(windows->positions);
  *windows = (bam_windows){ NULL, NULL, NULL, NULL };
}
