/* Every value is read once, and checked then: a mapped file may change meanwhile. */
#include "window.h"

/* A row of tokens and its documents, as their bytes lie in memory. */
typedef struct text {
  bam_context *context;
  const int32_t *tokens;
  const int64_t *documents;
  int64_t n, n_documents;
} text;

/* One row of the four tensors, from `start` on. */
typedef struct row {
  int64_t start, time;
  int64_t *ids, *targets, *documents, *positions;
} row;

/* ---- arguments ---- */

static bam_status check_vector(bam_context *context, const char *role, const bam_tensor *x,
                               bam_dtype dtype) {
  char shape[BAM_SHAPE_TEXT];
  if (x->dtype != dtype || x->shape.ndim != 1)
    return bam_fail(context, BAM_ERROR_ARGUMENT,
                    "expected %s of dtype %s and shape (n), got %s %s", role, bam_dtype_name(dtype),
                    bam_dtype_name(x->dtype), bam_shape_text(&x->shape, shape));
  if (bam_tensor_device(x) != &context->cpu || !bam_tensor_is_contiguous(x))
    return bam_fail(context, BAM_ERROR_ARGUMENT, "%s must be contiguous and on the CPU", role);
  if (x->shape.size[0] == 0)
    return bam_fail(context, BAM_ERROR_ARGUMENT, "%s are empty", role);
  return BAM_OK;
}

static bam_status check_beginnings(const text *in, const int64_t *starts, int64_t count,
                                   int64_t time) {
  if (time < 1 || count < 1)
    return bam_fail(in->context, BAM_ERROR_ARGUMENT,
                    "expected windows of at least 1 token, and at least 1 window");
  for (int64_t i = 0; i < count; i++)
    if (starts[i] < 0 || starts[i] >= in->n)
      return bam_fail(in->context, BAM_ERROR_ARGUMENT,
                      "window %lld begins at %lld; there are tokens at 0 to %lld",
                      (long long)i + 1, (long long)starts[i], (long long)in->n - 1);
  const long long first = in->documents[0];
  if (first != 0)
    return bam_fail(in->context, BAM_ERROR_FILE,
                    "the first document begins at %lld, not at 0; these are damaged: make them "
                    "again",
                    first);
  return BAM_OK;
}

/* ---- one row ---- */

static bam_status fill_tokens(const text *in, const row *r) {
  for (int64_t t = 0; t <= r->time; t++) {
    bool inside = r->start < in->n - t;
    int64_t token = inside ? in->tokens[r->start + t] : 0;
    if (token < 0)
      return bam_fail(in->context, BAM_ERROR_FILE,
                      "the token at %lld is %lld; these are damaged: make them again",
                      (long long)(r->start + t), (long long)token);
    if (t < r->time)
      r->ids[t] = token;
    if (t > 0)
      r->targets[t - 1] = inside ? token : -100;
  }
  return BAM_OK;
}

/* The first document that begins behind `at`; whatever the offsets are, the one before it does
   not. */
static int64_t find_document(const text *in, int64_t at) {
  int64_t low = 0, high = in->n_documents;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    if (in->documents[middle] <= at)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* Where document k begins, which must be behind `at`; the end of the tokens where there is none. */
static bam_status read_beginning(const text *in, int64_t k, int64_t at, int64_t *out) {
  *out = k < in->n_documents ? in->documents[k] : in->n;
  if (k == in->n_documents || (*out > at && *out < in->n))
    return BAM_OK;
  return bam_fail(in->context, BAM_ERROR_FILE,
                  "document %lld begins at %lld, where offsets from %lld to %lld can be; these are "
                  "damaged: make them again",
                  (long long)k + 1, (long long)*out, (long long)at + 1,
                  (long long)in->n - 1);
}

static bam_status fill_documents(const text *in, const row *r) {
  int64_t next, k = find_document(in, r->start), number = 1, position = 0;
  bam_status status = read_beginning(in, k, r->start, &next);
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
  return (row){ start, time, (int64_t *)bam_tensor_data(w->ids) + i * time,
                (int64_t *)bam_tensor_data(w->targets) + i * time,
                (int64_t *)bam_tensor_data(w->documents) + i * time,
                (int64_t *)bam_tensor_data(w->positions) + i * time };
}

bam_status bam_windows_pack(bam_context *context, const bam_tensor *tokens,
                            const bam_tensor *documents, const int64_t *starts, int64_t count,
                            int64_t time, bam_windows *out) {
  bam_windows windows = { NULL, NULL, NULL, NULL };
  bam_status status = BAM_OK;
  BAM_TRY(check_vector(context, "tokens", tokens, BAM_I32));
  BAM_TRY(check_vector(context, "documents", documents, BAM_I64));
  const text in = { context, bam_tensor_data(tokens), bam_tensor_data(documents),
                    tokens->shape.size[0], documents->shape.size[0] };
  BAM_TRY(check_beginnings(&in, starts, count, time));
  BAM_TRY(make_tensors(context, count, time, &windows));
  for (int64_t i = 0; i < count; i++) {
    row r = find_row(&windows, i, starts[i], time);
    BAM_TRY(fill_tokens(&in, &r));
    BAM_TRY(fill_documents(&in, &r));
  }
  *out = windows;
  return BAM_OK;
done:
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
