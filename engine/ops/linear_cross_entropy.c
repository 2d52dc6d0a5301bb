/* The head and its loss in chunks of tokens: the logits of one chunk are the most that ever exists.
   With `scale` the gradients are computed along with the loss, chunk by chunk, since their final
   factor is known; without it forward computes the loss alone and backward computes the logits
   again. */
#include <inttypes.h>
#include <math.h>

#include "../autograd/autograd.h"
#include "support/layer_inputs.h"

/* On the CPU: logits of at most CHUNK_BYTES, which is more than 3/4 of the promised 128 MB. */
#define CHUNK_BYTES 100000000
#define CHUNK_TOKENS 512 /* more do not make the products faster */
#define CACHE_BYTES \
  (2 << 20) /* half of these tokens are taken if only their logits fit in this much cache */
/* On a device, whose products want many rows: logits of at most 1/DEVICE_SHARE of its memory. With
   256,000 tokens in bf16, 8192 rows take 3.9 GiB; a device of 141 GB allows 4.1 GiB. */
#define DEVICE_TOKENS 8192
#define DEVICE_SHARE 32

enum { ATTR_IGNORE, ATTR_CHUNK, ATTR_SCALE };
/* Without scale: what backward starts from. With it: the finished gradients. */
enum { SAVED_X, SAVED_WEIGHT, SAVED_TARGETS, SAVED_STATS, SAVED_SCALE, SAVED_DX, SAVED_DW };

/* Everything the chunks work on: borrowed, or temporaries. */
typedef struct head {
  bam_device *device;
  const bam_kernels *kernels;
  bam_dtype dtype;
  int64_t rows, width, vocabulary, chunk, ignore;
  bam_tensor *x, *weight, *targets; /* contiguous */
  bam_tensor *stats, *scale, *losses, *logits;
} head;

/* As many tokens as memory and cache suggest, in whole GEMM tiles. */
static int64_t cpu_chunk(int64_t row_bytes) {
  const int64_t fits = CHUNK_BYTES / row_bytes, cached = CACHE_BYTES / row_bytes;
  const int64_t tokens = cached < CHUNK_TOKENS && cached >= CHUNK_TOKENS / 2 ? CHUNK_TOKENS / 2
                                                                             : CHUNK_TOKENS;
  const int64_t chunk = fits < tokens ? fits : tokens;
  return chunk > 16 ? chunk / 16 * 16 : chunk;
}

/* The same on a device, from its size and not from what is free, so that a run repeats to the bit. */
static int64_t device_chunk(const bam_device *device, int64_t row_bytes) {
  const int64_t total = device->total_bytes;
  const int64_t fits = (total > 0 ? total / DEVICE_SHARE : CHUNK_BYTES) / row_bytes;
  const int64_t chunk = fits < DEVICE_TOKENS ? fits : DEVICE_TOKENS;
  return chunk > 128 ? chunk / 128 * 128 : chunk;
}

/* Tokens per chunk: as asked for, or chosen for the device. */
static int64_t choose_chunk(const head *h, int64_t asked) {
  const int64_t row_bytes = bam_dtype_size(h->dtype) * (h->vocabulary > 0 ? h->vocabulary : 1);
  int64_t chunk = asked;
  if (asked <= 0)
    chunk = h->device->is_host ? cpu_chunk(row_bytes) : device_chunk(h->device, row_bytes);
  chunk = chunk < h->rows ? chunk : h->rows;
  return chunk > 1 ? chunk : 1;
}

/* Element `row * width` of a tensor with rows of `width`. */
static void *row_of(const bam_tensor *tensor, int64_t row, int64_t width) {
  return (char *)bam_tensor_data(tensor) + row * width * bam_dtype_size(tensor->dtype);
}

/* ---- one chunk: tokens from .. from + n ---- */

static void chunk_logits(const head *h, int64_t from, int64_t n) {
  bam_product_run(&(bam_product){ .m = n, .n = h->vocabulary, .k = h->width, .transpose_b = true },
                  h->device, h->dtype, bam_tensor_data(h->logits), row_of(h->x, from, h->width),
                  bam_tensor_data(h->weight));
}

static void chunk_losses(const head *h, int64_t from, int64_t n) {
  h->kernels->cross_entropy(h->device->stream, row_of(h->losses, from, 1),
                            row_of(h->stats, from, 2), bam_tensor_data(h->logits),
                            row_of(h->targets, from, 1), n, h->vocabulary, h->ignore);
}

