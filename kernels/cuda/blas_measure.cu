/* Measuring the algorithms that cuBLASLt's heuristic proposes for a product. They take turns, so that a device
   that slows down slows down all. One whose result is not the same each time is never chosen: runs must repeat
   their bits.

   Operands are random, of the size that the plan is for: zeros, of which a first step may be full, are the
   same sum in any order, and an expert's first rows may be few. If there is no memory for them, the operands
   of the call serve; C is left alone where the call adds to it. */
#include "blas_plan.h"

#include <string.h>

#define ROUNDS 6    /* the first is not measured */
#define MARGIN 1.02 /* differences of 2 % are noise: then the one that the heuristic prefers */
#define ALIGNED 256

struct trial {
  bool runs, repeats;
  uint64_t bits;
  double ms[ROUNDS];
};

struct bench {
  bam_stream stream;
  bam_blas_plan *plan;
  bam_gemm gemm;      /* of what is run */
  bam_blas_call call; /* the same */
  void *d;            /* where results go */
  bool refills;       /* C is d, and random, and is added to: it is filled before each run */
  void *memory;
  cudaEvent_t from, to;
};

/* ---- the bench ---- */

/* Elements from the first to the last of `rows` rows, in each matrix of a batch. */
static int64_t extent(const bam_blas_product *p, int64_t rows, int64_t columns, int64_t ld,
                      int64_t stride) {
  return (p->batch - 1) * stride + (rows - 1) * ld + columns;
}

static int64_t extent_of_a(const bam_blas_product *p) {
  return p->transpose_a ? extent(p, p->k, p->m, p->lda, p->stride_a)
                        : extent(p, p->m, p->k, p->lda, p->stride_a);
}

static int64_t extent_of_b(const bam_blas_product *p) {
  return p->transpose_b ? extent(p, p->n, p->k, p->ldb, p->stride_b)
                        : extent(p, p->k, p->n, p->ldb, p->stride_b);
}

static int64_t extent_of_c(const bam_blas_product *p) {
  return extent(p, p->m, p->n, p->ldc, p->stride_c);
}

/* Their bytes, and some more for the next thing to be aligned. */
static int64_t bytes_of(int64_t elements, int64_t type) {
  return (elements * bam_blas_type_size(type) + ALIGNED - 1) / ALIGNED * ALIGNED;
}

static int64_t type_of_b(const bam_blas_product *p) {
  return bam_cuda_is_fp8(p->type) ? (int64_t)BAM_CUDA_E4M3 : p->type;
}

static void fill_c(const bench *b) {
  bam_blas_fill(b->stream, b->plan->what.c_type, b->d, extent_of_c(&b->plan->what), 3);
}

/* Lay out random operands of the plan's sizes. False if memory is short. */
static bool use_random(bench *b) {
  const bam_blas_product *p = &b->plan->what;
  const int64_t a_elements = extent_of_a(p), b_elements = extent_of_b(p);
  const int64_t a_bytes = bytes_of(a_elements, p->type);
  const int64_t b_bytes = bytes_of(b_elements, type_of_b(p));
  b->memory = bam_cuda_malloc(b->stream, BAM_BLAS_HASH_SCRATCH + a_bytes + b_bytes +
                                           bytes_of(extent_of_c(p), p->c_type));
  if (b->memory == NULL)
    return false;
  char *at = (char *)b->memory + BAM_BLAS_HASH_SCRATCH;
  b->call.a = at;
  b->call.b = at + a_bytes;
  b->call.c = b->d = at + a_bytes + b_bytes;
  b->call.base = b->call.c;
  b->call.exact = *p;
  b->gemm.m = p->m, b->gemm.k = p->k;
  b->refills = b->gemm.beta != 0;
  bam_blas_fill(b->stream, p->type, at, a_elements, 1);
  bam_blas_fill(b->stream, type_of_b(p), at + a_bytes, b_elements, 2);
  return true;
}

/* The call's own operands, with results elsewhere if it adds to C. */
static bool use_own(bench *b) {
  const bam_blas_product *p = &b->call.exact;
  const bool adds = b->gemm.beta != 0;
  b->memory = bam_cuda_malloc(b->stream, BAM_BLAS_HASH_SCRATCH +
                                           (adds ? bytes_of(extent_of_c(p), p->c_type) : 0));
  b->d = adds ? (char *)b->memory + BAM_BLAS_HASH_SCRATCH : b->call.c;
  return b->memory != NULL;
}

