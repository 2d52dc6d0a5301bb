/* Matrix products through OpenBLAS. One large product is shared among the threads by OpenBLAS; a
   batch of products is shared out whole, since OpenBLAS stays on one thread inside a parallel
   region. */
#include <cblas.h>
#include <omp.h>

#include "cpu.h"

#ifdef BAM_TYPE_f32
#define BLAS_GEMM cblas_sgemm
#define BLAS_GEMV cblas_sgemv
#else
#define BLAS_GEMM cblas_dgemm
#define BLAS_GEMV cblas_dgemv
#endif

#define SMALL 128          /* products with fewer multiplications skip OpenBLAS */
#define SHARED (1LL << 23) /* a batch of products larger than this is left to OpenBLAS one by one */

static CBLAS_TRANSPOSE transposition(bool transpose) {
  return transpose ? CblasTrans : CblasNoTrans;
}

/* C = beta C, where beta = 0 clears whatever was there. */
static void scale_rows(const bam_gemm *g, real *c) {
  for (int64_t i = 0; i < g->m && g->beta != 1; i++)
    for (int64_t j = 0; j < g->n; j++)
      c[i * g->ldc + j] = g->beta == 0 ? 0 : (real)g->beta * c[i * g->ldc + j];
}

/* The product in plain loops: for tiny sizes a call of OpenBLAS costs more. */
static void multiply_small(const bam_gemm *g, real *c, const real *a, const real *b) {
  int64_t a_row = g->transpose_a ? 1 : g->lda, a_column = g->transpose_a ? g->lda : 1;
  int64_t b_row = g->transpose_b ? 1 : g->ldb, b_column = g->transpose_b ? g->ldb : 1;
  for (int64_t i = 0; i < g->m; i++)
    for (int64_t j = 0; j < g->n; j++) {
      real sum = 0;
      for (int64_t p = 0; p < g->k; p++)
        sum += a[i * a_row + p * a_column] * b[p * b_row + j * b_column];
      real *to = &c[i * g->ldc + j];
      *to = (real)g->alpha * sum + (g->beta == 0 ? 0 : (real)g->beta * *to);
    }
}

/* A row times a matrix, or a matrix times a column. */
static void multiply_vector(const bam_gemm *g, real *c, const real *a, const real *b) {
  if (g->beta == 0)
    scale_rows(g, c); /* so that a NaN there does not stay */
  real alpha = (real)g->alpha, beta = g->beta == 0 ? 1 : (real)g->beta;
  if (g->n == 1) {
    int64_t rows = g->transpose_a ? g->k : g->m, columns = g->transpose_a ? g->m : g->k;
    int step = (int)(g->transpose_b ? 1 : g->ldb);
    BLAS_GEMV(CblasRowMajor, transposition(g->transpose_a), (int)rows, (int)columns, alpha, a,
              (int)g->lda, b, step, beta, c, (int)g->ldc);
  } else {
    int64_t rows = g->transpose_b ? g->n : g->k, columns = g->transpose_b ? g->k : g->n;
    int step = (int)(g->transpose_a ? g->lda : 1);
    BLAS_GEMV(CblasRowMajor, transposition(!g->transpose_b), (int)rows, (int)columns, alpha, b,
              (int)g->ldb, a, step, beta, c, 1);
  }
}

static void multiply(const bam_gemm *g, real *c, const real *a, const real *b) {
  if (g->k == 0)
    scale_rows(g, c);
  else if (g->m * g->n * g->k < SMALL)
    multiply_small(g, c, a, b);
  else if (g->m == 1 || g->n == 1)
    multiply_vector(g, c, a, b);
  else
    BLAS_GEMM(CblasRowMajor, transposition(g->transpose_a), transposition(g->transpose_b),
              (int)g->m, (int)g->n, (int)g->k, (real)g->alpha, a, (int)g->lda, b, (int)g->ldb,
              (real)g->beta, c, (int)g->ldc);
}

static void multiply_all(const bam_gemm *g, real *c, const real *a, const real *b) {
#pragma omp for schedule(static)
  for (int64_t i = 0; i < g->batch; i++)
    multiply(g, c + i * g->stride_c, a + i * g->stride_a, b + i * g->stride_b);
}

/* A batch of small products is shared out; a large product is OpenBLAS's own to share, and must
   then not be called from inside a parallel region, not even one of a single thread: it would
   start new threads every time. */
void KERNEL(gemm)(bam_stream stream, const bam_gemm *gemm, void *c_, const void *a_,
                  const void *b_) {
  (void)stream;
  real *c = c_;
  const real *a = a_, *b = b_;
  int64_t work = gemm->m * gemm->n * gemm->k;
  if (gemm->m == 0 || gemm->n == 0)
    return;
  bool share = gemm->batch > 1 && gemm->batch * work > BAM_GRAIN &&
               (work < SHARED || gemm->batch >= 4 * omp_get_max_threads());
  SHARE(share, multiply_all(gemm, c, a, b));
}

/* Expert by expert: each product is OpenBLAS's own to share. */
void KERNEL(grouped_gemm)(bam_stream stream, const bam_grouped_gemm *gemm, void *c, const void *a,
                          const void *b, const int64_t *offsets) {
  bam_gemm g = { .transpose_b = gemm->transpose_b,
                 .n = gemm->n,
                 .k = gemm->k,
                 .lda = gemm->k,
                 .ldb = gemm->transpose_b ? gemm->k : gemm->n,
                 .ldc = gemm->n,
                 .alpha = 1,
                 .beta = gemm->add,
                 .batch = 1 };
  if (gemm->weights)
    g = (bam_gemm){ .transpose_a = true,
                    .m = gemm->n,
                    .n = gemm->k,
                    .lda = gemm->n,
                    .ldb = gemm->k,
                    .ldc = gemm->k,
                    .alpha = 1,
                    .beta = gemm->add,
                    .batch = 1 };
  for (int64_t e = 0; e < gemm->experts; e++) {
    int64_t from = offsets[e], rows = offsets[e + 1] - from, matrix = e * gemm->n * gemm->k;
    *(gemm->weights ? &g.k : &g.m) = rows;
    real *to = (real *)c + (gemm->weights ? matrix : from * gemm->n);
    const real *left = (const real *)a + from * (gemm->weights ? gemm->n : gemm->k);
    const real *right = (const real *)b + (gemm->weights ? from * gemm->k : matrix);
    KERNEL(gemm)(stream, &g, to, left, right);
  }
}
