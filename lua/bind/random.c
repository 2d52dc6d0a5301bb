/* Random tensors, from the generator seeded by bam.seed. */
#include "../../engine/core/random.h"

#include "create.h"

BIND_DOC(random_rand, "rand(...)",
         "Uniform random numbers in [0, 1). f32 by default.\n"
         "@param ... integer|integer[]|bam.TensorOptions sizes, then options\n"
         "@return tensor");
static int random_rand(lua_State *L) {
  bam_shape shape;
  bind_options o = bind_read_sizes(L, 1, "rand", &shape, BAM_F32);
  bind_handle *handle = bind_push_uninitialized(L, &o, &shape);
  bind_check(L, bam_random_uniform(handle->tensor, 0, 1));
  return bind_finish(L, handle, &o);
}

BIND_DOC(random_randn, "randn(...)",
         "Normally distributed random numbers with mean 0 and variance 1. f32 by default.\n"
         "@param ... integer|integer[]|bam.TensorOptions sizes, then options\n"
         "@return tensor");
static int random_randn(lua_State *L) {
  bam_shape shape;
  bind_options o = bind_read_sizes(L, 1, "randn", &shape, BAM_F32);
  bind_handle *handle = bind_push_uninitialized(L, &o, &shape);
  bind_check(L, bam_random_normal(handle->tensor, 0, 1));
  return bind_finish(L, handle, &o);
}

BIND_DOC(random_randint, "randint(low, high, ...)",
         "Random integers from `low` to `high`, both included: randint(1, 6, 10) throws ten dice. "
         "i64 by default.\n"
         "@param low integer\n"
         "@param high integer\n"
         "@param ... integer|integer[]|bam.TensorOptions sizes, then options\n"
         "@return tensor");
static int random_randint(lua_State *L) {
  bam_shape shape;
  int64_t low = bind_integer(L, 1, "randint: low"), high = bind_integer(L, 2, "randint: high");
  bind_options o = bind_read_sizes(L, 3, "randint", &shape, BAM_I64);
  bind_handle *handle = bind_push_uninitialized(L, &o, &shape);
  bind_check_within(L, bam_random_integers(handle->tensor, low, high), "randint");
  return bind_finish(L, handle, &o);
}

BIND_DOC(random_randperm, "randperm(n, options)",
         "The positions 1 to n in random order: x[bam.randperm(#x)] shuffles the rows of x.\n"
         "@param n integer\n"
         "@param options? bam.TensorOptions the dtype is i64 (default) or i32\n"
         "@return tensor");
static int random_randperm(lua_State *L) {
  const bam_shape shape = { .ndim = 1, .size = { bind_integer(L, 1, "randperm: n") } };
  bind_options o = bind_read_options(L, 2, "randperm", BAM_I64);
  bind_handle *handle = bind_push_uninitialized(L, &o, &shape);
  bind_check(L, bam_random_permutation(handle->tensor));
  return bind_finish(L, handle, &o);
}

const bind_export bind_random_functions[] = {
  BIND_EXPORT(random_rand),
  BIND_EXPORT(random_randn),
  BIND_EXPORT(random_randint),
  BIND_EXPORT(random_randperm),
  { NULL, NULL },
};
