/* The C half of the optimizers: moving parameters into flat buffers, fused updates, the global norm. Private to
   lua/bam/optim, which checks the arguments of scripts; types, shapes and ranges are checked here too. */
#include "../../engine/optim/optim.h"
#include "bind.h"

/* ---- settings ---- */

static double number_field(lua_State *L, int arg, const char *name) {
  lua_getfield(L, arg, name);
  double value = bind_number(L, -1, name);
  lua_pop(L, 1);
  return value;
}

static int64_t integer_field(lua_State *L, int arg, const char *name) {
  lua_getfield(L, arg, name);
  int64_t value = bind_integer(L, -1, name);
  lua_pop(L, 1);
  return value;
}

static void expect_table(lua_State *L, int arg, const char *what, const char *expected) {
  if (lua_type(L, arg) != LUA_TTABLE)
    bind_error(L, "%s: expected %s as argument %d, got %s", what, expected, arg,
               bind_describe(L, arg));
}

/* The tensor at `arg`, which is to be updated in place and must not be part of a graph. */
static bam_tensor *writable(lua_State *L, int arg, const char *what) {
  bam_tensor *tensor = bind_tensor(L, arg);
  bind_check(L, bam_autograd_check_write(what, tensor));
  return tensor;
}

/* ---- updates ---- */

/* The tensor in field `name` of the settings, or NULL; it stays on the stack. */
static bam_tensor *tensor_field(lua_State *L, int arg, const char *name) {
  lua_getfield(L, arg, name);
  return lua_isnil(L, -1) ? NULL : bind_tensor(L, lua_gettop(L));
}

/* The low halves of masters, which are updated. */
static bam_tensor *low_field(lua_State *L, int arg, const char *what) {
  bam_tensor *low = tensor_field(L, arg, "low");
  if (low != NULL)
    bind_check(L, bam_autograd_check_write(what, low));
  return low;
}

BIND_DOC(adamw_settings, "bam.AdamWSettings",
         "Settings of adamw_step.\n"
         "@field lr number\n"
         "@field beta1 number\n"
         "@field beta2 number\n"
         "@field eps number\n"
         "@field weight_decay number\n"
         "@field step integer number of this step, from 1: the bias correction depends on it\n"
         "@field clip? tensor 0-d f64: factor of the gradient\n"
         "@field low? tensor u8: of bf16 parameters, the low halves of their f32 masters");

BIND_DOC(optim_adamw_step, "adamw_step(param, grad, m, v, settings)",
         "One AdamW update in place, in one pass over all four tensors.\n"
         "@param param tensor\n"
         "@param grad tensor\n"
         "@param m tensor first moment\n"
         "@param v tensor second moment\n"
         "@param settings bam.AdamWSettings");
static int optim_adamw_step(lua_State *L) {
  static const char *const names[] = { "lr",   "beta1", "beta2", "eps", "weight_decay",
                                       "step", "clip",  "low",   NULL };
  bam_tensor *param = writable(L, 1, "adamw_step"), *grad = bind_tensor(L, 2);
  bam_tensor *m = writable(L, 3, "adamw_step"), *v = writable(L, 4, "adamw_step");
  expect_table(L, 5, "adamw_step", "a table of settings");
  bind_check_options(L, 5, "adamw_step", names);
  const bam_adamw settings = {
    .lr = number_field(L, 5, "lr"),
    .beta1 = number_field(L, 5, "beta1"),
    .beta2 = number_field(L, 5, "beta2"),
    .eps = number_field(L, 5, "eps"),
    .weight_decay = number_field(L, 5, "weight_decay"),
    .step = integer_field(L, 5, "step"),
  };
  bam_tensor *low = low_field(L, 5, "adamw_step");
  bind_check(L, bam_optim_adamw(param, low, grad, m, v, tensor_field(L, 5, "clip"), &settings));
  return 0;
}

BIND_DOC(lion_settings, "bam.LionSettings",
         "Settings of lion_step.\n"
         "@field lr number\n"
         "@field beta1 number\n"
         "@field beta2 number\n"
         "@field weight_decay number\n"
         "@field clip? tensor 0-d f64: factor of the gradient\n"
         "@field low? tensor u8: of bf16 parameters, the low halves of their f32 masters");

