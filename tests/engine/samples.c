/* The table of samples. Ranges keep away from kinks (0 for abs, ties for max), where no difference
   quotient is a derivative. */
#include "samples.h"

#include <stdlib.h>
#include <string.h>

#define SIZES(...) \
  sizeof((int64_t[]){ __VA_ARGS__ }) / 8, { __VA_ARGS__ }
#define REAL(low, high, ...) \
  { true, BAM_F64, low, high, SIZES(__VA_ARGS__) }
#define WHOLE(low, high, ...) \
  { true, BAM_I64, low, high, SIZES(__VA_ARGS__) }
#define FLAGS(...) \
  { true, BAM_BOOL, 0, 1, SIZES(__VA_ARGS__) }
#define ZERO_DIM(low, high)            \
  {                                    \
    true, BAM_F64, low, high, 0, { 0 } \
  }
#define NUMBER(name, value) \
  {                         \
    name, value, 0, { 0 }   \
  }
#define LIST(name, ...)                                              \
  {                                                                  \
    name, 0, sizeof((int64_t[]){ __VA_ARGS__ }) / 8, { __VA_ARGS__ } \
  }

#define BINARY(label, low, high)                                                                \
  {                                                                                             \
    .op = label, .broadcasts = true, .inputs = { REAL(low, high, 3, 4), REAL(low, high, 3, 4) } \
  }
#define LOGICAL(label)                                                      \
  {                                                                         \
    .op = label, .broadcasts = true, .inputs = { FLAGS(3, 4), FLAGS(3, 4) } \
  }
#define UNARY(label, low, high)                      \
  {                                                  \
    .op = label, .inputs = { REAL(low, high, 3, 5) } \
  }

