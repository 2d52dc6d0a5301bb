/* The interface between Lua and the engine. A binding checks its arguments, pushes empty handles onto the
   Lua stack, lets the engine fill them, and raises errors only in bind_check. At that point no C local
   owns anything, so an error cannot leak. */
#ifndef BAM_BIND_H
#define BAM_BIND_H

#include "../../engine/autograd/autograd.h"
#include "raise.h"

#define BIND_TENSOR "bam.Tensor"

/* Open the module "bam.core", the C half of `require "bam"`. Leaves its table on the stack. */
int luaopen_bam_core(lua_State *L);

/* The userdata of a tensor. `tensor` is NULL once closed. Handles created in a scope form its list; handles
   closed while bindings are running form another. */
typedef struct bind_handle {
  bam_tensor *tensor;
  bam_tensor *closing;       /* owned: closed, but possibly in use by a running binding */
  struct bind_extent *scope; /* NULL: lives until collected */
  struct bind_handle *previous, *next;
  const char *released_by; /* script line of the scope that released it; anchored in the registry */
} bind_handle;

/* The state of the bindings, one per Lua state; stored in the registry. */
typedef struct bind_state {
  bam_context *context;
  lua_State *main;       /* the main thread, which is always alive */
  lua_State *L;          /* the coroutine that calls the engine, see bind_context */
  int active;            /* the number of running bindings, see running.c */
  int paused;            /* bindings waiting for a function of the script, see bind_begin_pause */
  bool collecting;       /* the engine is waiting for Lua to collect garbage */
  bind_handle *closed;   /* handles closed while bindings are running */
  const void *metatable; /* identity of the tensors' metatable */
  int metatable_ref;     /* in the registry */
  struct bind_extent *extents; /* newest first, see extent.c */
  lua_State *thread;           /* the coroutine whose modes the context has */
  int64_t graphs;              /* the number of graphs of custom ops so far, see graph.c */
  int walks;                   /* the number of running calls of backward */
  int64_t collect_at;          /* live bytes at which Lua is made to collect */
} bind_state;

bind_state *bind_get_state(lua_State *L);

/* The engine context of this Lua state. Makes L the coroutine in which the engine's callbacks run. */
bam_context *bind_context(lua_State *L);

/* ---- exported functions and their documentation: see docs.c ---- */

/* Document the C function `function`, right above it. `usage` is a call, "glob(pattern)" or "x:size(dim)", and gives
   the function its name in scripts. `help` is what a `---` comment is in Lua: one to five lines on what the function
   does, in the imperative, then a line of LuaCATS per parameter ("@param pattern string") and result ("@return
   string[]"). help(), docs/api and bam.d.lua are made from it; nothing reads it when the program starts. For a type
   `usage` is its name and `help` may have lines "@field shape integer[]". */
#define BIND_DOC(function, usage, help) static const char function##_doc[] = usage "\n" help

