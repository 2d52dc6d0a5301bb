/* Measuring the algorithms that cuBLASLt's heuristic proposes, with the operands of a product that is to be
   computed. They take turns, so that a device that slows down slows down all. One whose result is not the
   same each time is never chosen: runs must repeat their bits. */
#include "blas_plan.h"

#include <string.h>

#define ROUNDS 6    /* the first is not measured */
#define MARGIN 1.02 /* differences of 2 % are noise: then the one that the heuristic prefers */

struct trial {
  bool runs, repeats;
  uint64_t bits;
  double ms[ROUNDS];
};

struct bench {
  bam_stream stream;
  const bam_blas_plan *plan;
  const bam_blas_call *call;
  cudaEvent_t from, to;
  void *memory; /* for the hash, then for a result that must not be the product's own */
  void *d;      /* where results go */
};

/* ---- the bench ---- */

/* Bytes from the first element of C to the last. */
static int64_t extent_of(const bam_blas_product *p) {
  const int64_t size = p->c_type == BAM_CUDA_F64 ? 8 : p->c_type == BAM_CUDA_F32 ? 4 : 2;
  return ((p->batch - 1) * p->stride_c + (p->m - 1) * p->ldc + p->n) * size;
}

/* A product that adds to C needs C as it is every time. False if memory is short, or something failed. */
static bool open_bench(bench *b) {
  const bool adds = b->call->gemm->beta != 0;
  const int64_t bytes = adds ? extent_of(&b->call->exact) : 0;
  bam_stream stream = b->stream;
  bam_cuda_note(stream, "synchronize",
                cudaDeviceSynchronize()); /* other lanes would be measured too */
  b->memory = bam_cuda_malloc(stream, BAM_BLAS_HASH_SCRATCH + bytes);
  b->d = adds ? (char *)b->memory + BAM_BLAS_HASH_SCRATCH : b->call->c;
  if (b->memory == NULL)
    return false;
  bam_cuda_note(stream, "cudaEventCreate", cudaEventCreate(&b->from));
  bam_cuda_note(stream, "cudaEventCreate", cudaEventCreate(&b->to));
  return stream->failure[0] == '\0';
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
  bam_cuda_note(b->stream, "measuring", cudaEventRecord(b->from, b->stream->queue));
  t->runs = bam_blas_run(b->stream, b->plan, b->call, algorithm, b->d) == CUBLAS_STATUS_SUCCESS;
  bam_cuda_note(b->stream, "measuring", cudaEventRecord(b->to, b->stream->queue));
  if (!t->runs)
    return;
  const uint64_t bits = bam_blas_hash(b->stream, &b->call->exact, b->d, b->memory); /* waits */
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
  bench b = { stream, p, call, NULL, NULL, NULL, NULL };
  cublasStatus_t status = bam_blas_resize(&stream->blas->lt, p, &call->exact);
  if (bam_cuda_is_fp8(p->what.type))
    BAM_THEN(bam_blas_set_scales(&stream->blas->lt, p, call->gemm));
  memset(trials, 0, sizeof trials);
  const bool open = status == CUBLAS_STATUS_SUCCESS && open_bench(&b);
  for (int i = 0; i < count; i++)
    trials[i].runs = open && list[i].state == CUBLAS_STATUS_SUCCESS;
  for (int round = 0; round < ROUNDS; round++)
    for (int i = 0; i < count; i++)
      if (trials[i].runs && stream->failure[0] == '\0')
        run_once(&b, &list[i].algo, &trials[i], round);
  close_bench(&b);
  take(trials, count, list, chosen);
  return stream->failure[0] == '\0' ? status : CUBLAS_STATUS_EXECUTION_FAILED;
}
