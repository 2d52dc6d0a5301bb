/* Planted faults against the engine. They pass as tests: only a sanitizer or valgrind sees
   what is wrong with them, and tests/run.sh fails when it did not. `none` does the same without a
   fault. */
#include <criterion/criterion.h>

#include "../../engine/core/tensor.h"

static bam_context *context;

static bam_tensor *make_tensor(void) {
  const bam_context_options options = { .no_cache = true, .threads = 1 };
  const bam_shape shape = { .ndim = 1, .size = { 3 } };
  bam_tensor *tensor;
  cr_assert_eq(bam_context_create(&options, &context), BAM_OK);
  cr_assert_eq(bam_tensor_zeros(context, &context->cpu, BAM_F32, &shape, &tensor), BAM_OK);
  return tensor;
}

Test(faults, none) {
  bam_tensor_release(make_tensor());
  bam_context_destroy(context);
}

Test(faults, leak) {
  bam_tensor *tensor = make_tensor();
  bam_tensor_data(tensor);
  bam_context_destroy(context);
}

/* What bam_assert is for: caught where the view is made, not when it is read. */
Test(faults, view) {
  bam_tensor *tensor = make_tensor(), *view;
  const bam_shape shape = { .ndim = 1, .size = { 2 } };
  cr_assert_eq(bam_tensor_view(tensor, &shape, (int64_t[]){ 1 }, 2, &view), BAM_OK);
  bam_tensor_release(view);
  bam_tensor_release(tensor);
  bam_context_destroy(context);
}

Test(faults, overflow) {
  bam_tensor *tensor = make_tensor();
  volatile char *data = bam_tensor_data(tensor);
  data[tensor->storage->bytes] = 1;
  bam_tensor_release(tensor);
  bam_context_destroy(context);
}
