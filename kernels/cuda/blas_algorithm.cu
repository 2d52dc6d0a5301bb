/* Which algorithm computes a product. */
#include "blas_plan.h"

#include <string.h>

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

cublasStatus_t bam_blas_choose(bam_cuda_blas *blas, bam_blas_plan *p) {
  const bam_blas_library *lt = &blas->lt;
  cublasLtMatmulPreference_t preference = NULL;
  cublasLtMatmulHeuristicResult_t first;
  int found = 0;
  cublasStatus_t status = lt->MatmulPreferenceCreate(&preference);
  memset(&first, 0, sizeof first);
  BAM_THEN(prefer(lt, preference, &p->what));
  BAM_THEN(lt->MatmulAlgoGetHeuristic(blas->handle, p->operation, p->b, p->a, p->c, p->c,
                                      preference, 1, &first, &found));
  if (preference != NULL)
    lt->MatmulPreferenceDestroy(preference);
  p->refused = status == CUBLAS_STATUS_NOT_SUPPORTED ||
               (status == CUBLAS_STATUS_SUCCESS &&
                (found == 0 || first.state == CUBLAS_STATUS_NOT_SUPPORTED));
  if (p->refused)
    return CUBLAS_STATUS_SUCCESS;
  BAM_THEN(first.state);
  p->algorithm = first.algo;
  return status;
}
