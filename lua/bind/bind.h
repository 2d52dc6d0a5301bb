/* The border between Lua and the engine. A binding checks its arguments, makes empty handles on
   the Lua stack, lets the engine fill them, and raises in one place (bind_check): at that moment
   no C local owns anything. */
#ifndef BAM_BIND_H
#define BAM_BIND_H

#include "../../engine/autograd/autograd.h"
#include "raise.h"

#define BIND_TENSOR "bam.Tensor"

/* Open the module "bam.core": the C half of `require "bam"`. Leaves its table. */
int luaopen_bam_core(lua_State *L);

/* A tensor as Lua holds it. `tensor` is NULL once closed. Handles born in a scope form its list, and
   handles closed while bindings are running form another. */
typedef struct bind_handle {
  bam_tensor *tensor;
  bam_tensor *closing;      /* owned: closed, but a running binding may use it */
  struct bind_scope *scope; /* NULL: lives until collected */
  struct bind_handle *previous, *next;
  const char *released_by; /* where the scope that released it began; kept alive by the registry */
} bind_handle;

/* What one Lua state knows of the engine; found through the registry. */
typedef struct bind_state {
  bam_context *context;
  lua_State *main;           /* the main thread, which is always alive */
  lua_State *L;              /* the coroutine that calls the engine: see bind_context */
  int active;                /* how many bindings are running: see running.c */
  int paused;                /* how many more wait for a function of the script's, holding nothing */
  bool collecting;           /* the engine has asked Lua to collect, and waits */
  bind_handle *closed;          /* handles closed while bindings are running */
  const void *metatable;     /* identity of the tensors' metatable */
  int metatable_ref;         /* in the registry */
  struct bind_scope *scope;  /* the innermost */
  int64_t graphs;            /* how many graphs of custom ops there have been: graph.c */
  int walks;                 /* calls of backward that are running */
  int64_t collect_at;        /* live bytes at which Lua is asked to collect */
} bind_state;

bind_state *bind_get_state(lua_State *L);

/* The engine context of this Lua state. What the engine records, and backward functions, then belong
   to the coroutine L. */
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
#define BIND_EXPORT(function) { function, function##_doc }
#define BIND_TOPIC(topic) { NULL, topic##_doc }

/* The name of the function that `doc` documents: `length` bytes in it. */
const char *bind_doc_name(const char *doc, size_t *length);

/* ---- running: see running.c ---- */

/* Push `function` as scripts may call it, with `upvalues` values, which are popped, at
   bind_upvalue(1 ...). While the engine collects, calling it is an error, unless `at_any_time`. */
void bind_push_function(lua_State *L, lua_CFunction function, int upvalues, bool at_any_time);

#define bind_upvalue(i) lua_upvalueindex((i) + 1)

/* Raise if the engine is collecting. */
void bind_check_idle(lua_State *L);

/* Set the functions of `list` in the table on top. `closer` (NULL: none) is the one of them that may be
   called at any time: it only releases something. */
void bind_set_exports(lua_State *L, const bind_export *list, lua_CFunction closer);

/* The same for metamethods. */
void bind_set_events(lua_State *L, const luaL_Reg *list, lua_CFunction closer);

/* lua_error for a running binding: with the value on top. */
_Noreturn int bind_raise(lua_State *L);

/* lua_pcall with all results, for a binding that holds nothing itself meanwhile. Tensors closed in
   there are released at once, unless another binding is running. */
int bind_callback(lua_State *L, int arguments);

/* Between these two the binding that runs holds nothing itself. No error may pass the second. */
typedef struct {
  int active, paused;
} bind_pause;
bind_pause bind_begin_pause(bind_state *state);
void bind_end_pause(bind_state *state, bind_pause pause);

/* Close `handle` for scripts. Its tensor waits on the list state->closed. */
void bind_handle_close(bind_state *state, bind_handle *handle);

/* Take `handle` off that list, if it is on it. Its tensor is then the caller's. */
void bind_handle_forget(bind_state *state, bind_handle *handle);

/* The *n tensors of the list at `arg`, in memory pushed on the stack, after a table that keeps their
   handles. Raises for anything else; `what` is the function. Options may stand among them (see
   bind_list_with_options) unless has_options is NULL. */
bam_tensor **bind_push_tensors(lua_State *L, int arg, const char *what, int *n, bool *has_options);

/* ---- tensors ---- */