static const sample samples[] = {
  BINARY("add", -2, 2),
  BINARY("sub", -2, 2),
  BINARY("mul", -2, 2),
  BINARY("div", 0.5, 2),
  BINARY("floordiv", 0.6, 0.9),
  BINARY("mod", 0.6, 0.9),
  BINARY("pow", 0.5, 2),
  BINARY("maximum", -2, 2),
  BINARY("minimum", -2, 2),
  BINARY("eq", -2, 2),
  BINARY("ne", -2, 2),
  BINARY("lt", -2, 2),
  BINARY("le", -2, 2),
  BINARY("gt", -2, 2),
  BINARY("ge", -2, 2),
  LOGICAL("logical_and"),
  LOGICAL("logical_or"),
  LOGICAL("logical_xor"),
  { .op = "logical_not", .inputs = { FLAGS(3, 4) } },
  UNARY("neg", -2, 2),
  UNARY("isnan", -2, 2),
  UNARY("isinf", -2, 2),
  UNARY("isfinite", -2, 2),
  UNARY("exp", -2, 2),
  UNARY("log", 0.5, 2),
  UNARY("sqrt", 0.5, 2),
  UNARY("rsqrt", 0.5, 2),
  UNARY("sin", -2, 2),
  UNARY("cos", -2, 2),
  UNARY("tanh", -2, 2),
  UNARY("sigmoid", -2, 2),
  UNARY("softplus", -2, 2),
  UNARY("silu", -2, 2),
  UNARY("gelu", -2, 2),
  UNARY("relu", 0.1, 2),
  UNARY("abs", 0.1, 2),
  UNARY("sign", 0.1, 2),
  UNARY("floor", 0.1, 0.9),
  UNARY("ceil", 0.1, 0.9),
  UNARY("round", 0.6, 0.9),
  { .op = "where",
    .inputs = { FLAGS(3, 4), REAL(-2, 2, 3, 4), REAL(-2, 2, 3, 4) },
    .broadcasts = true },
  { .op = "masked_fill", .inputs = { REAL(-2, 2, 3, 4), FLAGS(3, 4), ZERO_DIM(-2, 2) } },
  { .op = "clamp",
    .inputs = { REAL(-2, 2, 3, 5) },
    .attrs = { NUMBER("min", -0.5), NUMBER("max", 0.7) } },
  { .op = "dropout", .inputs = { REAL(-2, 2, 3, 5) }, .attrs = { NUMBER("p", 0.4) } },

  { .op = "reshape", .inputs = { REAL(-2, 2, 3, 4) }, .attrs = { LIST("sizes", 2, 6) } },
  { .op = "view",
    .inputs = { REAL(-2, 2, 3, 4) },
    .attrs = { LIST("sizes", 2, 6) },
    .contiguous = true },
  { .op = "permute", .inputs = { REAL(-2, 2, 2, 3, 4) }, .attrs = { LIST("dims", 2, 0, 1) } },
  { .op = "narrow",
    .inputs = { REAL(-2, 2, 3, 5) },
    .attrs = { NUMBER("dim", 1), NUMBER("start", 1), NUMBER("length", 3) } },
  { .op = "select",
    .inputs = { REAL(-2, 2, 3, 5) },
    .attrs = { NUMBER("dim", 1), NUMBER("position", 2) } },
  { .op = "expand", .inputs = { REAL(-2, 2, 3, 1) }, .attrs = { LIST("sizes", 2, 3, 4) } },
  { .op = "contiguous", .inputs = { REAL(-2, 2, 3, 5) } },
  { .op = "clone", .inputs = { REAL(-2, 2, 3, 5) } },
  { .op = "to", .inputs = { REAL(-2, 2, 3, 5) }, .attrs = { NUMBER("dtype", BAM_F64) } },

  { .op = "sum", .inputs = { REAL(-2, 2, 3, 4, 2) }, .attrs = { LIST("dim", 1) } },
  { .op = "mean", .inputs = { REAL(-2, 2, 3, 4, 2) }, .attrs = { LIST("dim", 0, 2) } },
  { .op = "prod", .inputs = { REAL(0.5, 2, 3, 4) }, .attrs = { LIST("dim", 1) } },
  { .op = "any", .inputs = { FLAGS(3, 4) }, .attrs = { LIST("dim", 1) } },
  { .op = "all", .inputs = { FLAGS(3, 4) }, .attrs = { LIST("dim", 0) } },
  { .op = "max", .inputs = { REAL(-2, 2, 3, 5) }, .attrs = { LIST("dim", 1) } },
  { .op = "min", .inputs = { REAL(-2, 2, 3, 5) }, .attrs = { LIST("dim", 0) } },
  { .op = "argmax", .inputs = { REAL(-2, 2, 3, 5) }, .attrs = { NUMBER("dim", 1) } },
  { .op = "argmin", .inputs = { REAL(-2, 2, 3, 5) }, .attrs = { NUMBER("dim", 0) } },
  { .op = "var", .inputs = { REAL(-2, 2, 3, 5) }, .attrs = { LIST("dim", 1) } },
  { .op = "norm", .inputs = { REAL(0.5, 2, 3, 5) }, .attrs = { LIST("dim", 1) } },
  { .op = "cumsum", .inputs = { REAL(-2, 2, 3, 5) }, .attrs = { NUMBER("dim", 1) } },
  { .op = "softmax", .inputs = { REAL(-2, 2, 3, 5) }, .attrs = { NUMBER("dim", 0) } },
  { .op = "log_softmax", .inputs = { REAL(-2, 2, 3, 5) } },
  { .op = "logsumexp", .inputs = { REAL(-2, 2, 3, 5) }, .attrs = { LIST("dim", 1) } },

  { .op = "matmul", .inputs = { REAL(-2, 2, 2, 3, 4), REAL(-2, 2, 2, 4, 5) }, .broadcasts = true },
  { .op = "index_select",
    .inputs = { REAL(-2, 2, 3, 5), WHOLE(1, 5, 4) },
    .attrs = { NUMBER("dim", 1) } },
  { .op = "index_add",
    .inputs = { REAL(-2, 2, 3, 5), WHOLE(1, 5, 4), REAL(-2, 2, 3, 4) },
    .attrs = { NUMBER("dim", 1) } },
  { .op = "gather",
    .inputs = { REAL(-2, 2, 3, 5), WHOLE(1, 5, 3, 4) },
    .attrs = { NUMBER("dim", 1) } },
  { .op = "scatter_add",
    .inputs = { REAL(-2, 2, 3, 5), WHOLE(1, 5, 3, 4), REAL(-2, 2, 3, 4) },
    .attrs = { NUMBER("dim", 1) } },
  { .op = "masked_select", .inputs = { REAL(-2, 2, 3, 4), FLAGS(3, 4) } },
  { .op = "one_hot", .inputs = { WHOLE(1, 6, 3, 4) }, .attrs = { NUMBER("n", 6) } },
  { .op = "sort", .inputs = { REAL(-2, 2, 3, 5) } },
  { .op = "topk", .inputs = { REAL(-2, 2, 3, 5) }, .attrs = { NUMBER("k", 2) } },
  { .op = "concat",
    .inputs = { REAL(-2, 2, 3, 2), REAL(-2, 2, 3, 4) },
    .attrs = { NUMBER("dim", 1) } },
  { .op = "stack",
    .inputs = { REAL(-2, 2, 3, 2), REAL(-2, 2, 3, 2) },
    .attrs = { NUMBER("dim", 1) } },
  { .op = "pad",
    .inputs = { REAL(-2, 2, 3, 2) },
    .attrs = { LIST("before", 0, 1), LIST("after", 2, 0) } },
  { .op = "flip", .inputs = { REAL(-2, 2, 3, 4) }, .attrs = { LIST("dim", 1) } },
  { .op = "roll",
    .inputs = { REAL(-2, 2, 3, 4) },
    .attrs = { NUMBER("shift", 1), NUMBER("dim", 1) } },
  { .op = "tril", .inputs = { REAL(-2, 2, 4, 5) } },
  { .op = "triu", .inputs = { REAL(-2, 2, 4, 5) }, .attrs = { NUMBER("diagonal", 1) } },

  { .op = "embedding", .inputs = { WHOLE(0, 6, 2, 3), REAL(-2, 2, 7, 4) } },
  { .op = "layer_norm",
    .inputs = { REAL(-2, 2, 3, 8), REAL(0.5, 2, 8), REAL(-1, 1, 8) },
    .f32_tolerance = 1e-4 },
  { .op = "add_layer_norm",
    .inputs = { REAL(-2, 2, 3, 8), REAL(-2, 2, 3, 8), REAL(0.5, 2, 8), REAL(-1, 1, 8) },
    .f32_tolerance = 1e-4 },
  { .op = "rms_norm", .inputs = { REAL(-2, 2, 3, 8), REAL(0.5, 2, 8) }, .f32_tolerance = 1e-4 },
  { .op = "add_rms_norm",
    .inputs = { REAL(-2, 2, 3, 8), REAL(-2, 2, 3, 8), REAL(0.5, 2, 8) },
    .f32_tolerance = 1e-4 },
  { .op = "linear", .inputs = { REAL(-2, 2, 3, 5), REAL(-2, 2, 4, 5), REAL(-1, 1, 4) } },
  { .op = "add_linear",
    .inputs = { REAL(-2, 2, 3, 5), REAL(-2, 2, 4, 5), REAL(-2, 2, 3, 4), REAL(-1, 1, 4) },
    .bf16_tolerance = 3 }, /* also of residual + bias */
  { .op = "rope", .inputs = { REAL(-2, 2, 2, 3, 2, 4), WHOLE(0, 9, 3) } },
  { .op = "rope_table",
    .inputs = { WHOLE(0, 9, 2, 3) },
    .attrs = { NUMBER("width", 6), NUMBER("dtype", BAM_F64) } },
  { .op = "attention",
    .inputs = { REAL(-2, 2, 2, 5, 4, 4), REAL(-2, 2, 2, 5, 2, 4), REAL(-2, 2, 2, 5, 2, 4),
                WHOLE(1, 2, 2, 5) } },
  { .op = "document_starts", .inputs = { WHOLE(1, 3, 2, 5) } },
  { .op = "swiglu", .inputs = { REAL(-2, 2, 3, 8) } },
  { .op = "geglu", .inputs = { REAL(-2, 2, 3, 8) } },
  { .op = "route",
    .inputs = { REAL(-2, 2, 2, 3, 5), FLAGS(2, 3) },
    .attrs = { NUMBER("k", 2), NUMBER("renormalise", 1), NUMBER("aux_tokens", 3) } },
  { .op = "mixture_of_attention",
    .inputs = { REAL(-2, 2, 2, 5, 3), REAL(-1, 1, 16, 3), REAL(-1, 1, 3, 8), REAL(0.1, 1, 2, 5, 2),
                WHOLE(1, 2, 2, 5) },
    .attrs = { NUMBER("heads", 2), NUMBER("kv_heads", 1) },
    .bf16_tolerance = 6 }, /* also of queries, keys, values, results and gated results */
  { .op = "expert_order", .inputs = { WHOLE(0, 3, 4, 2) }, .attrs = { NUMBER("n", 3) } },
  { .op = "routed_ffn",
    .inputs = { REAL(-2, 2, 4, 3), REAL(0.1, 1, 4, 2), WHOLE(1, 3, 4, 2), REAL(-1, 1, 3, 4, 3),
                REAL(-1, 1, 3, 2, 2) },
    .bf16_tolerance = 6 }, /* also of both products, the hidden layer and each expert's result */
  { .op = "cross_entropy", .inputs = { REAL(-2, 2, 4, 7), WHOLE(0, 6, 4) } },
  { .op = "linear_cross_entropy",
    .inputs = { REAL(-2, 2, 4, 3), REAL(-2, 2, 7, 3), WHOLE(0, 6, 4) },
    .attrs = { NUMBER("chunk", 3) },
    .bf16_tolerance = 6 }, /* also of the logits */
};