/* Where gradients go; NULL: not wanted. */
typedef struct head_gradients {
  bam_tensor *dx, *dw;
  bool add_dx, add_dw;
} head_gradients;

/* From logits and their stats to the logits' gradients, in their place. */
static void chunk_slopes(const head *h, int64_t from, int64_t n, const void *seed) {
  void *logits = bam_tensor_data(h->logits);
  h->kernels->cross_entropy_backward(
    h->device->stream, &(bam_cross_entropy_gradients){ .dx = logits,
                                                       .x = logits,
                                                       .stats = row_of(h->stats, from, 2),
                                                       .targets = row_of(h->targets, from, 1),
                                                       .scale = bam_tensor_data(h->scale),
                                                       .seed = seed,
                                                       .rows = n,
                                                       .n = h->vocabulary,
                                                       .ignore = h->ignore });
}

/* Losses, and gradients in place of the logits, at once: for a seed of 1. */
static void chunk_losses_and_slopes(const head *h, int64_t from, int64_t n) {
  h->kernels->cross_entropy_in_place(h->device->stream, row_of(h->losses, from, 1),
                                     bam_tensor_data(h->logits), row_of(h->targets, from, 1),
                                     bam_tensor_data(h->scale), n, h->vocabulary, h->ignore);
}

/* From the logits' gradients to those of x and weight. */
static void chunk_gradients(const head *h, int64_t from, int64_t n, const head_gradients *to) {
  void *logits = bam_tensor_data(h->logits);
  if (to->dx != NULL)
    bam_product_run(&(bam_product){ .m = n,
                                    .n = h->width,
                                    .k = h->vocabulary,
                                    .add = to->add_dx,
                                    .real_c = to->dx->dtype != h->dtype },
                    h->device, h->dtype, row_of(to->dx, from, h->width), logits,
                    bam_tensor_data(h->weight));
  if (to->dw != NULL)
    bam_product_run(&(bam_product){ .m = h->vocabulary,
                                    .n = h->width,
                                    .k = n,
                                    .transpose_a = true,
                                    .add = to->add_dw || from > 0,
                                    .real_c = to->dw->dtype != h->dtype },
                    h->device, h->dtype, bam_tensor_data(to->dw), logits,
                    row_of(h->x, from, h->width));
}

/* ---- forward ---- */

static bam_status check_head(bam_call *call) {
  const bam_shape *x = &call->inputs[0]->shape, *weight = &call->inputs[1]->shape;
  char tx[BAM_SHAPE_TEXT], tw[BAM_SHAPE_TEXT];
  if (x->ndim < 1 || weight->ndim != 2)
    return bam_call_fail(call, "needs x [..., D] and weight [V, D], not %s and %s",
                         bam_shape_text(x, tx), bam_shape_text(weight, tw));
  if (bam_shape_width(x) != weight->size[1])
    return bam_call_fail(call, "x is %s and weight %s: their last sizes differ",
                         bam_shape_text(x, tx), bam_shape_text(weight, tw));
  if (call->attrs[ATTR_CHUNK].i < 0)
    return bam_call_fail(call, "chunk is %" PRId64 "; it must be a number of tokens",
                         call->attrs[ATTR_CHUNK].i);
  BAM_TRY(bam_call_check_product(call, 0));
  BAM_TRY(bam_call_check_product(call, 1));
  bam_shape rows = *x;
  rows.ndim--;
  return bam_call_expect_shape(call, 2, &rows, "one id per row of x");
}

static void set_sizes(head *h, const bam_shape *x, const bam_shape *weight, const bam_attr *attrs) {
  h->dtype = h->x->dtype;
  h->rows = bam_shape_rows(x);
  h->width = bam_shape_width(x);
  h->vocabulary = weight->size[0];
  h->chunk = choose_chunk(h, attrs[ATTR_CHUNK].i);
  h->ignore = attrs[ATTR_IGNORE].i;
}

static bam_status open_head(bam_call *call, head *h) {
  h->device = bam_call_device(call);
  BAM_TRY(check_head(call));
  const bam_shape *weight = &call->inputs[1]->shape;
  BAM_TRY(bam_call_layer_input(call, 0, 0, &h->x));
  BAM_TRY(bam_call_layer_input(call, 1, 0, &h->weight));
  BAM_TRY(bam_call_ids(call, 2, weight->size[0], call->attrs[ATTR_IGNORE].i, &h->targets));
  set_sizes(h, &call->inputs[0]->shape, weight, call->attrs);
  BAM_TRY(bam_call_kernels(call, h->dtype, &h->kernels));
  const bam_dtype real = bam_dtype_arithmetic(h->dtype);
  BAM_TRY(bam_temp_scratch(call->scope, h->device, real, 2 * h->rows, &h->stats));
  BAM_TRY(bam_temp_scratch(call->scope, h->device, BAM_F64, h->rows, &h->losses));
  BAM_TRY(bam_temp_scratch(call->scope, h->device, BAM_F64, 1, &h->scale));
  BAM_TRY(bam_temp_scratch(call->scope, h->device, h->dtype, h->chunk * h->vocabulary, &h->logits));
  return bam_call_output(call, 0, real, &(bam_shape){ .ndim = 0 });
}

