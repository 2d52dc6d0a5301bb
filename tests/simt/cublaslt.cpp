/* A stand-in for cuBLASLt that computes with the CPU's products (cublaslt_multiply.cpp). It is as strict as the
   library may be: sizes must fit each other and lie within allocations, and an algorithm serves only products with the
   types, transposes, distances and alignment that it was asked for, whatever their number of columns. FP8 has the rules
   of cuBLASLt's documentation (fits_fp8).
   BAMLUA_SIMT_BLAS has words: "exact": an algorithm serves only the sizes that it was asked for; "none": there is no
   algorithm for anything; "classes": there is none where a size is a multiple of 256.
   BAMLUA_SIMT_ALGORITHMS lists what there is for each product, in the heuristic's order, as MILLISECONDS[:KIND]. The
   kinds: "split" adds two parts of k; "wild" another number of parts each time; "refuse" fails when it is to run.
   BAMLUA_SIMT_BLAS_VERSION is the library's version, 130100 by default. */
#include <map> /* before CUDA's words, of which it uses some */
#include <memory>

#include <cublasLt.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../kernels/cuda/library.h"
#include "cublaslt.h"
#include "machine.h"

struct simt_blas_operation {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t transpose[2];
  const float *scale_pointer[2]; /* of a and b; NULL: 1 */
};

struct simt_blas_layout {
  cudaDataType_t type;
  uint64_t rows, columns;
  int64_t ld;
  int32_t batch;
  int64_t stride;
};

struct simt_blas_preference {
  uint64_t workspace;
  uint32_t align[4]; /* of a, b, c, d */
};

/* What an algorithm is good for. */
struct algorithm {
  uint32_t magic, align[3];
  int64_t m, n, k;
  uint8_t number; /* in the list, from 1 */
  uint8_t type, operands, compute, transpose[2];
  int32_t lds; /* a hash of the leading dimensions */
};
static_assert(sizeof(algorithm) <= sizeof(cublasLtMatmulAlgo_t), "it must fit");
#define MAGIC 0x5b1a5u

/* The stand-in is part of the program. */
void *bam_cuda_open_library(const char *const *) { return dlopen(NULL, RTLD_NOW); }

size_t cublasLtGetVersion(void) {
  const char *version = getenv("BAMLUA_SIMT_BLAS_VERSION");
  return version != NULL ? (size_t)atol(version) : 130100;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
  *handle = (cublasLtHandle_t)malloc(1);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  free(handle);
  return CUBLAS_STATUS_SUCCESS;
}

const char *cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
  case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
  case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
  case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
  case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "unknown";
}

/* ---- descriptions ---- */

template <class T> static cublasStatus_t create(T **made) {
  *made = (T *)calloc(1, sizeof **made);
  return CUBLAS_STATUS_SUCCESS;
}

template <class T> static cublasStatus_t destroy(T *made) {
  free(made);
  return CUBLAS_STATUS_SUCCESS;
}

