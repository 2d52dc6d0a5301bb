#include "blas_plan.h"

#include <stdio.h>
#include <string.h>

#define WAYS 4 /* among how many places a plan can have its own */

void bam_blas_drop_plan(const bam_blas_library *lt, bam_blas_plan *p) {
  if (p->a != NULL)
    lt->MatrixLayoutDestroy(p->a);
  if (p->b != NULL)
    lt->MatrixLayoutDestroy(p->b);
  if (p->c != NULL)
    lt->MatrixLayoutDestroy(p->c);
  if (p->operation != NULL)
    lt->MatmulDescDestroy(p->operation);
  memset(p, 0, sizeof *p);
}

void bam_blas_drop_plans(bam_cuda_blas *blas) {
  for (int i = 0; i < BAM_BLAS_PLANS; i++)
    bam_blas_drop_plan(&blas->lt, &blas->plans[i]);
}

/* ---- descriptions ---- */

const char *bam_blas_type_name(int64_t type) {
  static const char *const names[] = { "f32", "f64", "bf16", "e4m3", "e5m2" }; /* bam_cuda_type */
  return names[type];
}

int64_t bam_blas_type_size(int64_t type) {
  static const int64_t sizes[] = { 4, 8, 2, 1, 1 }; /* in the order of bam_cuda_type */
  return sizes[type];
}

int bam_blas_name(const bam_blas_product *p, char *text, size_t size) {
  return snprintf(
    text, size, "%s, %lld of [%lld, %lld]%s x [%lld, %lld]%s, rows %lld, %lld and %lld apart",
    bam_blas_type_name(p->type), (long long)p->batch, (long long)p->m, (long long)p->k,
    p->transpose_a ? " transposed" : "", (long long)p->k, (long long)p->n,
    p->transpose_b ? " transposed" : "", (long long)p->lda, (long long)p->ldb, (long long)p->ldc);
}

static cudaDataType_t type_of(int64_t type) {
  static const cudaDataType_t types[] = { CUDA_R_32F, CUDA_R_64F, CUDA_R_16BF, CUDA_R_8F_E4M3,
                                          CUDA_R_8F_E5M2 }; /* in the order of bam_cuda_type */
  return types[type];
}

/* rows and columns are those of the transpose, in whose columns elements lie together. */
static cublasStatus_t make_layout(const bam_blas_library *lt, cublasLtMatrixLayout_t *layout,
                                  const bam_blas_product *what, cudaDataType_t type, int64_t rows,
                                  int64_t columns, int64_t ld, int64_t stride) {
  const int32_t batch = (int32_t)what->batch;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  BAM_THEN(lt->MatrixLayoutCreate(layout, type, (uint64_t)rows, (uint64_t)columns, ld));
  BAM_THEN(lt->MatrixLayoutSetAttribute(*layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch,
                                        sizeof batch));
  BAM_THEN(lt->MatrixLayoutSetAttribute(*layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                        &stride, sizeof stride));
  return status;
}

/* Cᵀ = op(B)ᵀ op(A)ᵀ: B is its first operand. */
static cublasStatus_t describe(const bam_blas_library *lt, bam_blas_plan *p) {
  const bam_blas_product *g = &p->what;
  const bool wide = g->type == BAM_CUDA_F64;
  const cudaDataType_t a = type_of(g->type), b = bam_cuda_is_fp8(g->type) ? CUDA_R_8F_E4M3 : a;
  const cublasComputeType_t compute = wide      ? CUBLAS_COMPUTE_64F
                                      : g->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                : CUBLAS_COMPUTE_32F;
  const cublasOperation_t first = g->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t second = g->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  BAM_THEN(lt->MatmulDescCreate(&p->operation, compute, wide ? CUDA_R_64F : CUDA_R_32F));
  BAM_THEN(
    lt->MatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first));
  BAM_THEN(
    lt->MatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second));
  BAM_THEN(make_layout(lt, &p->a, g, a, g->transpose_a ? g->m : g->k, g->transpose_a ? g->k : g->m,
                       g->lda, g->stride_a));
  BAM_THEN(make_layout(lt, &p->b, g, b, g->transpose_b ? g->k : g->n, g->transpose_b ? g->n : g->k,
                       g->ldb, g->stride_b));
  BAM_THEN(make_layout(lt, &p->c, g, type_of(g->c_type), g->n, g->m, g->ldc, g->stride_c));
  p->m = g->m, p->k = g->k;
  return status;
}

static cublasStatus_t resize_layout(const bam_blas_library *lt, cublasLtMatrixLayout_t layout,
                                    int64_t rows, int64_t columns) {
  const uint64_t r = (uint64_t)rows, c = (uint64_t)columns;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  BAM_THEN(lt->MatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_ROWS, &r, sizeof r));
  BAM_THEN(lt->MatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_COLS, &c, sizeof c));
  return status;
}

cublasStatus_t bam_blas_resize(const bam_blas_library *lt, bam_blas_plan *p,
                               const bam_blas_product *g) {
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  if (p->m == g->m && p->k == g->k)
    return status;
  BAM_THEN(resize_layout(lt, p->a, g->transpose_a ? g->m : g->k, g->transpose_a ? g->k : g->m));
  BAM_THEN(resize_layout(lt, p->b, g->transpose_b ? g->k : g->n, g->transpose_b ? g->n : g->k));
  BAM_THEN(resize_layout(lt, p->c, g->n, g->m));
  p->m = g->m, p->k = g->k;
  return status;
}

cublasStatus_t bam_blas_set_scales(const bam_blas_library *lt, bam_blas_plan *p,
                                   const bam_gemm *g) {
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  BAM_THEN(lt->MatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER,
                                      &g->scale_b, sizeof g->scale_b));
  BAM_THEN(lt->MatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER,
                                      &g->scale_a, sizeof g->scale_a));
  return status;
}

/* ---- the cache ---- */

static uint64_t hash_of(const bam_blas_product *what) {
  const int64_t *words = (const int64_t *)what;
  uint64_t hash = 0;
  for (size_t i = 0; i < sizeof *what / sizeof *words; i++)
    hash = (hash ^ (uint64_t)words[i]) * 0x9e3779b97f4a7c15u;
  return hash >> 32; /* the upper bits depend on all words */
}

bam_blas_plan *bam_blas_find_plan(bam_stream stream, const bam_blas_product *what,
                                  const bam_blas_call *call, cublasStatus_t *status) {
  bam_cuda_blas *blas = stream->blas;
  bam_blas_plan *ways = &blas->plans[hash_of(what) % (BAM_BLAS_PLANS / WAYS) * WAYS], *place = NULL;
  for (int i = 0; i < WAYS; i++) {
    if (ways[i].operation != NULL && memcmp(&ways[i].what, what, sizeof *what) == 0)
      return &ways[i];
    if (ways[i].operation == NULL)
      place = &ways[i];
  }
  if (place == NULL)
    place = &ways[blas->turn++ % WAYS];
  bam_blas_drop_plan(&blas->lt, place);
  place->what = *what;
  *status = describe(&blas->lt, place);
  if (*status == CUBLAS_STATUS_SUCCESS)
    *status = bam_blas_choose(stream, place, call);
  if (*status == CUBLAS_STATUS_SUCCESS)
    return place;
  bam_blas_drop_plan(&blas->lt, place);
  return NULL;
}