/* The training loop's mode: gradients of x and weight beside the loss. The weight's goes straight
   into its gradient buffer when it is a leaf that has one, else it is kept for backward. */
static bam_status open_gradients(bam_call *call, const head *h, head_gradients *to) {
  bam_tensor *x = call->inputs[0], *weight = call->inputs[1];
  if (!call->recording || !call->attrs[ATTR_SCALE].given)
    return BAM_OK;
  if (x->requires_grad)
    BAM_TRY(bam_temp_new(call->scope, h->device, h->dtype, &x->shape, &to->dx));
  if (weight->requires_grad && weight->node == NULL && weight->grad != NULL &&
      bam_tensor_is_contiguous(weight->grad)) {
    to->dw = weight->grad;
    to->add_dw = true;
    BAM_TRY(bam_scope_take(call->scope, bam_tensor_retain(to->dw)));
  } else if (weight->requires_grad) {
    BAM_TRY(bam_temp_zeros(call->scope, h->device, bam_dtype_arithmetic(h->dtype), &weight->shape,
                           &to->dw));
  }
  BAM_TRY(bam_call_save(call, SAVED_SCALE, h->scale)); /* backward drops it: it can run once */
  BAM_TRY(bam_call_save(call, SAVED_DX, to->dx));
  if (!to->add_dw)
    BAM_TRY(bam_call_save(call, SAVED_DW, to->dw));
  return BAM_OK;
}

/* Without scale: the inputs for backward, and the factor that makes a mean. */
static bam_status find_scale(bam_call *call, const head *h) {
  if (call->attrs[ATTR_SCALE].given)
    return bam_tensor_fill(h->scale, call->attrs[ATTR_SCALE].f);
  h->kernels->loss_scale(h->device->stream, bam_tensor_data(h->scale), bam_tensor_data(h->targets),
                         h->rows, h->ignore);
  BAM_TRY(bam_call_save(call, SAVED_X, h->x));
  BAM_TRY(bam_call_save(call, SAVED_WEIGHT, h->weight));
  BAM_TRY(bam_call_save(call, SAVED_TARGETS, h->targets));
  BAM_TRY(bam_call_save(call, SAVED_STATS, h->stats));
  return bam_call_save(call, SAVED_SCALE, h->scale);
}

static bam_status linear_cross_entropy_forward(bam_call *call) {
  head h = { .device = NULL };
  head_gradients to = { .dx = NULL };
  BAM_TRY(open_head(call, &h));
  BAM_TRY(find_scale(call, &h));
  BAM_TRY(open_gradients(call, &h, &to));
  /* from here on nothing fails: the gradient may be written */
  for (int64_t from = 0; from < h.rows; from += h.chunk) {
    int64_t n = h.chunk < h.rows - from ? h.chunk : h.rows - from;
    chunk_logits(&h, from, n);
    if (to.dx == NULL && to.dw == NULL) {
      chunk_losses(&h, from, n);
      continue;
    }
    chunk_losses_and_slopes(&h, from, n);
    chunk_gradients(&h, from, n, &to);
  }
  h.kernels->loss_total(h.device->stream, bam_tensor_data(call->outputs[0]),
                        bam_tensor_data(h.losses), bam_tensor_data(h.scale), h.rows);
  if (to.add_dw)
    bam_tensor_changed(to.dw);
  return BAM_OK;
}

/* ---- backward ---- */

/* The gradient that arrived. The seed that backward made itself is known to be 1: only another one
   is read, which waits for the device. */
static bam_status read_seed(bam_backward *pass, double *seed) {
  int64_t unused;
  *seed = 1;
  if (pass->grads[0]->storage == pass->context->unit_seed)
    return BAM_OK;
  return bam_tensor_get(pass->grads[0], 0, seed, &unused);
}