/* A row of a list of exports, which ends with { NULL, NULL }: a function, or documentation alone. */
typedef struct {
  lua_CFunction function;
  const char *doc;
} bind_export;
#define BIND_EXPORT(function) \
  { function, function##_doc }
#define BIND_TOPIC(topic) \
  { NULL, topic##_doc }

/* The name of the function documented by `doc`: a pointer into it, and the length. */
const char *bind_doc_name(const char *doc, size_t *length);

/* ---- running: see running.c ---- */

/* Push `function`, wrapped for calls from scripts. Pops `upvalues` values, which become bind_upvalue(1 ...).
   Calling it while the engine collects is an error, unless `at_any_time`. */
void bind_push_function(lua_State *L, lua_CFunction function, int upvalues, bool at_any_time);

#define bind_upvalue(i) lua_upvalueindex((i) + 1)

/* The documentation of the running binding, which begins with its usage, or NULL: for messages. */
const char *bind_running_doc(lua_State *L);

/* Raise if the engine is collecting. */
void bind_check_idle(lua_State *L);

/* Set the functions of `list` in the table on top. `closer` (may be NULL) is the one that may be called at any
   time, because it only releases. */
void bind_set_exports(lua_State *L, const bind_export *list, lua_CFunction closer);

/* bind_set_exports for metamethods. */
void bind_set_events(lua_State *L, const luaL_Reg *list, lua_CFunction closer);

/* For a C function that calls back and lets the callback yield, which no wrapped function can: from begin on it is a
   running binding, up to end, or an error. Returns what end takes. */
int bind_begin_running(lua_State *L);
void bind_end_running(lua_State *L, int active);

/* lua_error for a running binding: raise the value on top. */
_Noreturn int bind_raise(lua_State *L);

/* lua_pcall with all results, for a binding that holds no tensors during the call. Tensors closed in the
   call are released at once, unless another binding is running. */
int bind_callback(lua_State *L, int arguments);

/* Between begin and end the running binding holds no tensors. No error may skip the end. */
typedef struct {
  int active, paused;
} bind_pause;
bind_pause bind_begin_pause(bind_state *state);
void bind_end_pause(bind_state *state, bind_pause pause);

/* Close `handle` for scripts. Its tensor is put on the list state->closed, to be released later. */
void bind_handle_close(bind_state *state, bind_handle *handle);

/* Remove `handle` from that list, if it is on it. The caller then owns its tensor. */
void bind_handle_forget(bind_state *state, bind_handle *handle);

/* Read the list of tensors at `arg`. Returns an array of *n, borrowed, in memory pushed onto the stack after a
   table that keeps their handles alive. Raises if `arg` is not such a list; `what` is the function. Options
   may stand among the entries (see bind_list_with_options) unless has_options is NULL. */
bam_tensor **bind_push_tensors(lua_State *L, int arg, const char *what, int *n, bool *has_options);

/* ---- tensors ---- */

/* Make the metatable of sizes, "bam.Sizes" in the registry. sizes.c */
void bind_sizes_open(lua_State *L);

/* Push the list of `n` sizes or strides that scripts get: see sizes.c. */
void bind_push_sizes(lua_State *L, const int64_t *sizes, int n);

/* Whether the value at `arg` is such a list. */
bool bind_is_sizes(lua_State *L, int arg);

/* Push an empty handle for the engine to fill: `bind_check(L, bam_...(..., &handle->tensor))`. */
bind_handle *bind_push_handle(lua_State *L);

/* Raise an error like luaL_error, but with the position of the innermost script line: embedded modules are
   skipped, so users see their own line. The int is for `return bind_error(...)`. */
_Noreturn int bind_error(lua_State *L, const char *format, ...);

/* Raise the context's message as a Lua error if status is a failure. */
void bind_check(lua_State *L, bam_status status);

/* bind_check with the message prefixed with the name of the function, `what`. */
void bind_check_within(lua_State *L, bam_status status, const char *what);

/* Push a userdata of `size` bytes, copied from `empty`, of a type with the finalizer `gc`. C resources that
   must survive a Lua error are stored in such a userdata, so they cannot leak. */
void *bind_push_owner(lua_State *L, const void *empty, size_t size, const char *type,
                      lua_CFunction gc);

/* Add methods, __close and __tostring to the type of the userdata on top. */
void bind_set_type(lua_State *L, const bind_export *methods, lua_CFunction close,
                   lua_CFunction describe);

/* The tensor at stack index `arg`, or raise. Borrowed: valid until the binding returns, as long as the handle
   stays on the stack. */
bam_tensor *bind_tensor(lua_State *L, int arg);

/* Raise: argument `arg` of the running binding is not a tensor. Names the binding, and how a method is called. */
_Noreturn int bind_fail_tensor(lua_State *L, int arg);

/* Like bind_tensor, but NULL if `arg` is not a tensor. Raises if it is a closed tensor. */
bam_tensor *bind_test_tensor(lua_State *L, int arg);

/* The tensor at `arg`, or, if `arg` is a number or boolean, a new 0-d tensor of it on `device`. Then its handle
   is pushed, and it is marked is_number, so that it does not decide dtypes. `what` names the argument in
   the error. */
bam_tensor *bind_tensor_or_number(lua_State *L, int arg, bam_device *device, const char *what);

/* Raise, naming the function `name`, unless `from` can be copied into `to`: its shape broadcasts, and a number fits. */
void bind_check_copy(lua_State *L, const char *name, bam_tensor *to, bam_tensor *from);

/* ---- graphs of custom ops: see graph.c ---- */

/* Create the tables of graph.c in the registry. */
void bind_graph_open(lua_State *L);

/* Register the handles at `first` ... `first + n - 1` as results of an op just recorded. While they live,
   they keep the backward functions of the custom ops that they depend on alive. */
void bind_graph_note(lua_State *L, int first, int n);

/* Push the graph of the tensors, which are the inputs of a custom op, or a new graph. Returns its number. */
int64_t bind_graph_push(lua_State *L, bam_tensor *const *tensors, int n);

/* Pop the backward function of the custom op `function` and the values that it needs, and store them in the
   graph at stack index `graph`. */
void bind_graph_set_backward(lua_State *L, int graph, bam_function function);

/* Push the values needed by the backward function whose graph entry is on top. */
void bind_graph_push_needs(lua_State *L);

/* Push the backward function of the custom op `function`. */
void bind_graph_push_backward(lua_State *L, bam_function function);
void bind_graph_forget(lua_State *L, bam_function function);

/* Push the graph of the handle at `index`, or nil. */
void bind_graph_of_handle(lua_State *L, int index);

/* Between begin and end the graph of the handle at `index` stays alive, even if the handle is closed. */
void bind_graph_begin_walk(lua_State *L, int index);
void bind_graph_end_walk(lua_State *L);

/* ---- arguments ---- */

/* Describe the argument `arg` for a message: its type, and its value if that is short, or a tensor's shape. Pushes
   the text and returns it. */
const char *bind_describe(lua_State *L, int arg);

/* The integer at `arg` (floats with an integral value are allowed, strings are not), or raise, naming
   `what`. */
int64_t bind_integer(lua_State *L, int arg, const char *what);

/* The path at `arg`, without zero bytes, or raise. `role` says what it is the path of ("a file"). */
const char *bind_path(lua_State *L, int arg, const char *what, const char *role);

/* The number at `arg`; strings are not allowed. */
double bind_number(lua_State *L, int arg, const char *what);

/* The dtype named by the string at `arg`. */
bam_dtype bind_dtype(lua_State *L, int arg, const char *what);

/* The name of the dtype that is called `name` here, in PyTorch or in NumPy ("float32"), or NULL. */
const char *bind_dtype_name(const char *name);

/* The device named by the string at `arg` ("cpu", "cuda", "cuda:1"), opened on first use. */
bam_device *bind_device(lua_State *L, int arg, const char *what);

/* The position or dimension at `arg`, converted from 1-based (negative: from the end) to 0-based. */
int64_t bind_position(lua_State *L, int arg, const char *what);

/* Whether `arg` is callable: a function, or an object with __call such as a module. */
bool bind_is_callable(lua_State *L, int arg);

/* The boolean at `arg`, or raise, naming `what`. */
bool bind_flag(lua_State *L, int arg, const char *what);

/* ---- lists and options: list.c ---- */

/* The length n of the list at `arg`. Raises, naming `what`, unless its keys are exactly 1 to n. Use this for
   every list, never lua_rawlen. */
int64_t bind_list(lua_State *L, int arg, const char *what);

/* bind_list for a list that may contain named options, as in { x, y, dim = 2 }. If *has_options is set, the
   caller must read them, after bind_check_options_among. */
int64_t bind_list_with_options(lua_State *L, int arg, const char *what, bool *has_options);

/* Read the list of integers (or the single integer) at `arg` into list[BAM_MAX_DIMS]. Returns their
   number. */
int bind_integers(lua_State *L, int arg, const char *what, int64_t *list);

/* bind_integers for a list that may contain options. */
int bind_integers_with_options(lua_State *L, int arg, const char *what, int64_t *list,
                               bool *has_options);

/* Whether `arg` is a table of options: it has names as keys, and no list entries. */
bool bind_is_options(lua_State *L, int arg);

/* Check that every key of the options table at `arg` is in names[] (NULL-terminated), else raise and suggest the
   nearest name. Refuses a table with a metatable. `what` is the function. */
void bind_check_options(lua_State *L, int arg, const char *what, const char *const *names);

/* bind_check_options for options in a list whose entries have already been read. */
void bind_check_options_among(lua_State *L, int arg, const char *what, const char *const *names);

/* The entry of names[] (NULL-terminated) nearest to `word`, or NULL if none is similar. */
const char *bind_nearest(const char *word, const char *const *names);

/* ---- the parts of bam.core, each in its own file ---- */

extern const bind_export bind_algorithm_functions[];
extern const bind_export bind_autograd_functions[];
extern const bind_export bind_buffer_functions[];
extern const bind_export bind_capture_functions[];
extern const bind_export bind_create_functions[];
extern const bind_export bind_device_functions[];
extern const bind_export bind_directory_functions[];
extern const bind_export bind_docs_functions[];
extern const bind_export bind_fields_functions[];
extern const bind_export bind_files_functions[];
extern const bind_export bind_hash_functions[];
extern const bind_export bind_json_functions[];
extern const bind_export bind_lock_functions[];
extern const bind_export bind_ops_functions[];
extern const bind_export bind_optim_functions[];
extern const bind_export bind_path_functions[];
extern const bind_export bind_profile_functions[];
extern const bind_export bind_random_functions[];
extern const bind_export bind_scope_functions[];
extern const bind_export bind_signals_functions[];
extern const bind_export bind_system_functions[];
extern const bind_export bind_tensor_functions[];
extern const bind_export bind_terminal_functions[];
extern const bind_export bind_text_functions[];
extern const bind_export bind_tokenizer_functions[];

/* All exports of bam.core, NULL-terminated. docs.c */
extern const bind_export *const bind_parts[];

/* Methods of types. */
extern const bind_export bind_bpe_methods[];     /* tokenizer.c */
extern const bind_export bind_buffer_methods[];  /* token_buffer.c */
extern const bind_export bind_capture_methods[]; /* capture.c */
extern const bind_export bind_lock_methods[];    /* lock.c */
extern const bind_export bind_reader_methods[];  /* text.c */
extern const bind_export bind_stored_methods[];  /* files.c */
extern const bind_export bind_tensor_methods[];  /* tensor.c */
extern const bind_export bind_trainer_methods[]; /* tokenizer.c */

/* Push the function of an operator's metamethod: a registered op of one or two operands. */
void bind_push_operator(lua_State *L, const char *name);

/* Set one function per registered op in the table on top. ops.c */
void bind_register_ops(lua_State *L);

/* tensor(table, options); create.c */
int bind_create_tensor(lua_State *L);

/* x[key] for numbers, tables and tensors, and x[key] = value; index.c */
int bind_index_get(lua_State *L);
int bind_index_set(lua_State *L);

/* scope(f, ...) and with_grad(enabled, f, ...), in which f may yield: they are not wrapped, see bind_begin_running. */
int bind_scope_call(lua_State *L);
int bind_with_grad(lua_State *L);

/* Call a registered op from C with `n` input tensors. Pushes the handles of its results. Errors name the function
   `name`. */
void bind_apply(lua_State *L, const char *name, const bam_op *op, bam_tensor *const *inputs, int n,
                const bam_attr *attrs);

/* The handle at `arg`, or NULL if it is not a tensor. Never raises. */
bind_handle *bind_test_handle(lua_State *L, int arg);

/* Make the metatable of tensors, which scripts cannot reach. Leaves the method table on the stack. */
void bind_tensor_metatable(lua_State *L);

/* Make json.null and the metatable that marks arrays, in the registry. json.c */
void bind_json_open(lua_State *L);

/* Make the table of scope names in the registry. */
void bind_scope_open(lua_State *L);

/* Put `handle` into the innermost scope, if there is one. */
void bind_scope_enter(bind_state *state, bind_handle *handle);

/* Remove `handle` from its scope; it then lives until collected or closed. */
void bind_scope_leave(bind_handle *handle);

/* bind_scope_leave for the handle at `index` and the handles that its graph needs. */
void bind_scope_keep(lua_State *L, int index);

#endif
