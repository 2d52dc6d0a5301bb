/* Gradients of the soft mixture of attention experts against differences. */
#include <stdlib.h>

#include "gradcheck.h"
#include "oracle_mixture.h"

TestSuite(mixture_gradient, .init = fixture_open, .fini = fixture_close);

static void check_differences(sizes s, bool sparse, bool documents, bool positions) {
  bam_tensor *in[INPUTS];
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  mixture_inputs(BAM_F64, &s, in);
  if (sparse) {
    bam_tensor_release(in[GATES]);
    in[GATES] = mixture_sparse_gates(BAM_F64, SHAPE(s.B, s.T, s.N));
  }
  in[DOCUMENTS] = documents ? make_random(BAM_I64, SHAPE(s.B, s.T), 0, 1) : NULL;
  in[POSITIONS] = positions ? make_random(BAM_I64, SHAPE(s.B, s.T), 0, 50) : NULL;
  check_gradient(&bam_op_mixture_of_attention, in, INPUTS, attrs);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* Shared and own keys and values, both with groups of two query heads. */
Test(mixture_gradient, gradient) {
  sizes s = { .B = 2, .T = 4, .D = 3, .N = 2, .H = 4, .G = 2, .K = 2, .E = 3 };
  check_differences(s, false, false, false);
  check_differences(s, true, true, true);
  s.own = true;
  check_differences(s, false, true, false);
  check_differences(s, true, false, true);
}

Test(mixture_gradient, gradient_of_one_expert) {
  sizes s = { .B = 1, .T = 4, .D = 3, .N = 1, .H = 2, .G = 1, .K = 4, .E = 2 };
  check_differences(s, false, false, false);
}

Test(mixture_gradient, gradient_of_many_experts) {
  sizes s = { .B = 1, .T = 3, .D = 2, .N = 5, .H = 2, .G = 1, .K = 2, .E = 2, .own = true };
  check_differences(s, false, false, false);
  s.own = false;
  check_differences(s, true, false, false);
}

Test(mixture_gradient, gradient_of_one_token) {
  sizes s = { .B = 1, .T = 1, .D = 3, .N = 2, .H = 2, .G = 2, .K = 2, .E = 2 };
  check_differences(s, true, false, false);
}

Test(mixture_gradient, gradient_with_gates_left_out) {
  sizes s = { .B = 2, .T = 3, .D = 3, .N = 1, .H = 2, .G = 1, .K = 2, .E = 2 };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  mixture_inputs(BAM_F64, &s, in);
  bam_tensor_release(in[GATES]);
  in[GATES] = NULL;
  check_gradient(&bam_op_mixture_of_attention, in, INPUTS, attrs);
  check_gradient(&bam_op_mixture_of_attention, in, 3, attrs);
  set_float(&bam_op_mixture_of_attention, attrs, "rope_base", 0);
  set_float(&bam_op_mixture_of_attention, attrs, "scale", 0.4);
  check_gradient(&bam_op_mixture_of_attention, in, 3, attrs);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* An expert that no token's gate lets through: its gates still have a gradient, its weights get
   zeros. */
Test(mixture_gradient, gradient_of_closed_gates) {
  sizes s = { .B = 2, .T = 5, .D = 4, .N = 3, .H = 2, .G = 1, .K = 2, .E = 3, .own = true };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  mixture_inputs(BAM_F64, &s, in);
  EXPECT_OK(bam_tensor_fill(in[GATES], 0));
  mixture_compare(in, attrs, 1e-12);
  check_gradient(&bam_op_mixture_of_attention, in, INPUTS, attrs);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* ---- who wants a gradient ---- */

/* Every choice of leaves among x, qkv, out and gates; none of them means no recording. */
Test(mixture_gradient, gradient_of_some) {
  sizes s = { .B = 2, .T = 6, .D = 4, .N = 2, .H = 4, .G = 2, .K = 4, .E = 3 };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  for (int own = 0; own < 2; own++) {
    s.own = own;
    mixture_inputs(BAM_F64, &s, in);
    for (int some = 0; some < 16; some++) {
      for (int i = 0; i < 4; i++)
        EXPECT_OK(bam_autograd_require(in[i], some >> i & 1));
      mixture_compare(in, attrs, 1e-12);
    }
    fixture_release(in, INPUTS);
  }
  free(attrs);
}

/* Gradients are added to what is there, and backward leaves what it may need again. */
Test(mixture_gradient, accumulates) {
  sizes s = { .B = 2, .T = 9, .D = 4, .N = 3, .H = 2, .G = 1, .K = 4, .E = 3 };
  bam_tensor *in[INPUTS], *first[4];
  bam_attr *attrs = mixture_attrs(s.H, s.G);
  mixture_inputs(BAM_F64, &s, in);
  bam_tensor *y = mixture_run(in, attrs), *seed = make_random(BAM_F64, y->shape, -1, 1);
  for (int time = 1; time <= 3; time++) {
    EXPECT_OK(bam_autograd_backward(y, seed, time < 3));
    for (int i = 0; i < 4; i++) {
      if (time == 1)
        first[i] = run1(&bam_op_clone, in[i]->grad);
      for (int64_t e = 0; e < bam_tensor_count(in[i]); e++)
        EXPECT_CLOSE(value_at(in[i]->grad, e), time * value_at(first[i], e), 1e-13);
    }
  }
  RELEASE(y, seed);
  fixture_release(first, 4);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* A leaf given twice gets both gradients: x that is also the gates, qkv that is also out. */
Test(mixture_gradient, gradient_of_the_same_leaf) {
  sizes s = { .B = 2, .T = 3, .D = 2, .N = 2, .H = 1, .G = 1, .K = 2, .E = 3 };
  sizes square = { .B = 2, .T = 3, .D = 2, .N = 1, .H = 1, .G = 1, .K = 2, .E = 6 };
  bam_tensor *in[INPUTS];
  bam_attr *attrs = mixture_attrs(1, 1);
  mixture_inputs(BAM_F64, &s, in);
  bam_tensor_release(in[GATES]);
  in[GATES] = bam_tensor_retain(in[X]);
  check_gradient(&bam_op_mixture_of_attention, in, INPUTS, attrs);
  fixture_release(in, INPUTS);
  mixture_inputs(BAM_F64, &square, in);
  bam_tensor_release(in[OUT]);
  in[OUT] = bam_tensor_retain(in[QKV]);
  check_gradient(&bam_op_mixture_of_attention, in, INPUTS, attrs);
  fixture_release(in, INPUTS);
  free(attrs);
}

/* No tokens: a result without elements, and zeros as the gradient of the weights. */
Test(mixture_gradient, empty) {
  const sizes all[] = { { .B = 0, .T = 5, .D = 3, .N = 2, .H = 2, .G = 1, .K = 2, .E = 3 },
                        { .B = 2, .T = 0, .D = 3, .N = 2, .H = 2, .G = 2, .K = 2, .E = 3 } };
  for (int i = 0; i < 2; i++) {
    mixture_check(BAM_F64, all[i], 0);
    mixture_check(BAM_F32, all[i], 0);
    check_differences(all[i], false, true, true);
  }
}
