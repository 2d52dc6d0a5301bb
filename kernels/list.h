/* The list of kernels, X(name, parameters): first the kernels for all computing dtypes, then those for
   floating point only. Included by kernels.h.

   Operands called real below have the dtype that the table computes in instead of its own: f32 in the
   table of bf16. They are what must not be rounded to 8 bits. */

#define BAM_KERNELS_ANY(X)                                                                           \
  /* copy.c */                                                                                       \
  X(fill, (bam_stream stream, const bam_loop *loop, void *y, double value))                          \
  X(copy, BAM_UNARY)                                                                                 \
  /* arithmetic.c */                                                                                 \
  X(add, BAM_BINARY)                                                                                 \
  X(sub, BAM_BINARY)                                                                                 \
  X(mul, BAM_BINARY)                                                                                 \
  X(floordiv, BAM_BINARY)                                                                            \
  X(mod, BAM_BINARY)                                                                                 \
  X(pow, BAM_BINARY)                                                                                 \
  X(maximum, BAM_BINARY)                                                                             \
  X(minimum, BAM_BINARY)                                                                             \
  X(neg, BAM_UNARY)                                                                                  \
  X(abs, BAM_UNARY)                                                                                  \
  X(sign, BAM_UNARY)                                                                                 \
  X(relu, BAM_UNARY)                                                                                 \
  X(clamp,                                                                                           \
    (bam_stream stream, const bam_loop *loop, void *y, const void *x, double low, double high))      \
  X(where, (bam_stream stream, const bam_loop *loop, void *y, const uint8_t *condition,              \
            const void *a, const void *b))                                                           \
  /* compare.c; any_*: *found is set if any element of x matches, and never cleared */               \
  X(eq, BAM_COMPARISON)                                                                              \
  X(ne, BAM_COMPARISON)                                                                              \
  X(lt, BAM_COMPARISON)                                                                              \
  X(le, BAM_COMPARISON)                                                                              \
  X(gt, BAM_COMPARISON)                                                                              \
  X(ge, BAM_COMPARISON)                                                                              \
  X(is_zero, BAM_TEST)                                                                               \
  X(is_nan, BAM_TEST)                                                                                \
  X(is_infinite, BAM_TEST)                                                                           \
  X(is_finite, BAM_TEST)                                                                             \
  X(any_zero, (bam_stream stream, const bam_loop *loop, bool *found, const void *x))                 \
  X(any_negative, (bam_stream stream, const bam_loop *loop, bool *found, const void *x))             \
  /* reduce.c: x is [outer, n, inner], y is [outer, inner] */                                        \
  X(sum, (bam_stream stream, void *y, const void *x, int64_t outer, int64_t n, int64_t inner))       \
  X(cumsum, (bam_stream stream, void *y, const void *x, int64_t outer, int64_t n, int64_t inner,     \
             bool reverse))                                                                          \
  /* y or positions (from 1) may be NULL, n >= 1 */                                                  \
  X(extreme, (bam_stream stream, void *y, int64_t *positions, const void *x, int64_t outer,          \
              int64_t n, int64_t inner, bool largest))                                               \
  /* reductions over rows: x is [outer, n], y is [outer] */                                          \
  X(prod, (bam_stream stream, void *y, const void *x, int64_t outer, int64_t n))                     \
  X(any, (bam_stream stream, bool *y, const void *x, int64_t outer, int64_t n))                      \
  X(all, (bam_stream stream, bool *y, const void *x, int64_t outer, int64_t n))                      \
  /* index.c: one side is [outer, n, inner], the one with positions (from 1) [outer, m, inner];   \
     positions are [m] for index_*, [outer, m, inner] for gather and scatter_add. *found is the   \
     index of the first element of x outside low .. high, or -1 */  \
  X(find_outside,                                                                                    \
    (bam_stream stream, int64_t * found, const void *x, int64_t n, int64_t low, int64_t high))       \
  X(index_select, (bam_stream stream, void *y, const void *x, const int64_t *positions,              \
                   int64_t outer, int64_t n, int64_t m, int64_t inner))                              \
  X(index_add, (bam_stream stream, void *y, const void *x, const int64_t *positions,                 \
                int64_t outer, int64_t n, int64_t m, int64_t inner))                                 \
  X(index_put, (bam_stream stream, void *y, const void *x, const int64_t *positions,                 \
                int64_t outer, int64_t n, int64_t m, int64_t inner))                                 \
  X(gather, (bam_stream stream, void *y, const void *x, const int64_t *positions, int64_t outer,     \
             int64_t n, int64_t m, int64_t inner))                                                   \
  X(scatter_add, (bam_stream stream, void *y, const void *x, const int64_t *positions,               \
                  int64_t outer, int64_t n, int64_t m, int64_t inner))                               \
  X(count_nonzero, (bam_stream stream, int64_t * count, const void *x, int64_t n))                   \
  X(nonzero, (bam_stream stream, int64_t * positions, const void *x, int64_t n))                     \
  X(triangle, (bam_stream stream, void *y, const void *x, int64_t matrices, int64_t rows,            \
               int64_t columns, int64_t diagonal, bool upper))                                       \
  /* sort.c: rows of n, NaN largest, equals in order; spare_* have the size of y and positions;    \
     topk is for small k, 1 <= k <= n, y is [rows, k] */ \
  X(sort, (bam_stream stream, const bam_sort *args))                                                 \
  X(topk, (bam_stream stream, void *y, int64_t *positions, const void *x, int64_t rows, int64_t n,   \
           int64_t k, bool largest))

