/* Products of FP8, through the one entry of blas.h, and the table of a device. cuBLASLt takes FP8 only as A Bᵀ, both
   operands contiguous along k. Its faster accumulation, which keeps partial sums in the tensor cores' fewer bits, stays
   off: sums are f32. */
#include "fp8.h"

#include "blas.h"

static void multiply(bam_stream stream, const bam_fp8_product *p) {
  bam_gemm g = {};
  g.transpose_b = true;
  g.real_c = p->real_c;
  g.m = p->m, g.n = p->n, g.k = p->k;
  g.lda = p->k, g.ldb = p->k, g.ldc = p->n;
  g.alpha = 1;
  g.beta = p->add;
  g.base = p->base;
  g.batch = 1;
  g.scale_a = p->a_inverse, g.scale_b = p->b_inverse;
  bam_cuda_blas_gemm(stream, p->a_format == BAM_E4M3 ? BAM_CUDA_E4M3 : BAM_CUDA_E5M2,
                     BAM_VARIES_NOT, &g, p->c, p->a, p->b);
}

const bam_fp8_kernels bam_cuda_fp8 = { bam_cuda_fp8_amax, bam_cuda_fp8_quantize, multiply };