/* The gradients were computed in forward, for a seed of 1. */
static bam_status give_finished(bam_backward *pass) {
  double seed;
  bam_tensor **once = &pass->node->saved[SAVED_SCALE];
  if (*once == NULL)
    return bam_backward_fail(pass,
                             "with `scale` the gradients are computed in forward and handed out "
                             "once; leave `scale` out to go backward several times");
  BAM_TRY(read_seed(pass, &seed));
  if (seed != 1)
    return bam_backward_fail(pass,
                             "the gradients were computed in forward, as `scale` was given, and "
                             "the loss is multiplied by %g afterwards; put that into `scale`",
                             seed);
  if (pass->saved[SAVED_DX] != NULL)
    BAM_TRY(bam_accumulate_grad(pass, 0, pass->saved[SAVED_DX]));
  if (pass->saved[SAVED_DW] != NULL)
    BAM_TRY(bam_accumulate_grad(pass, 1, pass->saved[SAVED_DW]));
  bam_tensor_release(*once);
  *once = NULL;
  return BAM_OK;
}

static bam_status recompute(bam_backward *pass, head *h, bam_tensor *seed) {
  head_gradients to = { .dx = NULL };
  BAM_TRY(bam_temp_scratch(pass->scope, h->device, h->dtype, h->chunk * h->vocabulary, &h->logits));
  BAM_TRY(bam_backward_kernels(pass, h->dtype, &h->kernels));
  if (bam_needs_grad(pass, 0))
    BAM_TRY(bam_grad_buffer_as(pass, 0, bam_grad_dtype(pass, 0), &to.dx, &to.add_dx));
  if (bam_needs_grad(pass, 1))
    BAM_TRY(bam_grad_buffer_as(pass, 1, bam_grad_dtype(pass, 1), &to.dw, &to.add_dw));
  if (to.dx != NULL && to.dx == to.dw && !to.add_dx) { /* x is the weight: one buffer */
    BAM_TRY(bam_tensor_fill(to.dx, 0));
    to.add_dx = true;
  }
  if (h->rows == 0 && to.dw != NULL && !to.add_dw)
    BAM_TRY(bam_tensor_fill(to.dw, 0));
  for (int64_t from = 0; from < h->rows; from += h->chunk) {
    int64_t n = h->chunk < h->rows - from ? h->chunk : h->rows - from;
    chunk_logits(h, from, n);
    chunk_slopes(h, from, n, bam_tensor_data(seed));
    chunk_gradients(h, from, n, &to);
  }
  return BAM_OK;
}

static bam_status linear_cross_entropy_backward(bam_backward *pass) {
  head h = { .device = NULL };
  bam_tensor *const *saved = pass->saved, *seed;
  if (pass->attrs[ATTR_SCALE].given)
    return give_finished(pass);
  h.device = bam_tensor_device(saved[SAVED_X]);
  h.x = saved[SAVED_X];
  h.weight = saved[SAVED_WEIGHT];
  h.targets = saved[SAVED_TARGETS];
  h.stats = saved[SAVED_STATS];
  h.scale = saved[SAVED_SCALE];
  set_sizes(&h, &h.x->shape, &h.weight->shape, pass->attrs);
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &seed));
  return recompute(pass, &h, seed);
}

const bam_op bam_op_linear_cross_entropy = {
  .name = "linear_cross_entropy",
  .help =
    "cross_entropy(linear(x, weight), targets) in chunks, so that the logits of at most "
    "`chunk` tokens exist at a time. With 0 it is chosen: on the CPU they take at most 100 MB, "
    "on a GPU they are 8192 tokens, or fewer that take a 32nd of its memory. `x` is [..., D], "
    "`weight` [V, D], f32 or f64, or bf16 on a GPU; `targets` are "
    "integers [...] counted from 0; those equal to `ignore_index` do not count. Without "
    "`scale` the result is "
    "the mean, and backward recomputes the logits. With `scale` it is the sum times `scale`: "
    "forward also "
    "computes the gradients, adding that of the weight to its gradient buffer, and backward "
    "accepts no seed "
    "but 1. Training uses scale = 1 / tokens of the whole batch. If all targets are ignored, "
    "loss and "
    "gradients are 0.",
  .inputs = { "x", "weight", "targets" },
  .attrs =
    (const bam_attr_spec[]){ { .name = "ignore_index", .kind = BAM_ATTR_INT, .initial = -100 },
                             { .name = "chunk", .kind = BAM_ATTR_INT },
                             { .name = "scale", .kind = BAM_ATTR_FLOAT, .initial = NAN },
                             { 0 } },
  .forward = linear_cross_entropy_forward,
  .backward = linear_cross_entropy_backward,
};