BIND_DOC(optim_lion_step, "lion_step(param, grad, m, settings)",
         "One Lion update in place, in one pass over all three tensors.\n"
         "@param param tensor\n"
         "@param grad tensor\n"
         "@param m tensor momentum\n"
         "@param settings bam.LionSettings");
static int optim_lion_step(lua_State *L) {
  static const char *const names[] = {
    "lr", "beta1", "beta2", "weight_decay", "clip", "low", NULL
  };
  bam_tensor *param = writable(L, 1, "lion_step"), *grad = bind_tensor(L, 2);
  bam_tensor *m = writable(L, 3, "lion_step");
  expect_table(L, 4, "lion_step", "a table of settings");
  bind_check_options(L, 4, "lion_step", names);
  const bam_lion settings = {
    .lr = number_field(L, 4, "lr"),
    .beta1 = number_field(L, 4, "beta1"),
    .beta2 = number_field(L, 4, "beta2"),
    .weight_decay = number_field(L, 4, "weight_decay"),
  };
  bam_tensor *low = low_field(L, 4, "lion_step");
  bind_check(L, bam_optim_lion(param, low, grad, m, tensor_field(L, 4, "clip"), &settings));
  return 0;
}

BIND_DOC(sgd_settings, "bam.SGDSettings",
         "Settings of sgd_step.\n"
         "@field lr number\n"
         "@field momentum number\n"
         "@field weight_decay number\n"
         "@field nesterov? boolean\n"
         "@field step integer number of this step, from 1\n"
         "@field clip? tensor 0-d f64: factor of the gradient\n"
         "@field low? tensor u8: of bf16 parameters, the low halves of their f32 masters");

BIND_DOC(optim_sgd_step, "sgd_step(param, grad, buffer, settings)",
         "One step of gradient descent in place, with momentum if there is a buffer.\n"
         "@param param tensor\n"
         "@param grad tensor\n"
         "@param buffer? tensor momentum\n"
         "@param settings bam.SGDSettings");
static int optim_sgd_step(lua_State *L) {
  static const char *const names[] = { "lr",   "momentum", "weight_decay", "nesterov",
                                       "step", "clip",     "low",          NULL };
  bam_tensor *param = writable(L, 1, "sgd_step"), *grad = bind_tensor(L, 2);
  bam_tensor *buffer = lua_isnil(L, 3) ? NULL : writable(L, 3, "sgd_step");
  expect_table(L, 4, "sgd_step", "a table of settings");
  bind_check_options(L, 4, "sgd_step", names);
  bam_sgd settings = {
    .lr = number_field(L, 4, "lr"),
    .momentum = number_field(L, 4, "momentum"),
    .weight_decay = number_field(L, 4, "weight_decay"),
    .step = integer_field(L, 4, "step"),
  };
  if (lua_getfield(L, 4, "nesterov") != LUA_TNIL)
    settings.nesterov = bind_flag(L, -1, "sgd_step: nesterov");
  bam_tensor *low = low_field(L, 4, "sgd_step");
  bind_check(L, bam_optim_sgd(param, low, grad, buffer, tensor_field(L, 4, "clip"), &settings));
  return 0;
}

BIND_DOC(optim_join_masters, "join_masters(param, low)",
         "The f32 masters of bf16 parameters, from them and the low halves that an optimizer keeps "
         "beside them.\n"
         "@param param tensor bf16\n"
         "@param low tensor u8, two for each parameter\n"
         "@return tensor");
static int optim_join_masters(lua_State *L) {
  bam_tensor *param = bind_tensor(L, 1), *low = bind_tensor(L, 2);
  bind_handle *masters = bind_push_handle(L);
  bind_check(L, bam_optim_join(param, low, &masters->tensor));
  return 1;
}

BIND_DOC(optim_split_masters, "split_masters(masters, param, low)",
         "Divide f32 masters into bf16 parameters, rounded, and low halves, in place.\n"
         "@param masters tensor f32\n"
         "@param param tensor bf16\n"
         "@param low tensor u8, two for each parameter");
static int optim_split_masters(lua_State *L) {
  bam_tensor *masters = bind_tensor(L, 1), *param = writable(L, 2, "split_masters");
  bind_check(L, bam_optim_split(masters, param, writable(L, 3, "split_masters")));
  return 0;
}

