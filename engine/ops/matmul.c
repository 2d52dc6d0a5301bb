/* Matrix products. Every operand becomes a stack of matrices [batch.., rows, columns]; transposed
   views go to the GEMM as they are, batch dimensions that step evenly become one call, and a stack
   times one matrix becomes a single tall product. */
#include <inttypes.h>
#include <limits.h>

#include "ops.h"

/* ---- operands ---- */

/* A view on the C stack: borrows the storage, holds no reference and is never released. */
typedef bam_tensor operand;

/* A 1-dimensional operand as a matrix: the left one a row, the right one a column. Others stay. */
static operand as_matrix(const bam_tensor *x, bool left) {
  operand view = *x;
  if (x->shape.ndim == 1) {
    view.shape.ndim = 2;
    view.shape.size[left ? 0 : 1] = 1;
    view.shape.size[left ? 1 : 0] = x->shape.size[0];
    view.stride[left ? 0 : 1] = 0;
    view.stride[left ? 1 : 0] = x->stride[0];
  }
  return view;
}

static operand transposed(const operand *x) {
  operand view = *x;
  int last = x->shape.ndim - 1;
  view.shape.size[last] = x->shape.size[last - 1];
  view.shape.size[last - 1] = x->shape.size[last];
  view.stride[last] = x->stride[last - 1];
  view.stride[last - 1] = x->stride[last];
  return view;
}

/* A contiguous tensor under another shape of as many elements. */
static operand reshaped(const bam_tensor *x, const bam_shape *shape) {
  operand view = *x;
  view.shape = *shape;
  bam_shape_strides(shape, view.stride);
  return view;
}

static int64_t rows_of(const operand *x) { return x->shape.size[x->shape.ndim - 2]; }
static int64_t columns_of(const operand *x) { return x->shape.size[x->shape.ndim - 1]; }

static int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }

/* Can a GEMM read these matrices, plainly or transposed? If so, how: a dimension of size 1 has any
   stride. */
static bool find_layout(const operand *x, bool *transpose, int64_t *leading) {
  int last = x->shape.ndim - 1;
  int64_t rows = rows_of(x), columns = columns_of(x);
  int64_t row_step = rows <= 1 ? at_least(columns, 1) : x->stride[last - 1];
  int64_t column_step = columns <= 1 ? at_least(rows, 1) : x->stride[last];
  *transpose = !((column_step == 1 || columns <= 1) && row_step >= at_least(columns, 1));
  *leading = *transpose ? column_step : row_step;
  return *leading <= INT_MAX &&
         (!*transpose || ((row_step == 1 || rows <= 1) && column_step >= at_least(rows, 1)));
}

/* Make `x` readable for a GEMM: when it is not, it becomes the contiguous *copy, a temporary. */
static bam_status make_readable(bam_scope *scope, operand *x, bam_tensor **copy) {
  bool transpose;
  int64_t leading;
  if (find_layout(x, &transpose, &leading))
    return BAM_OK;
  BAM_TRY(bam_temp_like(scope, x, copy));
  BAM_TRY(bam_tensor_copy(*copy, x));
  *x = **copy;
  return BAM_OK;
}

/* ---- one product of stacks ---- */

typedef struct product {
  bam_gemm gemm;
  bam_loop batch; /* over the batch dimensions of c, a and b */
} product;

/* Step of x along batch dimension d of c; 0 where it is broadcast. */
static int64_t batch_step(const operand *x, int d, int ndim) {
  int own = d - (ndim - x->shape.ndim);
  return own < 0 || x->shape.size[own] == 1 ? 0 : x->stride[own];
}

/* The batch dimensions, neighbours merged where all three step evenly. */
static void plan_batch(product *p, const operand *const *operands) {
  int ndim = operands[0]->shape.ndim;
  p->batch = (bam_loop){ .ndim = 1, .size = { 1 } };
  for (int d = 0; d < ndim - 2; d++) {
    int64_t size = operands[0]->shape.size[d], step[3];
    int last = p->batch.ndim - 1;
    bool merges = true;
    for (int k = 0; k < 3; k++) {
      step[k] = batch_step(operands[k], d, ndim);
      merges = merges && p->batch.stride[k][last] == step[k] * size;
    }
    if (size == 1)
      continue;
    int to = merges || p->batch.size[last] == 1 ? last : p->batch.ndim++;
    p->batch.size[to] = merges ? p->batch.size[to] * size : size;
    for (int k = 0; k < 3; k++)
      p->batch.stride[k][to] = step[k];
  }
}

