/* One sample per registered op: inputs and attributes it accepts. tests/engine/test_registry.c tries every op on its
   sample; an op without one fails. */
#ifndef BAM_TEST_SAMPLES_H
#define BAM_TEST_SAMPLES_H

#include "fixture.h"

/* One input: REAL is f64, WHOLE i64 (both bounds included), FLAGS bool. */
typedef struct sample_input {
  bool given;
  bam_dtype dtype;
  double low, high;
  int ndim;
  int64_t size[BAM_MAX_DIMS];
} sample_input;

/* One attribute: a number, or a list of `count` numbers. */
typedef struct sample_attr {
  const char *name;
  double number;
  int count;
  int64_t list[4];
} sample_attr;

typedef struct sample {
  const char *op;
  sample_input inputs[5];
  sample_attr attrs[4];
  bool broadcasts;       /* every input may have size 1 in its first dimension */
  bool contiguous;       /* strided inputs may be an error */
  double f32_tolerance;  /* 0: 1e-5 */
  double bf16_tolerance; /* in roundings to bf16; 0: 2 */
} sample;

/* The sample of `op`, or NULL. */
const sample *sample_find(const char *op);

/* The inputs as tensors (owned, in inputs[5]), real ones as leaves; returns how many. Lists of
   tensors have as many as the sample. `empty` gives every dimension the size 0. */
int sample_inputs(const sample *s, bool empty, bam_tensor **inputs);

/* The attributes of the sample; to be freed. */
bam_attr *sample_attrs(const sample *s, const bam_op *op);

#endif
