/* Plans of products: what cuBLASLt must know before it multiplies, made once per product and kept. */
#ifndef BAM_CUDA_BLAS_PLAN_H
#define BAM_CUDA_BLAS_PLAN_H

#include "blas.h"
#include "blas_library.h"

#ifndef BAM_BLAS_WORKSPACE /* smaller over the shim, which copies all memory with every launch */
#define BAM_BLAS_WORKSPACE (32 << 20)
#endif
#define BAM_BLAS_PLANS 1024  /* that are kept */
#define BAM_BLAS_PROPOSALS 8 /* of the heuristic, that are measured */

/* All that decides how a product is computed, compared byte by byte. */
struct bam_blas_product {
  int64_t m, n, k, transpose_a, transpose_b, lda, ldb, ldc;
  int64_t batch, stride_a, stride_b, stride_c;
  int64_t type, c_type; /* bam_cuda_type */
  int64_t tf32;
  int64_t align_a, align_b, align_c; /* bytes that the places of all matrices are multiples of */
  int64_t outcast;                   /* its class has a plan that does not take this size */
};

/* One product as it is asked for: what it is exactly, its numbers and its memory. */
struct bam_blas_call {
  bam_blas_product exact;
  const bam_gemm *gemm;
  void *c;
  const void *a, *b, *base; /* base: what is added to the product, times beta; may be c */
};

struct bam_blas_plan {
  bam_blas_product what;          /* a product, or what stands for its class */
  cublasLtMatmulDesc_t operation; /* NULL: there is no plan here */
  cublasLtMatrixLayout_t a, b, c;
  int64_t m, k; /* that the layouts have now; those of `what` at first */
  bool refused; /* the library has no algorithm for it */
  bool plain;   /* there is none whose bits repeat */
  cublasLtMatmulAlgo_t algorithm;
};

/* What a stream multiplies with. */
struct bam_cuda_blas {
  bam_blas_library lt;
  cublasLtHandle_t handle;
  void *workspaces[BAM_LANES]; /* of the stream's lanes; NULL until one is used */
  bam_blas_plan plans[BAM_BLAS_PLANS];
  unsigned turn; /* which way of a full set gives up its plan next */

  bam_algorithm *known; /* see bam_device's algorithms */
  int64_t known_count, known_places;
  bool measure; /* products that are not among them */
};

/* Fill in stream->blas, once; false when that fails, which is noted. */
bool bam_blas_open(bam_stream stream);

const char *bam_blas_type_name(int64_t type);
int64_t bam_blas_type_size(int64_t type);

/* What a product is, for messages: "bf16, 1 of [2, 3] x [3, 4], rows 3, 4 and 4 apart". Returns its length. */
int bam_blas_name(const bam_blas_product *p, char *text, size_t size);

/* The plan for a product or a class, made where there was none for this call; NULL with *status if there can be
   none. */
bam_blas_plan *bam_blas_find_plan(bam_stream stream, const bam_blas_product *what,
                                  const bam_blas_call *call, cublasStatus_t *status);

/* Give the layouts of a class's plan the sizes of one product. */
cublasStatus_t bam_blas_resize(const bam_blas_library *lt, bam_blas_plan *p,
                               const bam_blas_product *exact);

/* Let the plan's operands, of FP8, have the scales of a product. */
cublasStatus_t bam_blas_set_scales(const bam_blas_library *lt, bam_blas_plan *p, const bam_gemm *g);

/* Free a plan, of which some parts may be missing. */
void bam_blas_drop_plan(const bam_blas_library *lt, bam_blas_plan *p);

void bam_blas_drop_plans(bam_cuda_blas *blas);

/* Choose plan->algorithm, or set plan->refused or plan->plain; the plan has everything else. It may measure, which
   changes nothing but the place of the call's result. */
cublasStatus_t bam_blas_choose(bam_stream stream, bam_blas_plan *p, const bam_blas_call *call);

/* Measure algorithms of a plan, which `call` has asked for, and write the one to take into *chosen, all but its
   product. */
cublasStatus_t bam_blas_measure(bam_stream stream, bam_blas_plan *p, const bam_blas_call *call,
                                const cublasLtMatmulHeuristicResult_t *list, int count,
                                bam_algorithm *chosen);

/* Fill n elements with numbers that look random, but depend on seed alone, without NaN and infinity. */
void bam_blas_fill(bam_stream stream, int64_t type, void *x, int64_t n, uint64_t seed);

/* A number that depends on all bits of C: the same after the same products. Waits. */
uint64_t bam_blas_hash(bam_stream stream, const bam_blas_product *p, const void *c, void *scratch);
#define BAM_BLAS_HASH_SCRATCH 256 /* bytes of device memory */

/* Enqueue a product by an algorithm. The plan's layouts have the call's sizes. */
cublasStatus_t bam_blas_run(bam_stream stream, const bam_blas_plan *p, const bam_blas_call *call,
                            const cublasLtMatmulAlgo_t *algorithm, void *d);

/* The same by a kernel of this program, for what the library refuses (blas_plain.cu). Sums go over k in order. */
void bam_blas_run_plain(bam_stream stream, const bam_blas_call *call);

#endif