const sample *sample_find(const char *op) {
  for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++)
    if (strcmp(samples[i].op, op) == 0)
      return &samples[i];
  return NULL;
}

static bam_tensor *make_input(const sample_input *in, bool empty) {
  bam_shape shape = { .ndim = in->ndim };
  for (int d = 0; d < in->ndim; d++)
    shape.size[d] = empty ? 0 : in->size[d];
  return bam_dtype_is_float(in->dtype) ? make_leaf(in->dtype, shape, in->low, in->high)
                                       : make_random(in->dtype, shape, in->low, in->high);
}

int sample_inputs(const sample *s, bool empty, bam_tensor **inputs) {
  int n = 0;
  for (; n < 5 && s->inputs[n].given; n++)
    inputs[n] = make_input(&s->inputs[n], empty);
  return n;
}

bam_attr *sample_attrs(const sample *s, const bam_op *op) {
  bam_attr *attrs = make_attrs(op);
  for (const sample_attr *a = s->attrs; a < s->attrs + 4 && a->name != NULL; a++) {
    int i = 0;
    while (op->attrs[i].name != NULL && strcmp(op->attrs[i].name, a->name) != 0)
      i++;
    cr_assert_not_null(op->attrs[i].name, "%s has no attribute %s", op->name, a->name);
    if (a->count > 0)
      set_list(op, attrs, a->name, a->count, a->list);
    else if (op->attrs[i].kind == BAM_ATTR_FLOAT)
      set_float(op, attrs, a->name, a->number);
    else
      set_integer(op, attrs, a->name, (int64_t)a->number);
  }
  return attrs;
}