/* When b is one matrix for all and the rows of a, and of c, follow each other through the batch:
   one tall product. */
static void merge_rows(product *p) {
  bam_gemm *g = &p->gemm;
  int64_t size = p->batch.size[0];
  bool even = p->batch.ndim == 1 && p->batch.stride[2][0] == 0 && !g->transpose_a &&
              p->batch.stride[0][0] == g->m * g->ldc && p->batch.stride[1][0] == g->m * g->lda;
  if (size > 1 && even && size <= INT_MAX / at_least(g->m, 1)) {
    g->m *= size;
    p->batch.size[0] = 1;
  }
}

static void run_product(const product *p, const bam_kernels *kernels, const operand *c,
                        const operand *a, const operand *b) {
  bam_gemm gemm = p->gemm;
  const bam_loop *loop = &p->batch;
  int inner = loop->ndim - 1;
  int64_t calls = 1, size = bam_dtype_size(a->dtype), c_size = bam_dtype_size(c->dtype);
  gemm.real_c = c->dtype != a->dtype;
  gemm.batch = loop->size[inner];
  gemm.stride_c = loop->stride[0][inner];
  gemm.stride_a = loop->stride[1][inner];
  gemm.stride_b = loop->stride[2][inner];
  for (int d = 0; d < inner; d++)
    calls *= loop->size[d];
  bam_tensor_device(c)->flops += 2.0 * (double)gemm.m * (double)gemm.n * (double)gemm.k *
                                 (double)gemm.batch * (double)calls;
  for (int64_t i = 0; i < calls; i++) {
    int64_t offset[3] = { 0 };
    for (int64_t rest = i, d = inner - 1; d >= 0; rest /= loop->size[d--])
      for (int k = 0; k < 3; k++)
        offset[k] += rest % loop->size[d] * loop->stride[k][d];
    kernels->gemm(
      bam_tensor_device(c)->stream, &gemm, (char *)bam_tensor_data(c) + offset[0] * c_size,
      (char *)bam_tensor_data(a) + offset[1] * size, (char *)bam_tensor_data(b) + offset[2] * size);
  }
}

/* c = a b (c += a b when `accumulate`) for stacks of matrices whose batch dimensions broadcast to
   those of c, which is contiguous. a and b are readable and no size exceeds an int. c may have the dtype that kernels
   of a and b compute in. */
static void multiply(const bam_kernels *kernels, const operand *c, const operand *a,
                     const operand *b, bool accumulate) {
  product p = { .gemm = { .m = rows_of(c),
                          .n = columns_of(c),
                          .k = columns_of(a),
                          .alpha = 1,
                          .beta = accumulate ? 1 : 0,
                          .ldc = at_least(columns_of(c), 1) } };
  find_layout(a, &p.gemm.transpose_a, &p.gemm.lda);
  find_layout(b, &p.gemm.transpose_b, &p.gemm.ldb);
  plan_batch(&p, (const operand *[]){ c, a, b });
  merge_rows(&p);
  run_product(&p, kernels, c, a, b);
}

/* ---- forward ---- */

static bam_status check_dtypes(bam_call *call) {
  bam_dtype a = call->inputs[0]->dtype, b = call->inputs[1]->dtype;
  if (a != b)
    return bam_call_fail(call, "%s x %s; convert one: x:to \"%s\"", bam_dtype_name(a),
                         bam_dtype_name(b), bam_dtype_name(bam_dtype_promote(a, b)));
  if (!bam_call_computes_real(call, a))
    return bam_call_fail(call, "computes in f32 or f64, not %s; write x:to \"f32\"",
                         bam_dtype_name(a));
  return BAM_OK;
}

