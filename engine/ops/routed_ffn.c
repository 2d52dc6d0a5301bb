/* FFN experts (BAM §3.3, §4.2): every token goes through the experts chosen for it. Tokens are
   sorted by expert, so that each expert is one product on its rows, whatever their number; the
   gates are folded into the hidden activations, and the results are added up per token in the order
   of its choices. Backward computes SwiGLU or GeGLU again and divides by no gate. */
#include <inttypes.h>

#include "../core/devices.h"
#include "../core/facts.h"
#include "expert_order.h"
#include "support/axis.h"
#include "support/layer_inputs.h"

enum { X, GATES, EXPERTS, GATE_UP, DOWN };
enum { ATTR_GELU, ATTR_APPROXIMATE };
enum { SAVED_X, SAVED_GATES, SAVED_GATE_UP, SAVED_DOWN, SAVED_ORDER, SAVED_OFFSETS, SAVED_HIDDEN };

/* The sizes. An assignment is one choice of one token; `count` of them name an expert. */
typedef struct layout {
  int64_t tokens, in, hidden, out, experts, k, assignments, count;
} layout;

static void find_layout(layout *l, const bam_shape *x, const bam_shape *gates,
                        const bam_shape *gate_up, const bam_shape *down) {
  l->tokens = bam_shape_rows(x);
  l->in = bam_shape_width(x);
  l->k = bam_shape_width(gates);
  l->assignments = l->tokens * l->k;
  l->experts = gate_up->size[0];
  l->hidden = down->size[2];
  l->out = down->size[1];
}

static const int64_t *rows_of(bam_tensor *order) { return bam_tensor_data(order); }
static const int64_t *slots_of(bam_tensor *order, const layout *l) {
  return rows_of(order) + l->assignments;
}

/* ---- forward: checks ---- */

static bam_status check_choice(bam_call *call) {
  const bam_shape *x = &call->inputs[X]->shape, *gates = &call->inputs[GATES]->shape;
  char tx[BAM_SHAPE_TEXT], tg[BAM_SHAPE_TEXT];
  bam_shape want = *x;
  if (x->ndim < 1)
    return bam_call_fail(call, "x has no dimensions; it must be [..., D]");
  want.size[x->ndim - 1] = gates->ndim == x->ndim ? bam_shape_width(gates) : 0;
  if (!bam_shape_equal(gates, &want))
    return bam_call_fail(call, "gates are %s; for x %s they must be [..., choices]",
                         bam_shape_text(gates, tg), bam_shape_text(x, tx));
  if (bam_facts_of_order(call->inputs[EXPERTS]) != NULL)
    return BAM_OK;
  return bam_call_expect_shape(call, EXPERTS, gates, "one expert per gate");
}

static bam_status check_weights(bam_call *call) {
  const bam_shape *x = &call->inputs[X]->shape;
  const bam_shape *gate_up = &call->inputs[GATE_UP]->shape, *down = &call->inputs[DOWN]->shape;
  char tx[BAM_SHAPE_TEXT], tg[BAM_SHAPE_TEXT], td[BAM_SHAPE_TEXT];
  bool fits = gate_up->ndim == 3 && down->ndim == 3 && gate_up->size[0] == down->size[0] &&
              gate_up->size[1] == 2 * down->size[2] && gate_up->size[2] == bam_shape_width(x);
  if (!fits)
    return bam_call_fail(call,
                         "needs gate_up [N, 2F, D] and down [N, Dout, F] for x [..., D], not "
                         "%s and %s for %s",
                         bam_shape_text(gate_up, tg), bam_shape_text(down, td),
                         bam_shape_text(x, tx));
  return BAM_OK;
}

/* ---- forward ---- */

/* The inputs, contiguous, and what forward makes; temporaries of the call. hidden, a and `sorted` are sorted by expert:
   first it has x's rows, then those of the result. */
