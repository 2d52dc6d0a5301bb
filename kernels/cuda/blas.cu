/* blas.h through cuBLASLt, which is opened with the first product: programs that multiply nothing
   on a device do without it. It counts matrices by columns: what it is given are the transposes,
   and operands in the other order.

   The algorithm depends on the product's shape and the list of known ones alone (blas_algorithm.cu), so
   the same inputs give the same bits; plans are kept, and asked for again only when other shapes have
   taken their place. The rows of an expert are new in every step, so products of
   experts share the plan of a class of sizes, and its layouts get the size of the call. */
#include "blas_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_ALIGNED 16 /* bytes: the widest access; more would make results depend on places */
#define BATCH 65535     /* products in one call: the third size of a grid goes no further */
#define CLASS 256       /* sizes that vary share a plan up to the next multiple */

/* ---- opening and closing ---- */

void bam_cuda_blas_close(bam_stream stream) {
  bam_cuda_blas *blas = stream->blas;
  if (blas == NULL)
    return;
  bam_blas_drop_plans(blas);
  for (int i = 0; i < BAM_LANES; i++)
    cudaFree(blas->workspaces[i]);
  if (blas->handle != NULL)
    blas->lt.Destroy(blas->handle);
  free(blas->known);
  free(blas);
  stream->blas = NULL;
}

/* The device is the current one. */
static bool fill_blas(bam_stream stream, bam_cuda_blas *blas) {
  if (!bam_blas_load(stream, &blas->lt))
    return false;
  const cublasStatus_t status = blas->lt.Create(&blas->handle);
  if (status != CUBLAS_STATUS_SUCCESS) {
    blas->handle = NULL;
    bam_cuda_fail(stream, "cuBLASLt does not start: %s", blas->lt.GetStatusString(status));
    return false;
  }
  return true;
}

/* The workspace of the stream's lane: products side by side must not share one. NULL when there is no memory, which
   is noted. */
static void *find_workspace(bam_stream stream) {
  void **workspace = &stream->blas->workspaces[stream->lane];
  if (*workspace == NULL)
    *workspace = bam_cuda_malloc(stream, BAM_BLAS_WORKSPACE);
  if (*workspace == NULL)
    bam_cuda_fail(stream, "out of memory: no %d MB for products; use a smaller batch",
                  BAM_BLAS_WORKSPACE >> 20);
  return *workspace;
}

bool bam_blas_open(bam_stream stream) {
  if (!bam_cuda_enter(stream))
    return false;
  if (stream->blas != NULL)
    return true;
  if (bam_cuda_cannot_capture(stream, "the first product"))
    return false;
  stream->blas = (bam_cuda_blas *)calloc(1, sizeof *stream->blas);
  if (stream->blas == NULL)
    bam_cuda_fail(stream, "out of memory");
  else if (!fill_blas(stream, stream->blas))
    bam_cuda_blas_close(stream);
  return stream->blas != NULL;
}

/* ---- products ---- */

/* The largest power of two that divides the place and, in a batch, the distance to the next. */
static int64_t alignment(const void *data, int64_t stride_bytes) {
  const int64_t bits = (int64_t)(uintptr_t)data | stride_bytes | MOST_ALIGNED;
  return bits & -bits;
}

/* Of C. */
static bam_cuda_type result_type(bam_cuda_type type, const bam_gemm *g) {
  if (type != BAM_CUDA_BF16 && !bam_cuda_is_fp8(type))
    return type;
  return g->real_c ? BAM_CUDA_F32 : BAM_CUDA_BF16;
}

static bam_blas_product describe_product(bam_cuda_type type, bool tf32, const bam_gemm *g,
                                         const bam_blas_call *call) {
  const int64_t size = bam_blas_type_size(type),
                many = g->batch > 1; /* alone it has no neighbours */
  bam_blas_product p;
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
  p.align_a = alignment(call->a, p.stride_a * size);
  p.align_b = alignment(call->b, p.stride_b * size);
  p.align_c = alignment((const void *)((uintptr_t)call->c | (uintptr_t)call->base),
                        p.stride_c * bam_blas_type_size(p.c_type));
  return p;
}

static void fail_product(bam_stream stream, const bam_blas_product *p, const char *why) {
  char name[BAM_PRODUCT_NAME];
  bam_blas_name(p, name, sizeof name);
  bam_cuda_fail(stream, "product of %s: %s", name, why);
}