static bam_status check_shapes(bam_call *call) {
  const bam_shape *a = &call->inputs[0]->shape, *b = &call->inputs[1]->shape;
  char ta[BAM_SHAPE_TEXT], tb[BAM_SHAPE_TEXT];
  if (a->ndim == 0 || b->ndim == 0)
    return bam_call_fail(call, "a 0-dimensional tensor is no matrix: %s x %s; use a * b",
                         bam_shape_text(a, ta), bam_shape_text(b, tb));
  int64_t inner_a = a->size[a->ndim - 1], inner_b = b->size[b->ndim > 1 ? b->ndim - 2 : 0];
  bool fits_transposed = b->ndim > 1 && b->size[b->ndim - 1] == inner_a;
  if (inner_a != inner_b)
    return bam_call_fail(call, "inner sizes differ: %s x %s%s", bam_shape_text(a, ta),
                         bam_shape_text(b, tb), fits_transposed ? "; transpose the second?" : "");
  for (int d = 0; d < a->ndim; d++)
    if (a->size[d] > INT_MAX)
      return bam_call_fail(call, "size %" PRId64 " in %s exceeds %d", a->size[d],
                           bam_shape_text(a, ta), INT_MAX);
  for (int d = 0; d < b->ndim; d++)
    if (b->size[d] > INT_MAX)
      return bam_call_fail(call, "size %" PRId64 " in %s exceeds %d", b->size[d],
                           bam_shape_text(b, tb), INT_MAX);
  return BAM_OK;
}

/* The shape of the product of two stacks. */
static bam_status stacked_shape(const operand *a, const operand *b, bam_shape *out) {
  bam_shape batch_a = a->shape, batch_b = b->shape;
  batch_a.ndim -= 2;
  batch_b.ndim -= 2;
  BAM_TRY(bam_shape_broadcast(a->context, "matmul, batch", &batch_a, &batch_b, out));
  out->size[out->ndim++] = rows_of(a);
  out->size[out->ndim++] = columns_of(b);
  return BAM_OK;
}

/* What the user sees: without the row or column that a 1-dimensional operand was given. */
static bam_shape visible_shape(const bam_shape *stacked, bool a_is_vector, bool b_is_vector) {
  bam_shape shape = { .ndim = stacked->ndim - 2 };
  for (int d = 0; d < shape.ndim; d++)
    shape.size[d] = stacked->size[d];
  if (!a_is_vector)
    shape.size[shape.ndim++] = stacked->size[stacked->ndim - 2];
  if (!b_is_vector)
    shape.size[shape.ndim++] = stacked->size[stacked->ndim - 1];
  return shape;
}

static bam_status matmul_forward(bam_call *call) {
  const bam_kernels *kernels;
  bam_shape stacked;
  bam_tensor *a_copy = NULL, *b_copy = NULL, *left = call->inputs[0], *right = call->inputs[1];
  BAM_TRY(check_dtypes(call));
  BAM_TRY(check_shapes(call));
  BAM_TRY(bam_call_kernels(call, left->dtype, &kernels));
  operand a = as_matrix(left, true), b = as_matrix(right, false);
  BAM_TRY(stacked_shape(&a, &b, &stacked));
  BAM_TRY(make_readable(call->scope, &a, &a_copy));
  BAM_TRY(make_readable(call->scope, &b, &b_copy));
  bam_shape shape = visible_shape(&stacked, left->shape.ndim == 1, right->shape.ndim == 1);
  BAM_TRY(bam_call_output(call, 0, left->dtype, &shape));
  BAM_TRY(bam_call_save(call, 0, left));
  BAM_TRY(bam_call_save(call, 1, right));
  operand c = reshaped(call->outputs[0], &stacked);
  multiply(kernels, &c, &a, &b, false);
  return BAM_OK;
}

/* ---- backward ---- */

/* Compute the product a b, of shape `stacked`, apart and let `give` sum what was broadcast. */
static bam_status give_summed(bam_backward *pass, int i, const bam_kernels *kernels,
                              const bam_shape *stacked, const operand *a, const operand *b) {
  bool vector = bam_backward_shape(pass, i)->ndim == 1;
  bam_shape shape = visible_shape(stacked, vector && i == 0, vector && i == 1);
  bam_tensor *grad;
  BAM_TRY(bam_temp_new(pass->scope, bam_tensor_device(a), bam_grad_dtype(pass, i), &shape, &grad));
  operand c = reshaped(grad, stacked);
  multiply(kernels, &c, a, b, false);
  return bam_accumulate_temp(pass, i, grad);
}