typedef struct experts {
  layout l;
  const bam_kernels *kernels;
  bam_device *device;
  bam_tensor *x, *gates, *gate_up, *down; /* x with its own shape */
  bam_tensor *order, *offsets;            /* offsets lie in host memory */
  bool is_complete;                       /* every assignment names an expert */
  uint64_t copy;                          /* of the offsets to the host */
  bam_tensor *sorted, *hidden, *a;
} experts;

/* Take the order of the assignments that was given, or sort those that were. */
static bam_status find_order(bam_call *call, experts *e) {
  const layout *l = &e->l;
  const bam_facts *facts = bam_facts_of_order(call->inputs[EXPERTS]);
  if (facts == NULL) {
    BAM_TRY(bam_temp_scratch(call->scope, e->device, BAM_I64,
                             bam_order_size(l->assignments, l->experts), &e->order));
    BAM_TRY(bam_call_sort_experts(call, EXPERTS, l->experts, e->order));
    facts = &e->order->storage->facts; /* also of no experts */
  } else {
    e->order = call->inputs[EXPERTS];
  }
  if (facts->order.assignments != l->assignments || facts->order.experts != l->experts)
    return bam_call_fail(call,
                         "experts are the expert_order of %" PRId64 " choices among %" PRId64
                         " experts; here are %" PRId64 " gates and %" PRId64 " experts",
                         facts->order.assignments, facts->order.experts, l->assignments,
                         l->experts);
  e->copy = facts->order.copy;
  e->is_complete = facts->order.is_complete;
  return bam_temp_scratch(call->scope, &call->context->cpu, BAM_I64, l->experts + 1, &e->offsets);
}

/* Get the offsets, which size the products. This waits for the device unless other work was enqueued after sorting. */
static bam_status read_offsets(bam_call *call, experts *e) {
  int64_t *offsets = bam_tensor_data(e->offsets);
  BAM_TRY(bam_device_finish_copy(call->context, e->device, e->copy, offsets,
                                 slots_of(e->order, &e->l) + e->l.assignments,
                                 (e->l.experts + 1) * (int64_t)sizeof *offsets));
  e->l.count = offsets[e->l.experts];
  return BAM_OK;
}

static bam_status open_experts(bam_call *call, experts *e) {
  const int inputs[] = { X, GATES, GATE_UP, DOWN };
  bam_tensor **const to[] = { &e->x, &e->gates, &e->gate_up, &e->down };
  e->device = bam_call_device(call);
  BAM_TRY(check_choice(call));
  BAM_TRY(check_weights(call));
  for (int i = 0; i < 4; i++) {
    BAM_TRY(bam_call_check_product(call, inputs[i]));
    BAM_TRY(
      (inputs[i] == GATES ? bam_call_real_input : bam_call_layer_input)(call, inputs[i], X, to[i]));
  }
  find_layout(&e->l, &e->x->shape, &e->gates->shape, &e->gate_up->shape, &e->down->shape);
  BAM_TRY(bam_call_kernels(call, e->x->dtype, &e->kernels));
  return find_order(call, e);
}

/* Room for `assignments` rows of `width`, as many as there can be: the sizes do not change with
   the routing, so memory is reused from step to step. */
static bam_status make_rows(bam_scope *scope, bam_device *device, bam_dtype dtype, const layout *l,
                            int64_t width, bam_tensor **out) {
  bam_shape shape = { .ndim = 2, .size = { l->assignments, width } };
  return bam_temp_new(scope, device, dtype, &shape, out);
}

static bam_status save_experts(bam_call *call, const experts *e) {
  bam_tensor *const all[] = {
    e->x, e->gates, e->gate_up, e->down, e->order, e->offsets, e->hidden
  };
  for (int i = 0; i < 7; i++)
    BAM_TRY(bam_call_save(call, SAVED_X + i, all[i]));
  return BAM_OK;
}

/* Products of all experts' rows with their [n, k] matrices. */
static void count_products(const layout *l, bam_device *device, int64_t n, int64_t k) {
  device->flops += 2.0 * (double)l->count * (double)n * (double)k;
}