/* False if memory is short, or something failed. */
static bool open_bench(bench *b, const bam_blas_call *call) {
  bam_stream stream = b->stream;
  const bam_blas_library *lt = &stream->blas->lt;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  b->gemm = *call->gemm;
  b->call = *call;
  b->call.gemm = &b->gemm;
  bam_cuda_note(stream, "synchronize",
                cudaDeviceSynchronize()); /* or other lanes are measured too */
  if (!use_random(b) && !use_own(b))
    return false;
  BAM_THEN(bam_blas_resize(lt, b->plan, &b->call.exact));
  if (bam_cuda_is_fp8(b->plan->what.type))
    BAM_THEN(bam_blas_set_scales(lt, b->plan, &b->gemm));
  bam_cuda_note(stream, "cudaEventCreate", cudaEventCreate(&b->from));
  bam_cuda_note(stream, "cudaEventCreate", cudaEventCreate(&b->to));
  return status == CUBLAS_STATUS_SUCCESS && stream->failure[0] == '\0';
}

static void close_bench(bench *b) {
  if (b->from != NULL)
    cudaEventDestroy(b->from);
  if (b->to != NULL)
    cudaEventDestroy(b->to);
  bam_cuda_note(b->stream, "cudaFree", cudaFree(b->memory));
}

/* ---- trials ---- */

static void run_once(const bench *b, const cublasLtMatmulAlgo_t *algorithm, trial *t, int round) {
  float ms = 0;
  if (b->refills)
    fill_c(b);
  bam_cuda_note(b->stream, "measuring", cudaEventRecord(b->from, b->stream->queue));
  t->runs = bam_blas_run(b->stream, b->plan, &b->call, algorithm, b->d) == CUBLAS_STATUS_SUCCESS;
  bam_cuda_note(b->stream, "measuring", cudaEventRecord(b->to, b->stream->queue));
  if (!t->runs)
    return;
  const uint64_t bits = bam_blas_hash(b->stream, &b->call.exact, b->d, b->memory); /* waits */
  bam_cuda_note(b->stream, "measuring", cudaEventElapsedTime(&ms, b->from, b->to));
  t->ms[round] = ms;
  t->repeats = round == 0 || (t->repeats && bits == t->bits);
  t->bits = bits;
}

/* The median of the rounds that count. */
static double median_of(const trial *t) {
  double sorted[ROUNDS];
  int n = 0;
  for (int i = 1; i < ROUNDS; i++, n++) {
    int at = n;
    for (; at > 0 && sorted[at - 1] > t->ms[i]; at--)
      sorted[at] = sorted[at - 1];
    sorted[at] = t->ms[i];
  }
  return sorted[n / 2];
}

/* The first that is as fast as the fastest, of those whose bits repeat; -1 if there is none. */
static int choose_trial(const trial *trials, int count) {
  double best = 0;
  for (int i = 0; i < count; i++)
    if (trials[i].runs && trials[i].repeats && (best == 0 || median_of(&trials[i]) < best))
      best = median_of(&trials[i]);
  for (int i = 0; i < count; i++)
    if (trials[i].runs && trials[i].repeats && median_of(&trials[i]) <= MARGIN * best)
      return i;
  return -1;
}

/* Where none runs at this size, others of the class may still be computed by the first. */
static void take(const trial *trials, int count, const cublasLtMatmulHeuristicResult_t *list,
                 bam_algorithm *chosen) {
  const int best = choose_trial(trials, count);
  bool any = false;
  for (int i = 0; i < count; i++)
    any |= trials[i].runs;
  chosen->rank = any ? best + 1 : 1;
  if (chosen->rank > 0)
    memcpy(chosen->bytes, &list[chosen->rank - 1].algo, sizeof chosen->bytes);
  chosen->ms = best >= 0 ? median_of(&trials[best]) : 0;
  chosen->first_ms = trials[0].runs ? median_of(&trials[0]) : 0;
}

cublasStatus_t bam_blas_measure(bam_stream stream, bam_blas_plan *p, const bam_blas_call *call,
                                const cublasLtMatmulHeuristicResult_t *list, int count,
                                bam_algorithm *chosen) {
  static_assert(sizeof chosen->bytes == sizeof list->algo, "algorithms are recorded whole");
  trial trials[BAM_BLAS_PROPOSALS];
  bench b;
  memset(&b, 0, sizeof b);
  b.stream = stream;
  b.plan = p;
  if (bam_cuda_cannot_capture(stream, "the measurement of algorithms"))
    return CUBLAS_STATUS_EXECUTION_FAILED;
  memset(trials, 0, sizeof trials);
  const bool open = open_bench(&b, call);
  for (int i = 0; i < count; i++)
    trials[i].runs = open && list[i].state == CUBLAS_STATUS_SUCCESS;
  for (int round = 0; round < ROUNDS; round++)
    for (int i = 0; i < count; i++)
      if (trials[i].runs && stream->failure[0] == '\0')
        run_once(&b, &list[i].algo, &trials[i], round);
  close_bench(&b);
  take(trials, count, list, chosen);
  return stream->failure[0] == '\0' ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