/* Push an empty handle to be filled by the engine: `bind_check(L, bam_...(..., &handle->tensor))`. */
bind_handle *bind_push_handle(lua_State *L);

/* Raise a Lua error like luaL_error, but at the innermost line of a script: the modules inside the
   binary are passed over, so that a user is pointed to the user's own line. The int is for
   `return bind_error(...)`. */
_Noreturn int bind_error(lua_State *L, const char *format, ...);

/* Raise the context's message as a Lua error when status is a failure. */
void bind_check(lua_State *L, bam_status status);

/* The same, with the name of the function, `what`, in front of the message. */
void bind_check_within(lua_State *L, bam_status status, const char *what);

/* Push a handle of `size` bytes, copied from `empty`, of a userdata type whose handles end with `gc`:
   what C holds while Lua may raise lies in one. */
void *bind_push_owner(lua_State *L, const void *empty, size_t size, const char *type,
                      lua_CFunction gc);

/* Give the type of the handle on top what scripts use: methods, __close and __tostring. */
void bind_set_type(lua_State *L, const bind_export *methods, lua_CFunction close,
                   lua_CFunction describe);

/* The tensor at stack index `arg`, or an argument error. Borrowed: valid until the binding returns, if
   the handle stays on the stack. */
bam_tensor *bind_tensor(lua_State *L, int arg);

/* The same, or NULL when what is at `arg` is no tensor. Raises for a closed one. */
bam_tensor *bind_test_tensor(lua_State *L, int arg);

/* The tensor at `arg`, or a tensor made of the number or boolean there (its handle is pushed,
   and marked so that it does not decide dtypes). `device` is where it is made; `what` names
   the argument in the error. */
bam_tensor *bind_tensor_or_number(lua_State *L, int arg, bam_device *device, const char *what);

/* ---- graphs of custom ops: see graph.c ---- */

/* Make the tables that the functions below use, in the registry. */
void bind_graph_open(lua_State *L);

/* The handles at `first` ... `first + n - 1` hold the results of an op that was just recorded: while they
   live, so do the backward functions of the custom ops before it. */
void bind_graph_note(lua_State *L, int first, int n);

/* Push the graph that the tensors, inputs of a custom op, belong to, or a new one. Its number. */
int64_t bind_graph_push(lua_State *L, bam_tensor *const *tensors, int n);

/* Pop two values: the backward function of the custom op `function`, and what it needs. They belong to
   the graph at `graph`. */
void bind_graph_set_backward(lua_State *L, int graph, bam_function function);

/* Push what the backward function needs whose entry in a graph is on top. */
void bind_graph_push_needs(lua_State *L);

/* Push that backward function. */
void bind_graph_push_backward(lua_State *L, bam_function function);
void bind_graph_forget(lua_State *L, bam_function function);

/* Push the graph of the handle at `index`, or nil. */
void bind_graph_of_handle(lua_State *L, int index);

/* Between these two the graphs of the handles at `index` stay alive, whatever becomes of the handles. */
void bind_graph_begin_walk(lua_State *L, int index);
void bind_graph_end_walk(lua_State *L);

/* ---- arguments ---- */

/* What is at `arg`, for messages: its type, and its value when short. Pushes
   the text, which it returns. */
const char *bind_describe(lua_State *L, int arg);

/* An integer (integral floats allowed, strings not), or an error that says `what`. */
int64_t bind_integer(lua_State *L, int arg, const char *what);

/* The path at `arg`, which C can read to its end. It is that of `role` ("a file"). */
const char *bind_path(lua_State *L, int arg, const char *what, const char *role);

/* A number, strings not allowed. */
double bind_number(lua_State *L, int arg, const char *what);

/* A dtype given by name. */
bam_dtype bind_dtype(lua_State *L, int arg, const char *what);

/* The device named there ("cpu", "cuda", "cuda:1"), opened when it is used first. */
bam_device *bind_device(lua_State *L, int arg, const char *what);

/* A 1-based position or dimension (negative: from the end) as the engine counts it, from 0. */
int64_t bind_position(lua_State *L, int arg, const char *what);

/* Can what is at `arg` be called: a function, or an object such as a module? */
bool bind_is_callable(lua_State *L, int arg);

/* true or false, or an error that says `what`. */
bool bind_flag(lua_State *L, int arg, const char *what);

/* ---- lists and options: list.c ---- */

/* The length of the list at `arg`, whose keys are 1 to that and no others, or an error that says
   `what`. Every list is measured by this, never by lua_rawlen. */
