/* The CUDA kernel table of one dtype. */
#define BAM_JOIN3_(a, b, c) a##b##_##c
#define BAM_JOIN3(a, b, c) BAM_JOIN3_(a, b, c)
#define KERNEL(name) BAM_JOIN3(bam_cuda_, BAM_TYPE, name)

#include "../table.h"
