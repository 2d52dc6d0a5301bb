/* Declarations of all kernels. A kernel is arithmetic over plain pointers and sizes. Its op has already
   checked shapes and made operands contiguous, unless the kernel takes a bam_loop.
   kernels/cpu/X.c and kernels/cuda/X.cu define the same functions with the same parameters.

   Pointers named y, dx, ... are written; x, a, b, ... are read. They have the table's dtype unless
   list.h says otherwise. There is one table per device, instruction set and dtype. In the tables for
   integers and bool, the floating-point kernels are NULL. */
#ifndef BAM_KERNELS_H
#define BAM_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#define BAM_MAX_DIMS 8
#define BAM_MAX_OPERANDS 4

/* A queue of work on a device; NULL on the CPU, where kernels run synchronously. */
typedef struct bam_stream_state *bam_stream;

/* An elementwise loop over up to BAM_MAX_OPERANDS strided operands. The last dimension is the innermost.
   ndim >= 1; strides are in elements, and may be 0 (broadcast) or negative. */
typedef struct bam_loop {
  int ndim;
  int64_t size[BAM_MAX_DIMS];
  int64_t stride[BAM_MAX_OPERANDS][BAM_MAX_DIMS];
} bam_loop;

#define BAM_UNARY (bam_stream stream, const bam_loop *loop, void *y, const void *x)
#define BAM_BINARY (bam_stream stream, const bam_loop *loop, void *y, const void *a, const void *b)
#define BAM_TERNARY \
  (bam_stream stream, const bam_loop *loop, void *y, const void *a, const void *b, const void *c)
#define BAM_TEST (bam_stream stream, const bam_loop *loop, bool *y, const void *x)
#define BAM_COMPARISON \
  (bam_stream stream, const bam_loop *loop, bool *y, const void *a, const void *b)

/* `batch` GEMMs: C[m x n] = alpha op(A) op(B) + beta C, row-major; strides are in elements. With `base`, which lies
   like C in other memory, + beta base instead. With `real_c`, C has the dtype that the table computes in (f32 for bf16)
   instead of the operands': so are gradients of weights summed. scale_a and scale_b, in the device's memory, multiply
   operands of FP8 (fp8.h); NULL for others. */
typedef struct bam_gemm {
  bool transpose_a, transpose_b, real_c;
  int64_t m, n, k;
  int64_t lda, ldb, ldc; /* row strides as stored */
  double alpha, beta;
  int64_t batch; /* >= 0 */
  int64_t stride_a, stride_b, stride_c;
  const float *scale_a, *scale_b;
  const void *base; /* NULL: C itself */
} bam_gemm;

/* Causal attention over q [B, T, H, K] and k, v [B, T, G, K]. Query head h uses key head
   h / (H / G). A query sees the last `window` keys, its own included; a window of T is all of them.
   Strides are of batch, time and head, in elements; the K elements of a head are contiguous. */
typedef struct bam_attention {
  int64_t batch, time, heads, kv_heads, width;
  int64_t window; /* 1 .. time */
  double scale;
  int64_t q[3], k[3], v[3];
  int64_t dq[3], dk[3], dv[3]; /* backward */
  bool add_dq, add_dk, add_dv; /* backward: add to dq, dk, dv instead of overwriting */
  int threads;                 /* the number of threads that the scratch is sized for */
} bam_attention;

#define BAM_ROPE_WIDTH 1024 /* the maximum head width of rope */

/* The frequencies of the pairs of `width` elements, see kernels/rope.h. */
typedef struct bam_rope {
  int64_t width;
  double base;
  double factor, low, high, context; /* scaling of frequencies; factor 1, context 0: none */
  bool yarn;                         /* YaRN's scaling in place of Llama 3's */
} bam_rope;

/* Rotation of pairs (2i, 2i + 1) of the first `width` elements of the heads of x [B, T, H, K], by the angles of a
   table. The other elements are left alone. */
typedef struct bam_rotation {
  int64_t batch, time, heads, width;
  int64_t x[3], y[3];  /* strides of batch, time and head; y may be x itself */
  int64_t table_batch; /* rows of the table between batch entries: 0 or T */
  bool inverse;        /* rotate by the negative angle */
} bam_rotation;

/* Attention experts as groups of heads: head h belongs to expert h / group % experts. */
typedef struct bam_gated_heads {
  int64_t tokens, heads, width, experts, group;
} bam_gated_heads;

#define BAM_ROUTE_PART 256 /* tokens per partial sum of the statistics */

