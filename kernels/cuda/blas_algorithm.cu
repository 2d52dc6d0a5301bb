/* Which algorithm computes a product: a known one; otherwise the heuristic's first proposal, or the fastest of
   its proposals, which then is known. */
#include "blas_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the heuristic ---- */

/* What an algorithm may do. Of those that cut k into parts, only the ones that keep the parts in
   the workspace and then add them up: parts added to C in place need not come in one order. */
static cublasStatus_t prefer(const bam_blas_library *lt, cublasLtMatmulPreference_t preference,
                             const bam_blas_product *g) {
  const uint64_t workspace = BAM_BLAS_WORKSPACE;
  const uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_NONE |
                             CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  const uint32_t a = (uint32_t)g->align_a, b = (uint32_t)g->align_b, c = (uint32_t)g->align_c;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
#define PREFER(name, value)                                                                  \
  BAM_THEN(lt->MatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_##name, &value, \
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

/* The first `wanted` proposals, of which *found exist; none if the library refuses the product. */
static cublasStatus_t propose(const bam_cuda_blas *blas, const bam_blas_plan *p, int wanted,
                              cublasLtMatmulHeuristicResult_t *list, int *found) {
  const bam_blas_library *lt = &blas->lt;
  cublasLtMatmulPreference_t preference = NULL;
  cublasStatus_t status = lt->MatmulPreferenceCreate(&preference);
  *found = 0;
  BAM_THEN(prefer(lt, preference, &p->what));
  BAM_THEN(lt->MatmulAlgoGetHeuristic(blas->handle, p->operation, p->b, p->a, p->c, p->c,
                                      preference, wanted, list, found));
  if (preference != NULL)
    lt->MatmulPreferenceDestroy(preference);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED ||
      (*found > 0 && list[0].state == CUBLAS_STATUS_NOT_SUPPORTED)) {
    *found = 0;
    return CUBLAS_STATUS_SUCCESS;
  }
  BAM_THEN(*found > 0 ? list[0].state : CUBLAS_STATUS_SUCCESS);
  return status;
}

/* ---- known algorithms ---- */

static void describe(const bam_blas_product *p, char text[BAM_PRODUCT_NAME]) {
  const int length = bam_blas_name(p, text, BAM_PRODUCT_NAME);
  snprintf(text + length, (size_t)(BAM_PRODUCT_NAME - length),
           ", matrices %lld, %lld and %lld apart, aligned to %lld, %lld and %lld bytes, in %s%s",
           (long long)p->stride_a, (long long)p->stride_b, (long long)p->stride_c,
           (long long)p->align_a, (long long)p->align_b, (long long)p->align_c,
           bam_blas_type_name(p->c_type), p->tf32 ? " by tf32" : "");
}

static bam_algorithm *find_known(const bam_cuda_blas *blas, const char *product) {
  for (int64_t i = 0; i < blas->known_count; i++)
    if (strcmp(blas->known[i].product, product) == 0)
      return &blas->known[i];
  return NULL;
}

/* Make room for `count` more; false if there is no memory, which is noted. */
static bool reserve(bam_stream stream, int64_t count) {
  bam_cuda_blas *blas = stream->blas;
  const int64_t places = 2 * (blas->known_count + count);
  if (blas->known_count + count <= blas->known_places)
    return true;
  void *list = realloc(blas->known, (size_t)places * sizeof *blas->known);
  if (list == NULL) {
    bam_cuda_fail(stream, "out of memory");
    return false;
  }
  blas->known = (bam_algorithm *)list;
  blas->known_places = places;
  return true;
}

/* Let a plan use a known algorithm, unless the library does not know it. */
static cublasStatus_t use(bam_stream stream, bam_blas_plan *p, bam_algorithm *known) {
  const bam_cuda_blas *blas = stream->blas;
  cublasLtMatmulHeuristicResult_t result;
  known->used = true;
  p->plain = known->rank == 0;
  if (p->plain)
    return CUBLAS_STATUS_SUCCESS;
  memcpy(&p->algorithm, known->bytes, sizeof p->algorithm);
  const cublasStatus_t status = blas->lt.MatmulAlgoCheck(blas->handle, p->operation, p->b, p->a,
                                                         p->c, p->c, &p->algorithm, &result);
  if (status == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= BAM_BLAS_WORKSPACE)
    return status;
  bam_cuda_fail(
    stream, "cuBLASLt does not have the recorded algorithm of a product of %s: measure it again",
    known->product);
  return CUBLAS_STATUS_EXECUTION_FAILED;
}

/* ---- the choice ---- */

static cublasStatus_t measure(bam_stream stream, bam_blas_plan *p, const bam_blas_call *call,
                              const cublasLtMatmulHeuristicResult_t *list, int count) {
  bam_cuda_blas *blas = stream->blas;
  if (!reserve(stream, 1))
    return CUBLAS_STATUS_EXECUTION_FAILED;
  bam_algorithm *known = &blas->known[blas->known_count];
  memset(known, 0, sizeof *known);
  describe(&p->what, known->product);
  const cublasStatus_t status = bam_blas_measure(stream, p, call, list, count, known);
  if (status != CUBLAS_STATUS_SUCCESS)
    return status;
  blas->known_count++;
  known->used = true;
  p->plain = known->rank == 0;
  memcpy(&p->algorithm, known->bytes, sizeof p->algorithm);
  return status;
}

/* A size that its class's algorithm refuses is not measured: there may be a new one in every step. */
cublasStatus_t bam_blas_choose(bam_stream stream, bam_blas_plan *p, const bam_blas_call *call) {
  const bam_cuda_blas *blas = stream->blas;
  const bool measures = blas->measure && !p->what.outcast;
  cublasLtMatmulHeuristicResult_t list[BAM_BLAS_PROPOSALS];
  char product[BAM_PRODUCT_NAME];
  int found = 0;
  if (blas->known_count > 0 && !p->what.outcast) {
    describe(&p->what, product);
    bam_algorithm *known = find_known(blas, product);
    if (known != NULL)
      return use(stream, p, known);
  }
  memset(list, 0, sizeof list);
  const cublasStatus_t status = propose(blas, p, measures ? BAM_BLAS_PROPOSALS : 1, list, &found);
  p->refused = status == CUBLAS_STATUS_SUCCESS && found == 0;
  if (status != CUBLAS_STATUS_SUCCESS || p->refused)
    return status;
  if (measures)
    return measure(stream, p, call, list, found);
  p->algorithm = list[0].algo;
  return status;
}

/* ---- for the engine ---- */

bool bam_cuda_blas_library(bam_stream stream, char *text, size_t size) {
  if (!bam_blas_open(stream))
    return false;
  const int version = (int)stream->blas->lt.GetVersion();
  snprintf(text, size, "cuBLASLt %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
  return true;
}

bool bam_cuda_blas_set_algorithms(bam_stream stream, const bam_algorithm *list, int64_t count,
                                  bool measure) {
  if (!bam_blas_open(stream))
    return false;
  bam_cuda_blas *blas = stream->blas;
  if (count > blas->known_places && !reserve(stream, count))
    return false;
  if (count > 0)
    memcpy(blas->known, list, (size_t)count * sizeof *list);
  for (int64_t i = 0; i < count; i++)
    blas->known[i].used = false;
  blas->known_count = count;
  blas->measure = measure;
  bam_blas_drop_plans(blas);
  return true;
}

const bam_algorithm *bam_cuda_blas_algorithms(bam_stream stream, int64_t *count) {
  const bam_cuda_blas *blas = stream->blas;
  *count = blas != NULL ? blas->known_count : 0;
  return blas != NULL ? blas->known : NULL;
}
