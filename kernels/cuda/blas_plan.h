/* Plans of products: what cuBLASLt must know before it multiplies, made once per product and kept. */
#ifndef BAM_CUDA_BLAS_PLAN_H
#define BAM_CUDA_BLAS_PLAN_H

#include "blas.h"
#include "blas_library.h"

#ifndef BAM_BLAS_WORKSPACE /* smaller over the shim, which copies all memory with every launch */
#define BAM_BLAS_WORKSPACE (32 << 20)
#endif
#define BAM_BLAS_PLANS 1024 /* that are kept */

/* All that decides how a product is computed, compared byte by byte. */
struct bam_blas_product {
  int64_t m, n, k, transpose_a, transpose_b, lda, ldb, ldc;
  int64_t batch, stride_a, stride_b, stride_c;
  int64_t type, c_type; /* bam_cuda_type */
  int64_t tf32;
  int64_t align_a, align_b, align_c; /* bytes that the places of all matrices are multiples of */
};

/* One product as it is asked for: what it is exactly, its numbers and its memory. */
struct bam_blas_call {
  bam_blas_product exact;
  const bam_gemm *gemm;
  void *c;
  const void *a, *b;
};

struct bam_blas_plan {
  bam_blas_product what;          /* a product, or what stands for its class */
  cublasLtMatmulDesc_t operation; /* NULL: there is no plan here */
  cublasLtMatrixLayout_t a, b, c;
  int64_t m, k; /* that the layouts have now; those of `what` at first */
  bool refused; /* the library has no algorithm for it */
  cublasLtMatmulAlgo_t algorithm;
};

/* What a stream multiplies with. */
struct bam_cuda_blas {
  bam_blas_library lt;
  cublasLtHandle_t handle;
  void *workspaces[BAM_LANES]; /* of the stream's lanes; NULL until one is used */
  bam_blas_plan plans[BAM_BLAS_PLANS];
  unsigned turn; /* which way of a full set gives up its plan next */
};

/* The plan for a product or a class, made where there was none; NULL with *status if there can be none. */
bam_blas_plan *bam_blas_find_plan(bam_cuda_blas *blas, const bam_blas_product *what,
                                  cublasStatus_t *status);

/* Give the layouts of a class's plan the sizes of one product. */
cublasStatus_t bam_blas_resize(const bam_blas_library *lt, bam_blas_plan *p,
                               const bam_blas_product *exact);

/* Let the plan's operands, of FP8, have the scales of a product. */
cublasStatus_t bam_blas_set_scales(const bam_blas_library *lt, bam_blas_plan *p, const bam_gemm *g);

/* Free a plan, of which some parts may be missing. */
void bam_blas_drop_plan(const bam_blas_library *lt, bam_blas_plan *p);

/* Choose plan->algorithm, or set plan->refused; the plan has everything else. */
cublasStatus_t bam_blas_choose(bam_cuda_blas *blas, bam_blas_plan *p);

/* Enqueue a product by an algorithm. The plan's layouts have the call's sizes. */
cublasStatus_t bam_blas_run(bam_stream stream, const bam_blas_plan *p, const bam_blas_call *call,
                            const cublasLtMatmulAlgo_t *algorithm, void *d);

/* The same by a kernel of this program, for what the library refuses (blas_plain.cu). Sums go over k in order. */
void bam_blas_run_plain(bam_stream stream, const bam_blas_call *call);

#endif
