/* The ops, grouped by the file that defines them. */
/* clang-format off */
#define BAM_OPS(X)                                                                                \
  /* arithmetic.c */ X(add) X(sub) X(mul) X(div) X(floordiv) X(mod) X(pow)                        \
  /* arithmetic.c */ X(maximum) X(minimum) X(neg)                                                 \
  /* compare.c */ X(eq) X(ne) X(lt) X(le) X(gt) X(ge) X(isnan) X(isinf) X(isfinite)               \
  /* logical.c */ X(logical_and) X(logical_or) X(logical_xor) X(logical_not)                      \
  /* unary.c */ X(exp) X(log) X(sqrt) X(rsqrt) X(sin) X(cos) X(tanh) X(sigmoid) X(softplus) X(silu)\
  /* unary.c */ X(gelu) X(relu) X(abs) X(sign) X(floor) X(ceil) X(round)                          \
  /* where.c */ X(where) X(masked_fill) X(clamp)                                                  \
  /* dropout.c */ X(dropout)                                                                      \
  /* view.c */ X(reshape) X(view) X(permute) X(narrow) X(select) X(expand)                        \
  /* copy.c */ X(contiguous) X(clone) X(to)                                                       \
  /* reduce.c */ X(sum) X(mean) X(prod) X(any) X(all)                                             \
  /* minmax.c */ X(max) X(min) X(argmax) X(argmin)                                               \
  /* statistics.c */ X(var) X(norm)                                                               \
  /* cumsum.c */ X(cumsum)                                                                        \
  /* softmax.c */ X(softmax) X(log_softmax) X(logsumexp)                                          \
  /* matmul.c */ X(matmul)                                                                        \
  /* index.c */ X(index_select) X(index_add) X(gather) X(scatter_add)                             \
  /* mask.c */ X(masked_select) X(one_hot)                                                        \
  /* sort.c */ X(sort) X(topk)                                                                    \
  /* concat.c */ X(concat) X(stack)                                                                 \
  /* pad.c */ X(pad) X(flip) X(roll)                                                              \
  /* tril_triu.c */ X(tril) X(triu)                                                                \
  /* embedding.c */ X(embedding)                                                                  \
  /* layer_norm.c */ X(layer_norm) X(add_layer_norm) X(rms_norm) X(add_rms_norm)                  \
  /* linear.c */ X(linear) X(add_linear)                                                          \
  /* rope.c */ X(rope) X(rope_table)                                                              \
  /* attention.c */ X(attention) X(document_starts)                                               \
  /* mixture_of_attention.c */ X(mixture_of_attention)                                            \
  /* swiglu.c */ X(swiglu) X(geglu)                                                               \
  /* route.c */ X(route)                                                                          \
  /* expert_order.c */ X(expert_order)                                                            \
  /* routed_ffn.c */ X(routed_ffn)                                                                \
  /* cross_entropy.c */ X(cross_entropy)                                                          \
  /* linear_cross_entropy.c */ X(linear_cross_entropy)
/* clang-format on */