/* a = the gates times the activations of the hidden rows. */
static void activate(const experts *e, const bam_attr *attrs) {
  const layout *l = &e->l;
  const int64_t *rows = rows_of(e->order);
  void *a = bam_tensor_data(e->a);
  if (attrs[ATTR_GELU].i != 0)
    e->kernels->geglu(e->device->stream, a,
                      &(bam_geglu){ .x = bam_tensor_data(e->hidden),
                                    .gates = bam_tensor_data(e->gates),
                                    .rows = rows,
                                    .stride = 2 * l->hidden,
                                    .count = l->count,
                                    .hidden = l->hidden,
                                    .approximate = attrs[ATTR_APPROXIMATE].i != 0 });
  else
    e->kernels->gated_swiglu(e->device->stream, a, bam_tensor_data(e->hidden),
                             bam_tensor_data(e->gates), rows, l->count, l->hidden);
}

static void run_experts(const experts *e, const bam_attr *attrs, bam_tensor *y) {
  const layout *l = &e->l;
  const int64_t *offsets = bam_tensor_data(e->offsets);
  bam_stream stream = e->device->stream;
  bam_grouped_gemm gate_up = { .experts = l->experts,
                               .n = 2 * l->hidden,
                               .k = l->in,
                               .transpose_b = true };
  bam_grouped_gemm down = { .experts = l->experts,
                            .n = l->out,
                            .k = l->hidden,
                            .transpose_b = true };
  count_products(l, e->device, 2 * l->hidden, l->in);
  count_products(l, e->device, l->out, l->hidden);
  e->kernels->grouped_gemm(stream, &gate_up, bam_tensor_data(e->hidden), bam_tensor_data(e->sorted),
                           bam_tensor_data(e->gate_up), offsets);
  activate(e, attrs);
  e->kernels->grouped_gemm(stream, &down, bam_tensor_data(e->sorted), bam_tensor_data(e->a),
                           bam_tensor_data(e->down), offsets);
  e->kernels->combine_rows(stream, bam_tensor_data(y), bam_tensor_data(e->sorted),
                           slots_of(e->order, l), l->tokens, l->k, l->out, false);
}

/* sorted = the tokens' rows. Needs the offsets only to know how many rows there are: when they are all
   the assignments, the host waits while the device has this to do. */
static bam_status gather_tokens(bam_call *call, experts *e) {
  const layout *l = &e->l;
  if (!e->is_complete)
    BAM_TRY(read_offsets(call, e));
  e->kernels->gather_rows(e->device->stream, bam_tensor_data(e->sorted), bam_tensor_data(e->x),
                          rows_of(e->order), e->is_complete ? l->assignments : l->count, l->k,
                          l->in);
  return e->is_complete ? read_offsets(call, e) : BAM_OK;
}

static bam_status routed_ffn_forward(bam_call *call) {
  experts e = { .kernels = NULL };
  BAM_TRY(open_experts(call, &e));
  bam_shape y = e.x->shape;
  bam_dtype dtype = e.x->dtype;
  y.size[y.ndim - 1] = e.l.out;
  BAM_TRY(
    make_rows(call->scope, e.device, dtype, &e.l, e.l.in > e.l.out ? e.l.in : e.l.out, &e.sorted));
  BAM_TRY(make_rows(call->scope, e.device, dtype, &e.l, 2 * e.l.hidden, &e.hidden));
  BAM_TRY(make_rows(call->scope, e.device, dtype, &e.l, e.l.hidden, &e.a));
  BAM_TRY(bam_call_output(call, 0, dtype, &y));
  BAM_TRY(save_experts(call, &e));
  BAM_TRY(gather_tokens(call, &e));
  run_experts(&e, call->attrs, call->outputs[0]);
  return BAM_OK;
}

/* ---- backward ---- */

/* Temporaries of the pass; all but dgates are sorted by expert. u becomes the gated activations in place; `sorted` has
   first dy's rows, then x's, then the gradients of x's. */
typedef struct gradients {
  layout l;
  const bam_kernels *kernels;
  bam_device *device;
  bam_tensor *dy, *sorted, *u, *dhidden, *dgates;
} gradients;

