/* blas.h through cuBLASLt, which is opened with the first product: programs that multiply nothing
   on a device do without it. It counts matrices by columns: what it is given are the transposes,
   and operands in the other order.

   The algorithm is the first one that cuBLASLt's heuristic names, which depends on the product's
   shape alone, so the same inputs give the same bits; plans are kept, and asked for again only when
   other shapes have taken their place. The rows of an expert are new in every step, so products of
   experts share the plan of a class of sizes, and its layouts get the size of the call. */
#include "blas.h"
#include "library.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef WORKSPACE_BYTES /* smaller over the shim, which copies all memory with every launch */
#define WORKSPACE_BYTES (32 << 20)
#endif
#define MOST_ALIGNED 16 /* bytes: the widest access; more would make results depend on places */
#define BATCH 65535     /* products in one call: the third size of a grid goes no further */
#define PLANS 1024      /* that are kept */
#define WAYS 4          /* among how many places a plan can have its own */
#define CLASS 256       /* sizes that vary share a plan up to the next multiple */

/* Do the next thing, if all went well so far. */
#define THEN(call) (status = status == CUBLAS_STATUS_SUCCESS ? (call) : status)

/* ---- the library ---- */

/* clang-format off */
#define FUNCTIONS(X)                                                                              \
  X(Create) X(Destroy) X(GetStatusString) X(Matmul) X(MatmulAlgoGetHeuristic)                     \
  X(MatmulDescCreate) X(MatmulDescSetAttribute) X(MatmulDescDestroy)                              \
  X(MatrixLayoutCreate) X(MatrixLayoutSetAttribute) X(MatrixLayoutDestroy)                        \
  X(MatmulPreferenceCreate) X(MatmulPreferenceSetAttribute) X(MatmulPreferenceDestroy)
/* clang-format on */

struct library {
#define MEMBER(name) decltype(&cublasLt##name) name;
  FUNCTIONS(MEMBER)
#undef MEMBER
};

