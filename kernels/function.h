/* Function qualifiers for headers shared by all devices. */
#ifndef BAM_FUNCTION_H
#define BAM_FUNCTION_H

#include <stdbool.h>
#include <stdint.h>

/* A small inline function callable from kernels. */
#ifdef __cplusplus
#define BAM_FUNCTION static __host__ __device__ __forceinline__
#else
#define BAM_FUNCTION static inline
#endif

#endif