/* Give input i, which is `own` as a stack, the product a b of shape `stacked`: added by the GEMM
   itself unless the product has more batch than the input. */
static bam_status give_product(bam_backward *pass, int i, const bam_shape *own,
                               const bam_shape *stacked, operand a, operand b) {
  const bam_kernels *kernels;
  bam_tensor *a_copy = NULL, *b_copy = NULL, *target;
  bool accumulate;
  BAM_TRY(bam_backward_kernels(pass, a.dtype, &kernels));
  BAM_TRY(make_readable(pass->scope, &a, &a_copy));
  BAM_TRY(make_readable(pass->scope, &b, &b_copy));
  if (bam_shape_equal(own, stacked)) {
    BAM_TRY(bam_grad_buffer_as(pass, i, bam_grad_dtype(pass, i), &target, &accumulate));
    /* nothing may fail from here */
    operand c = reshaped(target, stacked);
    multiply(kernels, &c, &a, &b, accumulate);
  } else {
    BAM_TRY(give_summed(pass, i, kernels, stacked, &a, &b));
  }
  bam_temp_release(pass->scope, a_copy); /* the other input may need as much */
  bam_temp_release(pass->scope, b_copy);
  return BAM_OK;
}

/* A contiguous stack as one tall matrix [batch * rows, columns]. */
static operand tall(const bam_tensor *x) {
  bam_shape shape = { .ndim = 2, .size = { 1, columns_of(x) } };
  for (int d = 0; d < x->shape.ndim - 1; d++)
    shape.size[0] *= x->shape.size[d];
  return reshaped(x, &shape);
}

/* Is the right operand one matrix for a whole stack on the left that can be counted in ints? */
static bool is_shared(const operand *a, const operand *b) {
  return b->shape.ndim == 2 && a->shape.ndim > 2 &&
         bam_tensor_count(a) / at_least(columns_of(a), 1) <= INT_MAX;
}

/* db = aᵀ dc: with a shared b, the sum over the stack happens inside one GEMM. */
static bam_status give_right(bam_backward *pass, operand *a, const operand *b, const operand *dc) {
  if (!is_shared(a, b)) {
    bam_shape stacked = dc->shape;
    stacked.size[stacked.ndim - 2] = columns_of(a);
    return give_product(pass, 1, &b->shape, &stacked, transposed(a), *dc);
  }
  bam_tensor *whole;
  BAM_TRY(bam_temp_contiguous(pass->scope, a, &whole));
  operand a_tall = tall(whole);
  return give_product(pass, 1, &b->shape, &b->shape, transposed(&a_tall), tall(dc));
}

/* da = dc bᵀ */
static bam_status give_left(bam_backward *pass, const operand *a, const operand *b,
                            const operand *dc) {
  bam_shape stacked = dc->shape;
  stacked.size[stacked.ndim - 1] = columns_of(a);
  return give_product(pass, 0, &a->shape, &stacked, *dc, transposed(b));
}

static bam_status matmul_backward(bam_backward *pass) {
  bam_shape stacked;
  bam_tensor *dy = NULL;
  operand a = as_matrix(pass->saved[0], true), b = as_matrix(pass->saved[1], false);
  BAM_TRY(stacked_shape(&a, &b, &stacked));
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &dy));
  operand dc = reshaped(dy, &stacked);
  if (bam_needs_grad(pass, 0))
    BAM_TRY(give_left(pass, &a, &b, &dc));
  if (bam_needs_grad(pass, 1))
    BAM_TRY(give_right(pass, &a, &b, &dc));
  return BAM_OK;
}

const bam_op bam_op_matmul = {
  .name = "matmul",
  .help = "The matrix product: (m, k) x (k, n) gives (m, n). Leading dimensions are batches and "
          "broadcast. A "
          "1-dimensional operand is a row on the left and a column on the right; that dimension is "
          "dropped from the "
          "result. f32, f64, or bf16 on a GPU.",
  .inputs = { "a", "b" },
  .forward = matmul_forward,
  .backward = matmul_backward,
};