/* It stays open until the program ends. */
static bool load_library(bam_stream stream, library *lt) {
  const char *const files[] = { "libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so", NULL };
  void *file = bam_cuda_open_library(files);
  if (file == NULL) {
    bam_cuda_fail(
      stream,
      "no %s: install the CUDA toolkit's libcublas or the Python package nvidia-cublas, or "
      "put the folder of either into LD_LIBRARY_PATH",
      files[0]);
    return false;
  }
#define FIND(name)                                                                \
  if ((*(void **)&lt->name = dlsym(file, "cublasLt" #name)) == NULL) {            \
    bam_cuda_fail(stream, "libcublasLt has no cublasLt%s: it is too old", #name); \
    return false;                                                                 \
  }
  FUNCTIONS(FIND)
#undef FIND
  return true;
}

/* ---- the state of a stream ---- */

/* All that decides how a product is computed, compared byte by byte. */
struct product {
  int64_t m, n, k, transpose_a, transpose_b, lda, ldb, ldc;
  int64_t batch, stride_a, stride_b, stride_c;
  int64_t type, c_type; /* bam_cuda_type */
  int64_t tf32;
  int64_t align_a, align_b, align_c; /* bytes that the places of all matrices are multiples of */
};

struct plan {
  product what;
  cublasLtMatmulDesc_t operation; /* NULL: there is no plan here */
  cublasLtMatrixLayout_t a, b, c;
  int64_t m, k; /* that the layouts have now; those of `what` at first */
  cublasLtMatmulAlgo_t algorithm;
};

struct bam_cuda_blas {
  library lt;
  cublasLtHandle_t handle;
  void *workspace;
  plan plans[PLANS];
  unsigned turn; /* of the ways, to give up a plan */
};

static void drop_plan(const library *lt, plan *p) {
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

void bam_cuda_blas_close(bam_stream stream) {
  bam_cuda_blas *blas = stream->blas;
  if (blas == NULL)
    return;
  for (int i = 0; i < PLANS; i++)
    drop_plan(&blas->lt, &blas->plans[i]);
  cudaFree(blas->workspace);
  if (blas->handle != NULL)
    blas->lt.Destroy(blas->handle);
  free(blas);
  stream->blas = NULL;
}

/* The device is the current one. */
static bool fill_blas(bam_stream stream, bam_cuda_blas *blas) {
  if (!load_library(stream, &blas->lt))
    return false;
  const cublasStatus_t status = blas->lt.Create(&blas->handle);
  if (status != CUBLAS_STATUS_SUCCESS) {
    blas->handle = NULL;
    bam_cuda_fail(stream, "cuBLASLt does not start: %s", blas->lt.GetStatusString(status));
    return false;
  }
  if (cudaMalloc(&blas->workspace, WORKSPACE_BYTES) == cudaSuccess)
    return true;
  cudaGetLastError(); /* or the next launch would be blamed for it */
  blas->workspace = NULL;
  bam_cuda_fail(stream, "out of memory: no %d MB for products; use a smaller batch",
                WORKSPACE_BYTES >> 20);
  return false;
}

static bool open_blas(bam_stream stream) {
  if (!bam_cuda_enter(stream))
    return false;
  if (stream->blas != NULL)
    return true;
  stream->blas = (bam_cuda_blas *)calloc(1, sizeof *stream->blas);
  if (stream->blas == NULL)
    bam_cuda_fail(stream, "out of memory");
  else if (!fill_blas(stream, stream->blas))
    bam_cuda_blas_close(stream);
  return stream->blas != NULL;
}

/* ---- plans ---- */

static cudaDataType_t type_of(int64_t type) {
  return type == BAM_CUDA_F64 ? CUDA_R_64F : type == BAM_CUDA_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* rows and columns are those of the transpose, in whose columns elements lie together. */
static cublasStatus_t make_layout(const library *lt, cublasLtMatrixLayout_t *layout,
                                  const product *what, cudaDataType_t type, int64_t rows,
                                  int64_t columns, int64_t ld, int64_t stride) {
  const int32_t batch = (int32_t)what->batch;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  THEN(lt->MatrixLayoutCreate(layout, type, (uint64_t)rows, (uint64_t)columns, ld));
  THEN(lt->MatrixLayoutSetAttribute(*layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch,
                                    sizeof batch));
  THEN(lt->MatrixLayoutSetAttribute(*layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                                    sizeof stride));
  return status;
}

/* Cᵀ = op(B)ᵀ op(A)ᵀ: B is its first operand. */
static cublasStatus_t describe(const library *lt, plan *p) {
  const product *g = &p->what;
  const bool wide = g->type == BAM_CUDA_F64;
  const cudaDataType_t operands = type_of(g->type);
  const cublasComputeType_t compute = wide      ? CUBLAS_COMPUTE_64F
                                      : g->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                : CUBLAS_COMPUTE_32F;
  const cublasOperation_t first = g->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t second = g->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  THEN(lt->MatmulDescCreate(&p->operation, compute, wide ? CUDA_R_64F : CUDA_R_32F));
  THEN(lt->MatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first));
  THEN(
    lt->MatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second));
  THEN(make_layout(lt, &p->a, g, operands, g->transpose_a ? g->m : g->k,
                   g->transpose_a ? g->k : g->m, g->lda, g->stride_a));
  THEN(make_layout(lt, &p->b, g, operands, g->transpose_b ? g->k : g->n,
                   g->transpose_b ? g->n : g->k, g->ldb, g->stride_b));
  THEN(make_layout(lt, &p->c, g, type_of(g->c_type), g->n, g->m, g->ldc, g->stride_c));
  p->m = g->m, p->k = g->k;
  return status;
}

static cublasStatus_t resize_layout(const library *lt, cublasLtMatrixLayout_t layout, int64_t rows,
                                    int64_t columns) {
  const uint64_t r = (uint64_t)rows, c = (uint64_t)columns;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  THEN(lt->MatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_ROWS, &r, sizeof r));
  THEN(lt->MatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_COLS, &c, sizeof c));
  return status;
}

/* Give the layouts of a class's plan the sizes of one product. */
static cublasStatus_t resize(const library *lt, plan *p, const product *g) {
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  if (p->m == g->m && p->k == g->k)
    return status;
  THEN(resize_layout(lt, p->a, g->transpose_a ? g->m : g->k, g->transpose_a ? g->k : g->m));
  THEN(resize_layout(lt, p->b, g->transpose_b ? g->k : g->n, g->transpose_b ? g->n : g->k));
  THEN(resize_layout(lt, p->c, g->n, g->m));
  p->m = g->m, p->k = g->k;
  return status;
}

/* What an algorithm may do. Of those that cut k into parts, only the ones that keep the parts in
   the workspace and then add them up: parts added to C in place need not come in one order. */
static cublasStatus_t prefer(const library *lt, cublasLtMatmulPreference_t preference,
                             const product *g) {
  const uint64_t workspace = WORKSPACE_BYTES;
  const uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_NONE |
                             CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  const uint32_t a = (uint32_t)g->align_a, b = (uint32_t)g->align_b, c = (uint32_t)g->align_c;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
#define PREFER(name, value)                                                              \
  THEN(lt->MatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_##name, &value, \
                                        sizeof value))
  PREFER(MAX_WORKSPACE_BYTES, workspace);
  PREFER(REDUCTION_SCHEME_MASK, reduction);
  PREFER(MIN_ALIGNMENT_A_BYTES, b);
  PREFER(MIN_ALIGNMENT_B_BYTES, a);
  PREFER(MIN_ALIGNMENT_C_BYTES, c);
  PREFER(MIN_ALIGNMENT_D_BYTES, c);
#undef PREFER
  return status;
}