/* What stands for all products of a class. */
static bam_blas_product class_of(const bam_blas_product *exact, bam_cuda_varying varying) {
  bam_blas_product p = *exact;
  int64_t *size = varying == BAM_VARIES_M ? &p.m : &p.k;
  if (varying != BAM_VARIES_NOT)
    *size = (*size + CLASS - 1) / CLASS * CLASS;
  return p;
}

cublasStatus_t bam_blas_run(bam_stream stream, const bam_blas_plan *p, const bam_blas_call *call,
                            const cublasLtMatmulAlgo_t *algorithm, void *d) {
  const bam_cuda_blas *blas = stream->blas;
  const bam_gemm *g = call->gemm;
  const float alpha = (float)g->alpha, beta = (float)g->beta;
  const bool wide = p->what.type == BAM_CUDA_F64;
  return blas->lt.Matmul(blas->handle, p->operation, wide ? (const void *)&g->alpha : &alpha,
                         call->b, p->b, call->a, p->a, wide ? (const void *)&g->beta : &beta,
                         call->base, p->c, d, p->c, algorithm, blas->workspaces[stream->lane],
                         BAM_BLAS_WORKSPACE, stream->queue);
}

/* Enqueue a product with the plan for `key`, which is it or its class. */
static cublasStatus_t enqueue(bam_stream stream, const bam_blas_product *key,
                              const bam_blas_call *call) {
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  bam_blas_plan *p = bam_blas_find_plan(stream, key, call, &status);
  if (p == NULL)
    return status;
  if (p->refused)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  if (p->plain) {
    bam_blas_run_plain(stream, call);
    return status;
  }
  BAM_THEN(bam_blas_resize(&stream->blas->lt, p, &call->exact));
  if (bam_cuda_is_fp8(p->what.type))
    BAM_THEN(bam_blas_set_scales(&stream->blas->lt, p, call->gemm));
  BAM_THEN(bam_blas_run(stream, p, call, &p->algorithm, call->c));
  return status;
}

static bool is_refusal(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE;
}

/* An algorithm that does not take every size of its class leaves the others to plans of their own, and
   what the library refuses is computed here: that, too, depends on the size only. */
static void multiply(bam_stream stream, bam_cuda_varying varying, const bam_blas_call *call) {
  const bam_blas_product *exact = &call->exact, key = class_of(exact, varying);
  bam_blas_product outcast = *exact;
  outcast.outcast = 1;
  cublasStatus_t status = enqueue(stream, &key, call);
  if (is_refusal(status) && memcmp(&key, exact, sizeof key) != 0)
    status = enqueue(stream, &outcast, call);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED)
    bam_blas_run_plain(stream, call);
  else if (status != CUBLAS_STATUS_SUCCESS)
    fail_product(stream, exact, stream->blas->lt.GetStatusString(status));
  else if (stream->sync) {
    const cudaError_t error = cudaStreamSynchronize(stream->queue);
    if (error != cudaSuccess)
      fail_product(stream, exact, cudaGetErrorString(error));
  }
}

/* Does every size fit what cuBLASLt's kernels count in? */
static bool is_countable(const bam_gemm *g) {
  return g->m <= INT32_MAX && g->n <= INT32_MAX && g->k <= INT32_MAX && g->lda <= INT32_MAX &&
         g->ldb <= INT32_MAX && g->ldc <= INT32_MAX;
}

void bam_cuda_blas_gemm(bam_stream stream, bam_cuda_type type, bam_cuda_varying varying,
                        const bam_gemm *gemm, void *c, const void *a, const void *b) {
  const int64_t size = bam_blas_type_size(type),
                c_size = bam_blas_type_size(result_type(type, gemm));
  bam_gemm g = *gemm;
  if (!is_countable(gemm)) {
    bam_cuda_fail(stream,
                  "a product of [%lld, %lld] x [%lld, %lld] has a size above %d; take it "
                  "in parts",
                  (long long)g.m, (long long)g.k, (long long)g.k, (long long)g.n, INT32_MAX);
    return;
  }
  if (!bam_blas_open(stream) || find_workspace(stream) == NULL)
    return;
  for (int64_t done = 0; done < gemm->batch; done += g.batch) {
    g.batch = gemm->batch - done < BATCH ? gemm->batch - done : BATCH;
    bam_blas_call call;
    call.gemm = &g;
    call.c = (char *)c + done * g.stride_c * c_size;
    call.base = g.base != NULL ? (const char *)g.base + done * g.stride_c * c_size : call.c;
    call.a = (const char *)a + done * g.stride_a * size;
    call.b = (const char *)b + done * g.stride_b * size;
    call.exact = describe_product(type, stream->tf32, &g, &call);
    multiply(stream, varying, &call);
  }
}