int64_t bind_list(lua_State *L, int arg, const char *what);

/* The same, where named options may stand among the entries, as in { x, y, dim = 2 }. When
   *has_options, the caller reads them too, after bind_check_options_among. */
int64_t bind_list_with_options(lua_State *L, int arg, const char *what, bool *has_options);

/* The list of integers at `arg` (or a single integer) into list[BAM_MAX_DIMS]; returns how many. */
int bind_integers(lua_State *L, int arg, const char *what, int64_t *list);

/* The same for a list that options may stand in. */
int bind_integers_with_options(lua_State *L, int arg, const char *what, int64_t *list,
                               bool *has_options);

/* Is there a table of options at `arg`: one with names, and without entries of a list? */
bool bind_is_options(lua_State *L, int arg);

/* Raise unless every key of the options table at `arg` is one of names[] (NULL-terminated); the
   message suggests the nearest. A metatable is refused. `what` is the function. */
void bind_check_options(lua_State *L, int arg, const char *what, const char *const *names);

/* The same for the options that stand in a list which has been read. */
void bind_check_options_among(lua_State *L, int arg, const char *what, const char *const *names);

/* The name of names[] (NULL-terminated) nearest to `word`, or NULL when none is near. */
const char *bind_nearest(const char *word, const char *const *names);

/* ---- the parts of bam.core, each in its own file ---- */

extern const bind_export bind_autograd_functions[];
extern const bind_export bind_buffer_functions[];
extern const bind_export bind_create_functions[];
extern const bind_export bind_device_functions[];
extern const bind_export bind_directory_functions[];
extern const bind_export bind_docs_functions[];
extern const bind_export bind_files_functions[];
extern const bind_export bind_hash_functions[];
extern const bind_export bind_json_functions[];
extern const bind_export bind_lock_functions[];
extern const bind_export bind_optim_functions[];
extern const bind_export bind_path_functions[];
extern const bind_export bind_random_functions[];
extern const bind_export bind_scope_functions[];
extern const bind_export bind_signals_functions[];
extern const bind_export bind_system_functions[];
extern const bind_export bind_terminal_functions[];
extern const bind_export bind_text_functions[];
extern const bind_export bind_tokenizer_functions[];

/* All of the above; ends with NULL. docs.c */
extern const bind_export *const bind_parts[];

/* Methods of types. */
extern const bind_export bind_bpe_methods[];     /* tokenizer.c */
extern const bind_export bind_buffer_methods[];  /* token_buffer.c */
extern const bind_export bind_lock_methods[];    /* lock.c */
extern const bind_export bind_reader_methods[];  /* text.c */
extern const bind_export bind_stored_methods[];  /* files.c */
extern const bind_export bind_tensor_methods[];  /* tensor.c */
extern const bind_export bind_trainer_methods[]; /* tokenizer.c */

/* Push the function that a metamethod calls: a registered op of one or two operands. */
void bind_push_operator(lua_State *L, const char *name);

/* Set one function per registered op in the table on top. ops.c */
void bind_register_ops(lua_State *L);

/* tensor(table, options); create.c */
int bind_create_tensor(lua_State *L);

/* x[key] for numbers, tables and tensors, and x[key] = value; index.c */
int bind_index_get(lua_State *L);
int bind_index_set(lua_State *L);

/* Call a registered op from C: inputs are the `n` tensors, results are pushed as handles. */
void bind_apply(lua_State *L, const bam_op *op, bam_tensor *const *inputs, int n,
                const bam_attr *attrs);

/* The handle at `arg`, or NULL when what is there is no tensor; never raises. */
bind_handle *bind_test_handle(lua_State *L, int arg);

/* Make the metatable of tensors. Leaves the method table on the
   stack. Scripts cannot reach the metatable itself. */
void bind_tensor_metatable(lua_State *L);

/* Make json.null and the mark of arrays, in the registry. json.c */
void bind_json_open(lua_State *L);

/* Make the table of the names of scopes, in the registry. */
void bind_scope_open(lua_State *L);

/* Put `handle` into the innermost scope, if there is one. */
void bind_scope_enter(bind_state *state, bind_handle *handle);

/* Take `handle` out of its scope; it then lives until collected or closed. */
void bind_scope_leave(bind_handle *handle);

/* The same for the handle at `index` and the handles that its graph needs. */
void bind_scope_keep(lua_State *L, int index);

#endif
