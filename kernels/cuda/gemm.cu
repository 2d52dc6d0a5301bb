/* Matrix products, through the one entry of blas.h. What a BLAS leaves open is decided here: no
   elements, nothing to sum over, and products of experts without rows. */
#include "blas.h"
#include "cuda.h"

#if defined(BAM_TYPE_f64)
#define TYPE BAM_CUDA_F64
#elif defined(BAM_TYPE_bf16)
#define TYPE BAM_CUDA_BF16
#else
#define TYPE BAM_CUDA_F32
#endif

/* C = beta base, where beta = 0 clears whatever was there. base may be C. */
template <class C>
static __global__ void scale_matrices(C *c, const C *base, int64_t n, int64_t columns, int64_t ldc,
                                      int64_t rows, int64_t stride, real beta) {
  BAM_EACH(i, n) {
    const int64_t row = i / columns;
    const int64_t at = row / rows * stride + row % rows * ldc + i % columns;
    c[at] = beta == 0 ? (real)0 : beta * base[at];
  }
}

template <class C> static void scale_all(bam_stream stream, const bam_gemm *g, C *c) {
  const int64_t elements = g->batch * g->m * g->n;
  BAM_LAUNCH(stream, (scale_matrices<C>), BAM_BLOCKS(elements), BAM_BLOCK, 0, c,
             g->base != NULL ? (const C *)g->base : c, elements, g->n, g->ldc, g->m, g->stride_c,
             (real)g->beta);
}

static void multiply(bam_stream stream, bam_cuda_varying varying, const bam_gemm *g, void *c,
                     const void *a, const void *b) {
  const int64_t elements = g->batch * g->m * g->n;
  if (elements == 0)
    return;
  if (g->k > 0)
    bam_cuda_blas_gemm(stream, TYPE, varying, g, c, a, b);
  else if ((g->beta != 1 || g->base != NULL) && g->real_c)
    scale_all(stream, g, (real *)c);
  else if (g->beta != 1 || g->base != NULL)
    scale_all(stream, g, (element *)c);
}

void KERNEL(gemm)(bam_stream stream, const bam_gemm *g, void *c, const void *a, const void *b) {
  multiply(stream, BAM_VARIES_NOT, g, c, a, b);
}

/* One product per expert, side by side in lanes: they write different rows, or matrices. Without rows the gradient of
   its weights is 0. */
void KERNEL(grouped_gemm)(bam_stream stream, const bam_grouped_gemm *gemm, void *c, const void *a,
                          const void *b, const int64_t *offsets) {
  const int64_t n = gemm->n, k = gemm->k;
  const int64_t c_size = (int64_t)(gemm->real_c ? sizeof(real) : sizeof(element));
  bam_gemm g = {};
  g.alpha = 1;
  g.beta = gemm->add;
  g.batch = 1;
  g.real_c = gemm->real_c;
  g.transpose_a = gemm->weights;
  g.transpose_b = gemm->transpose_b && !gemm->weights;
  g.lda = gemm->weights ? n : k;
  g.ldb = gemm->weights || gemm->transpose_b ? k : n;
  g.ldc = gemm->weights ? k : n;
  bam_cuda_fork(stream, gemm->experts < BAM_LANES ? (int)gemm->experts : BAM_LANES);
  for (int64_t e = 0; e < gemm->experts; e++) {
    bam_cuda_use_lane(stream, (int)(e % BAM_LANES));
    const int64_t from = offsets[e], rows = offsets[e + 1] - from, matrix = e * n * k;
    g.m = gemm->weights ? n : rows;
    g.n = gemm->weights ? k : n;
    g.k = gemm->weights ? rows : k;
    void *to = (char *)c + (gemm->weights ? matrix : from * n) * c_size;
    const element *left = (const element *)a + from * (gemm->weights ? n : k);
    const element *right = (const element *)b + (gemm->weights ? from * k : matrix);
    multiply(stream, gemm->weights ? BAM_VARIES_K : BAM_VARIES_M, &g, to, left, right);
  }
  bam_cuda_join(stream);
}
