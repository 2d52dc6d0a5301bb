/* A device: where tensors live and which kernels run there. The engine above this line knows a
   device only through these members, so a backend is a bam_device filled in by its own file. */
#ifndef BAM_DEVICE_H
#define BAM_DEVICE_H

#include <stdint.h>

#include "../kernels/kernels.h"
#include "dtype.h"

struct bam_storage;

/* Storage sizes are rounded up to one of eight classes per power of two. */
#define BAM_SIZE_CLASSES (8 * 58)

typedef struct bam_device {
  const char *name; /* "cpu" */
  const char *isa;  /* "avx512", "avx2" or "baseline" on the CPU */
  bam_stream stream; /* passed to every kernel; kernels on one stream run in order */

  /* One table per dtype; NULL where the dtype only stores. A NULL kernel is "missing here". */
  const bam_kernels *kernels[BAM_DTYPES];

  /* Raw memory, asked for in large pieces only. NULL when there is none. */
  void *(*system_alloc)(int64_t bytes);
  void (*system_free)(void *data, int64_t bytes);

  /* Plain copies; "in" and "out" are seen from the device. They return when host memory is free. */
  void (*copy_in)(bam_stream stream, void *device, const void *host, int64_t bytes);
  void (*copy_out)(bam_stream stream, void *host, const void *device, int64_t bytes);

  /* Convert `loop` elements (operand 0 = y, operand 1 = x) between any two dtypes. */
  void (*convert)(bam_stream stream, const bam_loop *loop, void *y, bam_dtype y_dtype,
                  const void *x, bam_dtype x_dtype);

  /* Wait for everything on the stream. */
  void (*synchronise)(bam_stream stream);

  /* Cached storages by size class, and the piece of system memory being carved. */
  struct bam_storage *free_storages[BAM_SIZE_CLASSES];
  struct bam_region *regions;
} bam_device;

/* The CPU; with `plain`, its memory is malloc's. It has the kernels of the best instruction
   set this machine has (or of a lesser one named by the environment variable BAMLUA_ISA:
   "avx512", "avx2", "baseline"). */
void bam_device_init_cpu(bam_device *device, bool plain);

/* The CPU's conversion between dtypes (kernels/cpu/convert.c). */
void bam_cpu_convert(bam_stream stream, const bam_loop *loop, void *y, bam_dtype y_dtype,
                     const void *x, bam_dtype x_dtype);

#endif