static cublasStatus_t choose_algorithm(bam_cuda_blas *blas, plan *p) {
  const library *lt = &blas->lt;
  cublasLtMatmulPreference_t preference = NULL;
  cublasLtMatmulHeuristicResult_t first;
  int found = 0;
  cublasStatus_t status = lt->MatmulPreferenceCreate(&preference);
  memset(&first, 0, sizeof first);
  THEN(prefer(lt, preference, &p->what));
  THEN(lt->MatmulAlgoGetHeuristic(blas->handle, p->operation, p->b, p->a, p->c, p->c, preference, 1,
                                  &first, &found));
  THEN(found > 0 ? first.state : CUBLAS_STATUS_NOT_SUPPORTED);
  if (preference != NULL)
    lt->MatmulPreferenceDestroy(preference);
  p->algorithm = first.algo;
  return status;
}

static uint64_t hash_of(const product *what) {
  const int64_t *words = (const int64_t *)what;
  uint64_t hash = 0;
  for (size_t i = 0; i < sizeof *what / sizeof *words; i++)
    hash = (hash ^ (uint64_t)words[i]) * 0x9e3779b97f4a7c15u;
  return hash >> 32; /* the upper bits depend on all words */
}

/* The plan for a product, made where there was none; NULL with *status when there can be none. */
static plan *find_plan(bam_cuda_blas *blas, const product *what, cublasStatus_t *status) {
  plan *ways = &blas->plans[hash_of(what) % (PLANS / WAYS) * WAYS], *place = NULL;
  for (int i = 0; i < WAYS; i++) {
    if (ways[i].operation != NULL && memcmp(&ways[i].what, what, sizeof *what) == 0)
      return &ways[i];
    if (ways[i].operation == NULL)
      place = &ways[i];
  }
  if (place == NULL)
    place = &ways[blas->turn++ % WAYS];
  drop_plan(&blas->lt, place);
  place->what = *what;
  *status = describe(&blas->lt, place);
  if (*status == CUBLAS_STATUS_SUCCESS)
    *status = choose_algorithm(blas, place);
  if (*status == CUBLAS_STATUS_SUCCESS)
    return place;
  drop_plan(&blas->lt, place);
  return NULL;
}

/* ---- products ---- */

/* The largest power of two that divides the place and, in a batch, the distance to the next. */
static int64_t alignment(const void *data, int64_t stride_bytes) {
  const int64_t bits = (int64_t)(uintptr_t)data | stride_bytes | MOST_ALIGNED;
  return bits & -bits;
}

static int64_t size_of(int64_t type) {
  return type == BAM_CUDA_F64 ? 8 : type == BAM_CUDA_BF16 ? 2 : 4;
}

/* Of C. */
static bam_cuda_type result_type(bam_cuda_type type, const bam_gemm *g) {
  return type == BAM_CUDA_BF16 && g->real_c ? BAM_CUDA_F32 : type;
}

static product describe_product(bam_cuda_type type, bool tf32, const bam_gemm *g, const void *c,
                                const void *a, const void *b) {
  const int64_t size = size_of(type), many = g->batch > 1; /* alone it has no neighbours */
  product p;
  memset(&p, 0, sizeof p);
  p.m = g->m, p.n = g->n, p.k = g->k;
  p.transpose_a = g->transpose_a, p.transpose_b = g->transpose_b;
  p.lda = g->lda, p.ldb = g->ldb, p.ldc = g->ldc;
  p.batch = g->batch;
  p.stride_a = many * g->stride_a, p.stride_b = many * g->stride_b;
  p.stride_c = many * g->stride_c;
  p.type = type;
  p.c_type = result_type(type, g);
  p.tf32 = tf32 && type == BAM_CUDA_F32;
  p.align_a = alignment(a, p.stride_a * size);
  p.align_b = alignment(b, p.stride_b * size);
  p.align_c = alignment(c, p.stride_c * size_of(p.c_type));
  return p;
}