/* Top-k routing: choose k of `experts` per token; load is balanced within groups of `group` tokens. */
typedef struct bam_route {
  int64_t tokens, experts, k, group;
  bool renormalise; /* the k gates sum to 1 */
  bool dense;       /* gates are [tokens, experts], 0 where not chosen, instead of [tokens, k] */
} bam_route;

/* One GEMM per expert on rows sorted by expert; rows offsets[e] .. offsets[e + 1] - 1 belong to
   expert e (offsets are in host memory). Forward: C = A op(B_e) on each expert's rows,
   with A [rows, k], B_e [k, n] or, transposed, [n, k], C [rows, n]. With `weights` the gradient of
   B: C_e = Aᵀ B over the expert's rows, with A [rows, n], B [rows, k], C_e [n, k]. All contiguous,
   the experts' matrices stored back to back. real_c as in bam_gemm. */
typedef struct bam_grouped_gemm {
  int64_t experts, n, k;
  bool transpose_b, weights, add, real_c;
} bam_grouped_gemm;

#define BAM_SUM_CHUNK 65536 /* elements per partial sum of sum_of_squares */

/* One step of AdamW, Lion or SGD, see engine/optim/optim.h. */
typedef struct bam_adamw {
  double lr, beta1, beta2, eps, weight_decay;
  int64_t step; /* counts from 1 */
} bam_adamw;

typedef struct bam_lion {
  double lr, beta1, beta2, weight_decay;
} bam_lion;

typedef struct bam_sgd {
  double lr, momentum, weight_decay;
  bool nesterov;
  int64_t step;
} bam_sgd;

/* What kernels with many operands take; kernels/list.h says what the members are. */
typedef struct bam_sort {
  void *y;
  int64_t *positions;
  void *spare;
  int64_t *spare_positions;
  const void *x;
  int64_t rows, n;
  bool descending;
} bam_sort;

typedef struct bam_layer_norm {
  void *y, *s, *stats;
  const void *x, *residual, *weight, *bias;
  int64_t rows, n;
  double eps;
  bool rms; /* RMS norm: the mean counts as 0 */
} bam_layer_norm;

typedef struct bam_layer_norm_backward {
  void *dx, *dweight, *dbias, *scratch;
  const void *dy, *ds, *s, *stats, *weight;
  int64_t rows, n, parts;
  bool rms, add_weight, add_bias;
} bam_layer_norm_backward;

typedef struct bam_attention_tensors {
  void *o, *stats, *scratch;
  const void *q, *k, *v;
  const int32_t *first;
} bam_attention_tensors;

typedef struct bam_attention_gradients {
  void *dq, *dk, *dv, *scratch;
  const void *grad_out, *q, *k, *v, *stats, *delta;
  const int32_t *first;
} bam_attention_gradients;

typedef struct bam_gate_gradients {
  void *grad_out, *y, *delta, *dgates;
  const void *dy, *o, *gates;
} bam_gate_gradients;

typedef struct bam_route_tensors {
  void *gates;
  int64_t *chosen;
  void *losses, *statistics, *p, *lse, *load;
  double *counted, *scratch;
  const void *logits;
  const uint8_t *mask;
} bam_route_tensors;

typedef struct bam_route_gradients {
  void *dlogits;
  const void *dgates, *dlosses, *p, *lse, *load;
  const int64_t *chosen;
  const double *counted;
  const uint8_t *mask;
} bam_route_gradients;

typedef struct bam_swiglu_gradients {
  void *dx, *y, *dgates;
  const void *dy, *x, *gates;
  const int64_t *rows;
  int64_t count, hidden;
} bam_swiglu_gradients;

/* Rows gate | up, `stride` apart; gates and rows are NULL, or as for gated_swiglu. */
typedef struct bam_geglu {
  const void *x, *gates;
  const int64_t *rows;
  int64_t stride, count, hidden;
  bool approximate; /* GELU by tanh */
} bam_geglu;

/* Without gates, y and dgates are not written. */
typedef struct bam_geglu_gradients {
  void *dx, *y, *dgates;
  const void *dy, *x, *gates;
  const int64_t *rows;
  int64_t count, hidden;
  bool approximate;
} bam_geglu_gradients;

typedef struct bam_cross_entropy_gradients {
  void *dx;
  const void *x, *stats;
  const int64_t *targets;
  const double *scale;
  const void *seed;
  int64_t rows, n, ignore;
} bam_cross_entropy_gradients;

#include "list.h"

/* The table: one function pointer per line of kernels/list.h. */
typedef struct bam_kernels {
#define BAM_MEMBER(name, parameters) void(*name) parameters;
  BAM_KERNELS_ANY(BAM_MEMBER)
  BAM_KERNELS_REAL(BAM_MEMBER)
#undef BAM_MEMBER
} bam_kernels;

#endif