/* ---- lists of tensors ---- */

BIND_DOC(optim_grad_norm, "grad_norm(tensors)",
         "The Euclidean norm of all elements of all tensors together, as a 0-d f64 tensor.\n"
         "@param tensors tensor[]\n"
         "@return tensor");
static int optim_grad_norm(lua_State *L) {
  int n;
  bam_tensor **tensors = bind_push_tensors(L, 1, "grad_norm", &n, NULL);
  bind_handle *norm = bind_push_handle(L);
  bind_check(L, bam_optim_norm(bind_context(L), tensors, n, &norm->tensor));
  return 1;
}

BIND_DOC(optim_zero, "zero(tensors)",
         "Fill all tensors with 0.\n"
         "@param tensors tensor[]");
static int optim_zero(lua_State *L) {
  int n;
  bam_tensor **tensors = bind_push_tensors(L, 1, "zero", &n, NULL);
  for (int i = 0; i < n; i++)
    bind_check(L, bam_autograd_check_write("zero", tensors[i]));
  for (int i = 0; i < n; i++)
    bind_check(L, bam_tensor_fill(tensors[i], 0));
  return 0;
}

BIND_DOC(optim_move, "move(leaf, place)",
         "Copy the values of a leaf into `place`, and let every handle of the leaf use that memory "
         "from now on.\n"
         "@param leaf tensor\n"
         "@param place tensor");
static int optim_move(lua_State *L) {
  bind_check(L, bam_tensor_move(bind_tensor(L, 1), bind_tensor(L, 2)));
  return 0;
}

static bool same_place(const bam_tensor *a, const bam_tensor *b) {
  return a->storage == b->storage && a->offset == b->offset && a->dtype == b->dtype &&
         bam_shape_equal(&a->shape, &b->shape);
}

/* Make `place` the gradient of `leaf`, after copying the current gradient (or 0) into it. */
static bam_status bind_gradient(bam_tensor *leaf, bam_tensor *place) {
  if (leaf->grad != NULL && same_place(leaf->grad, place))
    return BAM_OK;
  bam_status status = leaf->grad != NULL ? bam_tensor_copy(place, leaf->grad)
                                         : bam_tensor_fill(place, 0);
  return status == BAM_OK ? bam_autograd_set_grad(leaf, place) : status;
}

BIND_DOC(optim_attach, "attach(leaves, places, gradients)",
         "Make each leaf collect its gradient in its slice of the flat gradient buffer, even if a "
         "script set\n"
         "x.grad to another tensor. Changes nothing if a leaf no longer lives in its place.\n"
         "@param leaves tensor[]\n"
         "@param places tensor[]\n"
         "@param gradients tensor[]\n"
         "@return integer? moved number of the first leaf that no longer lives in its place");
static int optim_attach(lua_State *L) {
  int n, n_places, n_grads;
  bam_tensor **leaves = bind_push_tensors(L, 1, "attach", &n, NULL);
  bam_tensor **places = bind_push_tensors(L, 2, "attach", &n_places, NULL);
  bam_tensor **grads = bind_push_tensors(L, 3, "attach", &n_grads, NULL);
  if (n_places != n || n_grads != n)
    return bind_error(L, "attach: the lists have different lengths");
  for (int i = 0; i < n; i++)
    if (!same_place(leaves[i], places[i])) {
      lua_pushinteger(L, i + 1);
      return 1;
    }
  for (int i = 0; i < n; i++)
    bind_check(L, bind_gradient(leaves[i], grads[i]));
  lua_pushnil(L);
  return 1;
}

const bind_export bind_optim_functions[] = {
  BIND_EXPORT(optim_move),
  BIND_TOPIC(adamw_settings),
  BIND_EXPORT(optim_adamw_step),
  BIND_TOPIC(lion_settings),
  BIND_EXPORT(optim_lion_step),
  BIND_TOPIC(sgd_settings),
  BIND_EXPORT(optim_sgd_step),
  BIND_EXPORT(optim_join_masters),
  BIND_EXPORT(optim_split_masters),
  BIND_EXPORT(optim_grad_norm),
  BIND_EXPORT(optim_attach),
  BIND_EXPORT(optim_zero),
  { NULL, NULL },
};