static bam_status open_gradients(bam_backward *pass, gradients *g) {
  bam_tensor *const *saved = pass->saved;
  bam_dtype dtype = saved[SAVED_X]->dtype;
  layout *l = &g->l;
  find_layout(l, &saved[SAVED_X]->shape, &saved[SAVED_GATES]->shape, &saved[SAVED_GATE_UP]->shape,
              &saved[SAVED_DOWN]->shape);
  l->count = ((const int64_t *)bam_tensor_data(saved[SAVED_OFFSETS]))[l->experts];
  g->device = bam_tensor_device(saved[SAVED_X]);
  BAM_TRY(bam_backward_kernels(pass, dtype, &g->kernels));
  BAM_TRY(bam_temp_contiguous(pass->scope, pass->grads[0], &g->dy));
  BAM_TRY(make_rows(pass->scope, g->device, dtype, l, l->in > l->out ? l->in : l->out, &g->sorted));
  BAM_TRY(make_rows(pass->scope, g->device, dtype, l, l->hidden, &g->u));
  BAM_TRY(make_rows(pass->scope, g->device, dtype, l, 2 * l->hidden, &g->dhidden));
  BAM_TRY(bam_temp_zeros(pass->scope, g->device, saved[SAVED_GATES]->dtype,
                         &saved[SAVED_GATES]->shape, &g->dgates));
  return BAM_OK;
}

/* The gradient of the stacked weights that made c [rows, n] of b [rows, k]. */
static bam_status give_weights(bam_backward *pass, const gradients *g, int input, bam_tensor *dc,
                               bam_tensor *b, int64_t n, int64_t k) {
  bam_grouped_gemm gemm = { .experts = g->l.experts, .n = n, .k = k, .weights = true };
  bam_tensor *target;
  BAM_TRY(bam_grad_buffer_as(pass, input, bam_grad_dtype(pass, input), &target, &gemm.add));
  gemm.real_c = target->dtype != b->dtype;
  count_products(&g->l, g->device, n, k);
  g->kernels->grouped_gemm(g->device->stream, &gemm, bam_tensor_data(target), bam_tensor_data(dc),
                           bam_tensor_data(b), bam_tensor_data(pass->saved[SAVED_OFFSETS]));
  return BAM_OK;
}

/* From the gradients of the gated activations, in u, to dhidden, dgates and the activations, in u. */
static void activate_backward(const bam_backward *pass, const gradients *g) {
  bam_tensor *const *saved = pass->saved;
  const bam_swiglu_gradients s = { .dx = bam_tensor_data(g->dhidden),
                                   .y = bam_tensor_data(g->u),
                                   .dgates = bam_tensor_data(g->dgates),
                                   .dy = bam_tensor_data(g->u),
                                   .x = bam_tensor_data(saved[SAVED_HIDDEN]),
                                   .gates = bam_tensor_data(saved[SAVED_GATES]),
                                   .rows = rows_of(saved[SAVED_ORDER]),
                                   .count = g->l.count,
                                   .hidden = g->l.hidden };
  if (pass->attrs[ATTR_GELU].i == 0) {
    g->kernels->gated_swiglu_backward(g->device->stream, &s);
    return;
  }
  g->kernels->geglu_backward(
    g->device->stream,
    &(bam_geglu_gradients){ .dx = s.dx,
                            .y = s.y,
                            .dgates = s.dgates,
                            .dy = s.dy,
                            .x = s.x,
                            .gates = s.gates,
                            .rows = s.rows,
                            .count = s.count,
                            .hidden = s.hidden,
                            .approximate = pass->attrs[ATTR_APPROXIMATE].i != 0 });
}