#include "unary_list.h"

#define BAM_LIST_UNARY(X, name, value) X(name, BAM_UNARY)
#define BAM_LIST_BINARY(X, name, value) X(name, BAM_BINARY)

#define BAM_KERNELS_REAL(X)                                                                                       \
  /* unary.c */                                                                                                   \
  BAM_UNARY_FUNCTIONS(X, BAM_LIST_UNARY, BAM_LIST_BINARY)                                                         \
  /* arithmetic.c */                                                                                              \
  X(div, BAM_BINARY)                                                                                              \
  X(extreme_backward, BAM_TERNARY)                                                                                \
  X(pow_base_backward, BAM_TERNARY)                                                                               \
  X(pow_exponent_backward, BAM_TERNARY)                                                                           \
  X(clamp_backward, (bam_stream stream, const bam_loop *loop, void *dx, const void *g,                            \
                     const void *x, double low, double high))                                                     \
  /* random.c: n elements of the stream `seed`, starting at block `counter` */                                    \
  X(random_uniform, (bam_stream stream, void *y, int64_t n, uint64_t seed, uint64_t counter,                      \
                     double low, double high))                                                                    \
  X(random_normal, (bam_stream stream, void *y, int64_t n, uint64_t seed, uint64_t counter,                       \
                    double mean, double deviation))                                                               \
  X(random_integers, (bam_stream stream, int64_t * y, int64_t n, uint64_t seed, uint64_t counter,                 \
                      int64_t low, int64_t high))                                                                 \
  X(random_booleans,                                                                                              \
    (bam_stream stream, bool *y, int64_t n, uint64_t seed, uint64_t counter, double probability))                 \
  X(dropout, (bam_stream stream, const bam_loop *loop, void *y, const void *x,                                    \
              const uint8_t *keep, double scale))                                                                 \
  /* reduce.c; sum_real is sum with a real y */                                                                   \
  X(sum_real,                                                                                                     \
    (bam_stream stream, void *y, const void *x, int64_t outer, int64_t n, int64_t inner))                         \
  X(mean, (bam_stream stream, void *y, const void *x, int64_t outer, int64_t n, int64_t inner))                   \
  X(prod_backward,                                                                                                \
    (bam_stream stream, void *dx, const void *x, const void *dy, int64_t outer, int64_t n))                       \
  /* statistics.c: x is [outer, n], y and mean (real) [outer]; p is 1, 2 or infinity */                           \
  X(var, (bam_stream stream, void *y, void *mean, const void *x, int64_t outer, int64_t n,                        \
          double correction))                                                                                     \
  X(var_backward, (bam_stream stream, void *dx, const void *x, const void *mean, const void *dy,                  \
                   int64_t outer, int64_t n, double correction))                                                  \
  /* norms is [outer] and may be NULL in forward: for p = 2, y before rounding */                                 \
  X(norm, (bam_stream stream, void *y, double *norms, const void *x, int64_t outer, int64_t n,                    \
           double p))                                                                                             \
  X(norm_backward, (bam_stream stream, void *dx, const void *x, const void *norms, const void *dy,                \
                    int64_t outer, int64_t n, double p))                                                          \
  /* softmax.c: rows of n; stats is [rows, 2], real */                                                            \
  X(softmax, (bam_stream stream, void *y, const void *x, int64_t rows, int64_t n))                                \
  X(softmax_backward,                                                                                             \
    (bam_stream stream, void *dx, const void *y, const void *dy, int64_t rows, int64_t n))                        \
  X(log_softmax, (bam_stream stream, void *y, const void *x, int64_t rows, int64_t n))                            \
  X(log_softmax_backward,                                                                                         \
    (bam_stream stream, void *dx, const void *y, const void *dy, int64_t rows, int64_t n))                        \
  X(logsumexp, (bam_stream stream, void *y, void *stats, const void *x, int64_t rows, int64_t n))                 \
  X(logsumexp_backward, (bam_stream stream, void *dx, const void *x, const void *stats,                           \
                         const void *dy, int64_t rows, int64_t n))                                                \
  /* gemm.c: row-major C = alpha A B + beta C per batch entry, A is M x K or, transposed, K x M */                \
  X(gemm, (bam_stream stream, const bam_gemm *gemm, void *c, const void *a, const void *b))                       \
  X(grouped_gemm, (bam_stream stream, const bam_grouped_gemm *gemm, void *c, const void *a,                       \
                   const void *b, const int64_t *offsets))                                                        \
  /* norm.c: rows of n. s = x + residual when there is one. stats is [rows, 3]. dx may be ds.                   \
     scratch is [parts, 2, n]; dx, dweight, dbias and ds may be NULL. stats, scratch, dweight and   \
     dbias are real */ \
  X(layer_norm, (bam_stream stream, const bam_layer_norm *args))                                                  \
  X(layer_norm_backward, (bam_stream stream, const bam_layer_norm_backward *args))                                \
  /* rope.c: table is real [count, width / 2, 2], cos and sin of position times frequency;         \
     positions NULL are 0 .. count-1 */              \
  X(rope_table, (bam_stream stream, void *table, const int64_t *positions, int64_t count,                         \
                 const bam_rope *rope))                                                                           \
  X(rope,                                                                                                         \
    (bam_stream stream, void *y, const void *x, const void *table, const bam_rotation *rotation))                 \
  /* attention.c: o is [B, T, H, K], stats [B, T, H, 2], delta [B, T, H]; first is [B, T] from    \
     document_starts or NULL; scratch has as many elements as attention_scratch says. stats, delta \
     and scratch are real */               \
  X(attention,                                                                                                    \
    (bam_stream stream, const bam_attention_tensors *args, const bam_attention *attention))                       \
  X(attention_delta, (bam_stream stream, void *delta, const void *o, const void *grad_out,                        \
                      int64_t rows, int64_t width))                                                               \
  X(attention_backward,                                                                                           \
    (bam_stream stream, const bam_attention_gradients *args, const bam_attention *attention))                     \
  X(attention_scratch,                                                                                            \
    (bam_stream stream, int64_t * forward, int64_t * backward, const bam_attention *attention))                   \
  X(document_starts,                                                                                              \
    (bam_stream stream, int32_t * first, const int64_t *documents, int64_t batch, int64_t time))                  \
  /* mixture_of_attention.c: y = o times its expert's gate, [tokens, heads, width]; backward       \
     also gives delta [tokens, heads] as attention_delta does; grad_out may be dy, dgates may be NULL. \
     gates, dgates and delta are real */              \
  X(gate_heads,                                                                                                   \
    (bam_stream stream, void *y, const void *o, const void *gates, const bam_gated_heads *heads))                 \
  X(gate_heads_backward,                                                                                          \
    (bam_stream stream, const bam_gate_gradients *args, const bam_gated_heads *heads))                            \
  /* route.c: logits and p are [tokens, experts], lse [tokens], load [groups, experts], losses    \
     [2], statistics [3, experts]; mask [tokens] tells which tokens losses and statistics are of, \
     NULL: all, and counted how many they are; scratch has 3 experts + 2 doubles per part of a    \
     group and one per group; dgates and dlosses may be NULL. All are real */               \
  X(route, (bam_stream stream, const bam_route_tensors *args, const bam_route *route))                            \
  X(route_backward, (bam_stream stream, const bam_route_gradients *args, const bam_route *route))                 \
  /* routed_ffn.c: assignment a = token * k + j is token's j-th choice. rows lists them by expert, \
     slots is the inverse, -1 for those without an expert (0); offsets is [experts + 1]. count is \
     that of the rows. In backward y (the gated result again) may be dy. gates and dgates are real */              \
  X(sort_by_expert, (bam_stream stream, int64_t * rows, int64_t * slots, int64_t * offsets,                       \
                     const int64_t *chosen, int64_t assignments, int64_t experts))                                \
  X(gather_rows, (bam_stream stream, void *y, const void *x, const int64_t *rows, int64_t count,                  \
                  int64_t k, int64_t width))                                                                      \
  X(combine_rows, (bam_stream stream, void *y, const void *x, const int64_t *slots,                               \
                   int64_t tokens, int64_t k, int64_t width, bool add))                                           \
  X(gated_swiglu, (bam_stream stream, void *y, const void *x, const void *gates,                                  \
                   const int64_t *rows, int64_t count, int64_t hidden))                                           \
  X(gated_swiglu_backward, (bam_stream stream, const bam_swiglu_gradients *args))                                 \
  /* swiglu.c: x and dx are [rows, 2 hidden], gate before up; rows of x are `stride` apart */                     \
  X(swiglu,                                                                                                       \
    (bam_stream stream, void *y, const void *x, int64_t stride, int64_t rows, int64_t hidden))                    \
  X(swiglu_backward, (bam_stream stream, void *dx, const void *dy, const void *x, int64_t stride,                 \
                      int64_t rows, int64_t hidden))                                                              \
  /* geglu.c: like swiglu, and with gates like gated_swiglu */                                                    \
  X(geglu, (bam_stream stream, void *y, const bam_geglu *args))                                                   \
  X(geglu_backward, (bam_stream stream, const bam_geglu_gradients *args))                                         \
  /* embedding.c: *bad is the index of the first id outside 0 .. limit-1 other than `ignore`, or  \
     -1; backward adds to dweight, which is real */               \
  X(check_ids, (bam_stream stream, int64_t * bad, const int64_t *ids, int64_t n, int64_t limit,                   \
                int64_t ignore))                                                                                  \
  X(embedding, (bam_stream stream, void *y, const void *weight, const int64_t *ids, int64_t n,                    \
                int64_t width))                                                                                   \
  X(embedding_backward, (bam_stream stream, void *dweight, const void *dy, const int64_t *ids,                    \
                         int64_t n, int64_t width))                                                               \
  /* loss.c: x is [rows, n] logits; stats is [rows, 2].                                           \
     cross_entropy_backward: dx = *scale * *seed * (softmax(x) - one_hot(target)); seed may be    \
     NULL, which means 1; dx may be x. cross_entropy_in_place: both in one pass, with a seed of 1; \
     the gradient takes the place of x. loss_total: *scale * sum of the losses. stats, seed and the \
     total are real */               \
  X(cross_entropy, (bam_stream stream, double *losses, void *stats, const void *x,                                \
                    const int64_t *targets, int64_t rows, int64_t n, int64_t ignore))                             \
  X(cross_entropy_backward, (bam_stream stream, const bam_cross_entropy_gradients *args))                         \
  X(cross_entropy_in_place, (bam_stream stream, double *losses, void *x, const int64_t *targets,                  \
                             const double *scale, int64_t rows, int64_t n, int64_t ignore))                       \
  X(loss_scale,                                                                                                   \
    (bam_stream stream, double *scale, const int64_t *targets, int64_t n, int64_t ignore))                        \
  X(loss_total,                                                                                                   \
    (bam_stream stream, void *y, const double *losses, const double *scale, int64_t n))                           \
  /* optim.c: in place; gradients are multiplied by *clip, NULL being 1, and when that is 0        \
     nothing changes; buffer may be NULL without momentum; parts has one sum for each              \
     BAM_SUM_CHUNK elements. Gradients and moments are real; low has the low halves of masters    \
     (master.h) for bf16, and is unused otherwise */              \
  X(adamw, (bam_stream stream, void *param, int16_t *low, const void *grad, void *m, void *v,                     \
            const double *clip, int64_t n, const bam_adamw *settings))                                            \
  X(lion, (bam_stream stream, void *param, int16_t *low, const void *grad, void *m,                               \
           const double *clip, int64_t n, const bam_lion *settings))                                              \
  X(sgd, (bam_stream stream, void *param, int16_t *low, const void *grad, void *buffer,                           \
          const double *clip, int64_t n, const bam_sgd *settings))                                                \
  X(sum_of_squares, (bam_stream stream, double *parts, const void *x, int64_t n))                                 \
  /* n masters from their halves, and back (master.h), whatever the table's dtype */                              \
  X(join_masters,                                                                                                 \
    (bam_stream stream, float *y, const uint16_t *high, const int16_t *low, int64_t n))                           \
  X(split_masters, (bam_stream stream, uint16_t * high, int16_t * low, const float *x, int64_t n))