template <class T> static cublasStatus_t set(T *to, const void *value, size_t bytes) {
  if (bytes != sizeof *to)
    return CUBLAS_STATUS_INVALID_VALUE;
  memcpy(to, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  create(desc);
  (*desc)->compute = compute;
  (*desc)->scale = scale;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes) {
  switch (attribute) {
  case CUBLASLT_MATMUL_DESC_TRANSA: return set(&desc->transpose[0], value, bytes);
  case CUBLASLT_MATMUL_DESC_TRANSB: return set(&desc->transpose[1], value, bytes);
  case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER: return set(&desc->scale_pointer[0], value, bytes);
  case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER: return set(&desc->scale_pointer[1], value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) { return destroy(desc); }

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType_t type,
                                          uint64_t rows, uint64_t columns, int64_t ld) {
  create(layout);
  **layout = { type, rows, columns, ld, 1, 0 };
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t bytes) {
  switch (attribute) {
  case CUBLASLT_MATRIX_LAYOUT_ROWS: return set(&layout->rows, value, bytes);
  case CUBLASLT_MATRIX_LAYOUT_COLS: return set(&layout->columns, value, bytes);
  case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return set(&layout->batch, value, bytes);
  case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return set(&layout->stride, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return destroy(layout);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
  return create(preference);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes) {
  uint32_t reduction;
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
    return set(&preference->workspace, value, bytes);
  if (attribute != CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
    return set(&preference->align[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value,
               bytes);
  const cublasStatus_t status = set(&reduction, value, bytes);
  const bool ordered = reduction ==
                       (CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
  return status == CUBLAS_STATUS_SUCCESS && !ordered ? CUBLAS_STATUS_NOT_SUPPORTED : status;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return destroy(preference);
}

/* ---- FP8 ---- */

static bool is_fp8(cudaDataType_t type) { return type == CUDA_R_8F_E4M3 || type == CUDA_R_8F_E5M2; }

/* Are the sizes of a matrix multiples of 16, and its distances of 16 bytes? */
static bool is_whole(const simt_blas_layout *l) {
  const int64_t size = (int64_t)simt_blas_size(l->type);
  return l->rows % 16 == 0 && l->columns % 16 == 0 && l->ld * size % 16 == 0 &&
         l->stride * size % 16 == 0;
}

/* What compute capabilities 8.9 and 9.0 multiply: the first operand transposed and the second not, not both E5M2, all
   sizes and distances multiples of 16, results of bf16 or f32. */
static bool fits_fp8(const simt_blas_operation *o, const simt_blas_layout *a,
                     const simt_blas_layout *b, const simt_blas_layout *c) {
  return is_fp8(a->type) && is_fp8(b->type) &&
         (a->type == CUDA_R_8F_E4M3 || b->type == CUDA_R_8F_E4M3) &&
         o->compute == CUBLAS_COMPUTE_32F && o->scale == CUDA_R_32F &&
         o->transpose[0] == CUBLAS_OP_T && o->transpose[1] == CUBLAS_OP_N && is_whole(a) &&
         is_whole(b) && is_whole(c) && (c->type == CUDA_R_16BF || c->type == CUDA_R_32F);
}

static bool types_fit(const simt_blas_operation *o, const simt_blas_layout *a,
                      const simt_blas_layout *b, const simt_blas_layout *c) {
  if (is_fp8(a->type) || is_fp8(b->type))
    return fits_fp8(o, a, b, c);
  return a->type == b->type && o->scale_pointer[0] == NULL && o->scale_pointer[1] == NULL;
}

/* Do the operands of FP8 begin at multiples of 16 bytes, and are their scales on the device? */
static bool is_placed(const simt_blas_operation *o, const simt_blas_layout *a,
                      const void *const data[3]) {
  if (!is_fp8(a->type))
    return true;
  for (int i = 0; i < 3; i++)
    if ((uintptr_t)data[i] % 16 != 0)
      return false;
  for (const float *scale : o->scale_pointer)
    if (scale != NULL && simt_device_of(scale, sizeof *scale) != simt_current_device())
      return false;
  return true;
}

/* The product of both scales, in memory of the device, which is open. */
static double scale_of(const simt_blas_operation *o) {
  double product = 1;
  for (const float *scale : o->scale_pointer)
    product *= scale != NULL ? (double)*scale : 1;
  return product;
}

/* ---- products ---- */

/* The product of rows that one of columns is: C[m x n] of b and a. False when the sizes do not fit. */
static bool describe(const simt_blas_operation *o, const simt_blas_layout *a,
                     const simt_blas_layout *b, const simt_blas_layout *c, bam_gemm *g) {
  const bool ta = o->transpose[0] == CUBLAS_OP_T, tb = o->transpose[1] == CUBLAS_OP_T;
  *g = {};
  g->m = (int64_t)c->columns;
  g->n = (int64_t)c->rows;
  g->k = (int64_t)(ta ? a->rows : a->columns);
  g->transpose_a = tb;
  g->transpose_b = ta;
  g->lda = b->ld, g->ldb = a->ld, g->ldc = c->ld;
  g->batch = c->batch;
  g->stride_a = b->stride, g->stride_b = a->stride, g->stride_c = c->stride;
  const simt_blas_layout *all[] = { a, b, c };
  bool good = (int64_t)(ta ? a->columns : a->rows) == g->n &&
              (int64_t)(tb ? b->columns : b->rows) == g->k &&
              (int64_t)(tb ? b->rows : b->columns) == g->m && types_fit(o, a, b, c);
  for (const simt_blas_layout *l : all)
    good &= l->ld >= (int64_t)l->rows && l->batch == c->batch && l->rows > 0 && l->columns > 0;
  return good;
}

static algorithm algorithm_for(const simt_blas_operation *o, const bam_gemm *g,
                               const simt_blas_layout *a, const simt_blas_layout *b,
                               const simt_blas_layout *c) {
  algorithm x;
  memset(&x, 0, sizeof x);
  x.magic = MAGIC;
  x.m = g->m, x.n = g->n, x.k = g->k;
  x.type = (uint8_t)c->type;
  x.operands = (uint8_t)(3 * a->type + b->type); /* another number for each pair that fits */
  x.compute = (uint8_t)o->compute;
  x.transpose[0] = (uint8_t)o->transpose[0], x.transpose[1] = (uint8_t)o->transpose[1];
  x.lds = (int32_t)(g->lda * 31 + g->ldb * 1021 + g->ldc * 65537);
  return x;
}

/* Is this word in BAMLUA_SIMT_BLAS? */
static bool mode(const char *word) {
  const char *modes = getenv("BAMLUA_SIMT_BLAS");
  return modes != NULL && strstr(modes, word) != NULL;
}

struct offer {
  double milliseconds;
  char kind[16];
};

/* The number-th algorithm that there is, from 1; false if there are fewer. */
static bool find_offer(int number, offer *found) {
  const char *list = getenv("BAMLUA_SIMT_ALGORITHMS");
  int length = 0;
  for (list = list != NULL ? list : "0.001"; number > 0; number--, list += length) {
    *found = {};
    if (sscanf(list, " %lf%n:%15[a-z]%n", &found->milliseconds, &length, found->kind, &length) < 1)
      return false;
  }
  return true;
}

static bool is_refused(const bam_gemm *g) {
  return mode("none") || (mode("classes") && (g->m % 256 == 0 || g->k % 256 == 0));
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t *results,
                                              int *found) {
  bam_gemm g;
  offer offered;
  *found = 0;
  if (!describe(desc, a, b, c, &g) || c->type != d->type || wanted < 1)
    return CUBLAS_STATUS_INVALID_VALUE;
  simt_trace("heuristic %lld %lld %lld", (long long)g.m, (long long)g.n, (long long)g.k);
  if (is_refused(&g))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  algorithm x = algorithm_for(desc, &g, a, b, c);
  memcpy(x.align, preference->align, sizeof x.align);
  for (int i = 0; i < wanted && find_offer(i + 1, &offered); i++, ++*found) {
    x.number = (uint8_t)(i + 1);
    results[i] = {};
    memcpy(&results[i].algo, &x, sizeof x);
    results[i].state = CUBLAS_STATUS_SUCCESS;
  }
  return *found > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

static size_t bytes_of(const simt_blas_layout *l) {
  const int64_t elements = (l->batch - 1) * l->stride + (int64_t)(l->columns - 1) * l->ld +
                           (int64_t)l->rows;
  return (size_t)elements * simt_blas_size(l->type);
}

static bool is_inside(const void *data, const simt_blas_layout *l) {
  return simt_device_of(data, bytes_of(l)) == simt_current_device();
}

/* What is added to a product lies where the result is written, or does not overlap it. */
static bool is_apart(const void *c, const void *d, const simt_blas_layout *l) {
  const uintptr_t from = (uintptr_t)c, to = (uintptr_t)d;
  return from == to || (from > to ? from - to : to - from) >= bytes_of(l);
}

/* Whether the algorithm was found for such a product. */
static bool serves(const cublasLtMatmulAlgo_t *given, const algorithm *wanted) {
  algorithm x;
  memcpy(&x, given, sizeof x);
  const bool sizes = !mode("exact") || (x.m == wanted->m && x.n == wanted->n && x.k == wanted->k);
  return x.magic == MAGIC && x.type == wanted->type && x.operands == wanted->operands &&
         x.compute == wanted->compute &&
         memcmp(x.transpose, wanted->transpose, sizeof x.transpose) == 0 && sizes &&
         x.lds == wanted->lds;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t,
                                       const cublasLtMatmulAlgo_t *algo,
                                       cublasLtMatmulHeuristicResult_t *result) {
  bam_gemm g;
  offer offered;
  algorithm x;
  memcpy(&x, algo, sizeof x);
  *result = {};
  if (!describe(desc, a, b, c, &g))
    return CUBLAS_STATUS_INVALID_VALUE;
  const algorithm wanted = algorithm_for(desc, &g, a, b, c);
  return serves(algo, &wanted) && find_offer(x.number, &offered) ? CUBLAS_STATUS_SUCCESS
                                                                 : CUBLAS_STATUS_NOT_SUPPORTED;
}

static bool is_aligned(const algorithm *x, const void *const data[3]) {
  for (int i = 0; i < 3; i++)
    if ((uintptr_t)data[i] % x->align[i] != 0)
      return false;
  return true;
}

/* Into how many parts of k an algorithm cuts its sums. */
static int parts_of(const offer *offered) {
  static int times;
  if (strcmp(offered->kind, "wild") == 0)
    return 1 + times++ % 3;
  return strcmp(offered->kind, "split") == 0 ? 2 : 1;
}

/* Products that may run at the same time must not share a workspace, so it belongs to one stream, which must not be
   destroyed before it. */
static bool is_own_workspace(const void *workspace, cudaStream_t stream) {
  static std::map<uint64_t, cudaStream_t> owners; /* by number of the allocation */
  const simt_allocation *a = simt_allocation_of(workspace);
  return owners.insert({ a->number, stream }).first->second == stream;
}

/* A product whose operands were found good. */
struct product {
  bam_gemm gemm;
  simt_blas_operation operation;
  simt_blas_types types;
  offer offered;
  void *d;
  const void *c, *a, *b;
};

static cudaError_t run_product(const product &p) {
  simt_trace("product %lld %lld %lld", (long long)p.gemm.m, (long long)p.gemm.n,
             (long long)p.gemm.k);
  simt_count_work(p.offered.milliseconds);
  const char *late = getenv("BAMLUA_SIMT_FAIL_LATE");
  if (late != NULL && strcmp(late, "product") == 0)
    simt_fail_later(cudaErrorIllegalAddress);
  simt_open_memory();
  bam_gemm g = p.gemm;
  g.alpha *= scale_of(&p.operation);
  simt_blas_multiply(&g, p.types, p.d, p.c, p.a, p.b, parts_of(&p.offered));
  simt_close_memory();
  return cudaSuccess;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d, cublasLtMatrixLayout_t,
                              const cublasLtMatmulAlgo_t *algo, void *workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  const void *const data[] = { a, b, c }, *const written[] = { a, b, d };
  const bool wide = desc->scale == CUDA_R_64F;
  bam_gemm g;
  offer offered;
  algorithm x;
  memcpy(&x, algo, sizeof x);
  if (!describe(desc, a_layout, b_layout, c_layout, &g) || !is_inside(a, a_layout) ||
      !is_inside(b, b_layout) || !is_inside(c, c_layout) || !is_inside(d, c_layout) ||
      !is_apart(c, d, c_layout) || !is_placed(desc, a_layout, data) ||
      !is_placed(desc, a_layout, written) ||
      simt_device_of(workspace, workspace_bytes) != simt_current_device() ||
      !is_own_workspace(workspace, stream))
    return CUBLAS_STATUS_INVALID_VALUE;
  const algorithm wanted = algorithm_for(desc, &g, a_layout, b_layout, c_layout);
  if (!serves(algo, &wanted) || !is_aligned(&x, data) || !is_aligned(&x, written) ||
      !find_offer(x.number, &offered) || strcmp(offered.kind, "refuse") == 0)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  g.alpha = wide ? *(const double *)alpha : (double)*(const float *)alpha;
  g.beta = wide ? *(const double *)beta : (double)*(const float *)beta;
  if (getenv("BAMLUA_SIMT_ALGORITHMS") != NULL)
    simt_trace("algorithm %d", x.number);
  const product p = { g, *desc, { b_layout->type, a_layout->type, c_layout->type }, offered, d, c,
                      b, a };
  const void *const operands[] = {
    a, b, c, d, workspace, desc->scale_pointer[0], desc->scale_pointer[1]
  };
  const cudaError_t error = simt_ask(stream, "a product", operands, sizeof operands,
                                     SIMT_WHEN_SCHEDULED, [p] { return run_product(p); });
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
