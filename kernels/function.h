/* What headers that several devices share begin with. */
#ifndef BAM_FUNCTION_H
#define BAM_FUNCTION_H

#include <stdbool.h>
#include <stdint.h>

/* A small function that kernels may call. */
#ifdef __cplusplus
#define BAM_FUNCTION static __host__ __device__ __forceinline__
#else
#define BAM_FUNCTION static inline
#endif

#endif