/* From dy to dhidden, the gated activations (in u), and the gradients of down and of the gates. */
static bam_status down_backward(bam_backward *pass, gradients *g) {
  const layout *l = &g->l;
  bam_tensor *const *saved = pass->saved;
  const int64_t *rows = rows_of(saved[SAVED_ORDER]);
  bam_grouped_gemm gemm = { .experts = l->experts, .n = l->hidden, .k = l->out };
  g->kernels->gather_rows(g->device->stream, bam_tensor_data(g->sorted), bam_tensor_data(g->dy),
                          rows, l->count, l->k, l->out);
  count_products(l, g->device, gemm.n, gemm.k);
  g->kernels->grouped_gemm(g->device->stream, &gemm, bam_tensor_data(g->u),
                           bam_tensor_data(g->sorted), bam_tensor_data(saved[SAVED_DOWN]),
                           bam_tensor_data(saved[SAVED_OFFSETS]));
  activate_backward(pass, g);
  BAM_TRY(bam_accumulate_grad(pass, GATES, g->dgates));
  if (bam_needs_grad(pass, DOWN))
    BAM_TRY(give_weights(pass, g, DOWN, g->sorted, g->u, l->out, l->hidden));
  return BAM_OK;
}

/* From dhidden to the gradients of gate_up and x. The tokens' rows are gathered again, not kept since forward: for
   16384 tokens of 2304 bf16 that would take 75 MB per layer, 1 % of the device in all, to save reading and writing as
   much, 0.1 % of a large mixture's step by the bandwidth of memory. */
static bam_status gate_up_backward(bam_backward *pass, gradients *g) {
  const layout *l = &g->l;
  bam_tensor *const *saved = pass->saved, *target;
  bam_grouped_gemm gemm = { .experts = l->experts, .n = l->in, .k = 2 * l->hidden };
  bool add;
  if (bam_needs_grad(pass, GATE_UP)) {
    g->kernels->gather_rows(g->device->stream, bam_tensor_data(g->sorted),
                            bam_tensor_data(saved[SAVED_X]), rows_of(saved[SAVED_ORDER]), l->count,
                            l->k, l->in);
    BAM_TRY(give_weights(pass, g, GATE_UP, g->dhidden, g->sorted, 2 * l->hidden, l->in));
  }
  if (bam_needs_grad(pass, X)) {
    count_products(l, g->device, gemm.n, gemm.k);
    g->kernels->grouped_gemm(g->device->stream, &gemm, bam_tensor_data(g->sorted),
                             bam_tensor_data(g->dhidden), bam_tensor_data(saved[SAVED_GATE_UP]),
                             bam_tensor_data(saved[SAVED_OFFSETS]));
    BAM_TRY(bam_grad_buffer(pass, X, &target, &add));
    g->kernels->combine_rows(g->device->stream, bam_tensor_data(target), bam_tensor_data(g->sorted),
                             slots_of(saved[SAVED_ORDER], l), l->tokens, l->k, l->in, add);
  }
  return BAM_OK;
}

static bam_status routed_ffn_backward(bam_backward *pass) {
  gradients g = { .kernels = NULL };
  BAM_TRY(open_gradients(pass, &g));
  BAM_TRY(down_backward(pass, &g));
  BAM_TRY(gate_up_backward(pass, &g));
  return BAM_OK;
}

const bam_op bam_op_routed_ffn = {
  .name = "routed_ffn",
  .help = "Routed SwiGLU experts (BAM §3.3, §4.2): the sum over j of gates[j] * down[e] "
          "(silu(gate[e] x) * (up[e] "
          "x)), where e = experts[j]. `x` is [..., D]; `gates` [..., k] and `experts`, integers "
          "[..., k] from 1 (0: "
          "none), are results of route, or in place of `experts` their expert_order; `gate_up` is "
          "[N, 2F, D], gate before up; `down` is [N, "
          "Dout, F]. The result "
          "is [..., Dout]; f32, f64, or bf16 on a GPU. No token is dropped or padded; an expert "
          "may get no tokens. With "
          "`gelu` the experts are GeGLU: gelu in place of silu, `approximate` as in gelu.",
  .inputs = { "x", "gates", "experts", "gate_up", "down" },
  .attrs = (const bam_attr_spec[]){ { .name = "gelu", .kind = BAM_ATTR_BOOL },
                                    { .name = "approximate", .kind = BAM_ATTR_BOOL },
                                    { 0 } },
  .forward = routed_ffn_forward,
  .backward = routed_ffn_backward,
};