static void fail_product(bam_stream stream, const product *p, const char *why) {
  static const char *const names[] = { "f32", "f64", "bf16" }; /* in the order of bam_cuda_type */
  bam_cuda_fail(stream,
                "product of %s, %lld of [%lld, %lld]%s x [%lld, %lld]%s, rows %lld, %lld "
                "and %lld apart: %s",
                names[p->type], (long long)p->batch, (long long)p->m, (long long)p->k,
                p->transpose_a ? " transposed" : "", (long long)p->k, (long long)p->n,
                p->transpose_b ? " transposed" : "", (long long)p->lda, (long long)p->ldb,
                (long long)p->ldc, why);
}

/* What stands for all products of a class. */
static product class_of(const product *exact, bam_cuda_varying varying) {
  product p = *exact;
  int64_t *size = varying == BAM_VARIES_M ? &p.m : &p.k;
  if (varying != BAM_VARIES_NOT)
    *size = (*size + CLASS - 1) / CLASS * CLASS;
  return p;
}

/* Enqueue the product `exact` with the plan for `key`, which is it or its class. */
static cublasStatus_t enqueue(bam_stream stream, const product *key, const product *exact,
                              const bam_gemm *g, void *c, const void *a, const void *b) {
  bam_cuda_blas *blas = stream->blas;
  const float alpha = (float)g->alpha, beta = (float)g->beta;
  const bool wide = exact->type == BAM_CUDA_F64;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  plan *p = find_plan(blas, key, &status);
  if (p == NULL)
    return status;
  THEN(resize(&blas->lt, p, exact));
  THEN(blas->lt.Matmul(blas->handle, p->operation, wide ? (const void *)&g->alpha : &alpha, b, p->b,
                       a, p->a, wide ? (const void *)&g->beta : &beta, c, p->c, c, p->c,
                       &p->algorithm, blas->workspace, WORKSPACE_BYTES, stream->queue));
  return status;
}

/* An algorithm that does not take every size of its class leaves the others to plans of their own:
   that, too, depends on the size only. */
static void multiply(bam_stream stream, bam_cuda_type type, bam_cuda_varying varying,
                     const bam_gemm *g, void *c, const void *a, const void *b) {
  const product exact = describe_product(type, stream->tf32, g, c, a, b);
  const product key = class_of(&exact, varying);
  cublasStatus_t status = enqueue(stream, &key, &exact, g, c, a, b);
  if ((status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) &&
      memcmp(&key, &exact, sizeof key) != 0)
    status = enqueue(stream, &exact, &exact, g, c, a, b);
  if (status != CUBLAS_STATUS_SUCCESS)
    fail_product(stream, &exact, stream->blas->lt.GetStatusString(status));
  else if (stream->sync) {
    const cudaError_t error = cudaStreamSynchronize(stream->queue);
    if (error != cudaSuccess)
      fail_product(stream, &exact, cudaGetErrorString(error));
  }
}

/* Does every size fit what cuBLASLt's kernels count in? */
static bool is_countable(const bam_gemm *g) {
  return g->m <= INT32_MAX && g->n <= INT32_MAX && g->k <= INT32_MAX && g->lda <= INT32_MAX &&
         g->ldb <= INT32_MAX && g->ldc <= INT32_MAX;
}

void bam_cuda_blas_gemm(bam_stream stream, bam_cuda_type type, bam_cuda_varying varying,
                        const bam_gemm *gemm, void *c, const void *a, const void *b) {
  const int64_t size = size_of(type), c_size = size_of(result_type(type, gemm));
  bam_gemm g = *gemm;
  if (!is_countable(gemm)) {
    bam_cuda_fail(stream,
                  "a product of [%lld, %lld] x [%lld, %lld] has a size above %d; take it "
                  "in parts",
                  (long long)g.m, (long long)g.k, (long long)g.k, (long long)g.n, INT32_MAX);
    return;
  }
  if (!open_blas(stream))
    return;
  for (int64_t done = 0; done < gemm->batch; done += g.batch) {
    g.batch = gemm->batch - done < BATCH ? gemm->batch - done : BATCH;
    multiply(stream, type, varying, &g, (char *)c + done * g.stride_c * c_size,
             (const char *)a + done * g.stride_a * size,
             (const char *)b + done * g.stride_b * size);
  }
}
