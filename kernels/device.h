/* A device: where tensors live and which kernels run there. The engine above this line knows a
   device only through these members, so a backend is a bam_device filled in by its own file.
   Work on a device is asynchronous; what goes wrong there is kept until `failure` is asked for,
   which the engine does after every op and every copy. */
#ifndef BAM_DEVICE_H
#define BAM_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels.h"
#include "dtype.h"

struct bam_storage;

/* Storage sizes are rounded up to one of eight classes per power of two. */
#define BAM_SIZE_CLASSES (8 * 58)

#define BAM_DEVICE_NAME 16 /* "cuda:15" */

typedef struct bam_device {
  char name[BAM_DEVICE_NAME]; /* "cpu", "cuda:0" */
  const char *isa;   /* "avx512", "avx2" or "baseline" on the CPU, else NULL */
  bool products_lag; /* on the CPU: does the library behind matrix products use a lesser set? */
  bool is_host;      /* host code may read and write its memory */
  int number;        /* among the context's devices: 0 is the CPU */
  bam_stream stream; /* passed to every kernel; kernels on one stream run in order */

  /* One table per dtype; NULL where the dtype only stores. */
  const bam_kernels *kernels[BAM_DTYPES];

  /* Raw memory, asked for in large pieces only. NULL when there is none. */
  void *(*system_alloc)(bam_stream stream, int64_t bytes);
  void (*system_free)(bam_stream stream, void *data, int64_t bytes);

  /* Plain copies; "in" and "out" are seen from the device. They return when host memory is free. */
  void (*copy_in)(bam_stream stream, void *device, const void *host, int64_t bytes);
  void (*copy_out)(bam_stream stream, void *host, const void *device, int64_t bytes);

  /* Convert `loop` elements (operand 0 = y, operand 1 = x) between any two dtypes. */
  void (*convert)(bam_stream stream, const bam_loop *loop, void *y, bam_dtype y_dtype,
                  const void *x, bam_dtype x_dtype);

  /* Wait for everything on the stream. */
  void (*synchronize)(bam_stream stream);

  /* Has anything gone wrong since this was last asked? Then `text` says what. NULL: nothing can. */
  bool (*failure)(bam_stream stream, char *text, size_t size);

  /* Measure the FLOP/s of f32 multiply-adds, of all threads, when nothing waits for memory; some
     milliseconds. NULL where only products can tell. */
  double (*peak)(void);

  /* Let products of f32 be computed from operands rounded to tf32. NULL: there is no such thing. */
  void (*allow_tf32)(bam_stream stream, bool allow);

  /* Free the stream. NULL: there is nothing to free. */
  void (*close)(bam_stream stream);

  int64_t live_bytes;     /* storage bytes in use */
  int64_t reserved_bytes; /* storage bytes held from the system, cached ones included */

  /* Cached storages by size class, and the piece of system memory being carved. */
  struct bam_storage *free_storages[BAM_SIZE_CLASSES];
  struct bam_region *regions;
} bam_device;

/* What a machine has of one kind of device. `why` receives, when there are none or one cannot be
   opened, what is missing and what to do. */
typedef struct bam_backend {
  const char *name; /* "cuda" */
  int (*count)(char *why, size_t size);

  /* Fill in *device for the `number`-th, which exists; false when that fails. */
  bool (*open)(bam_device *device, int number, char *why, size_t size);

  /* What the `number`-th is, as a line for people, and its memory. Does not open it. */
  void (*describe)(int number, char *text, size_t size, int64_t *bytes);
} bam_backend;

/* The backends compiled in, besides the CPU; ends with NULL. */
extern const bam_backend *const bam_backends[];

/* The CPU; with `plain`, its memory is malloc's. It has the kernels of the best instruction
   set this machine has (or of a lesser one named by the environment variable BAMLUA_ISA:
   "avx512", "avx2", "baseline"). */
void bam_device_init_cpu(bam_device *device, bool plain);

/* Write into `text`, cut to `size` bytes, the library and the kernels behind the CPU's matrix
   products ("OpenBLAS SkylakeX"); or what the CPU is ("avx512, products by OpenBLAS SkylakeX"). */
void bam_device_describe_products(char *text, size_t size);
void bam_device_describe_cpu(char *text, size_t size);

/* The CPU's conversion between dtypes (kernels/cpu/convert.c). */
void bam_cpu_convert(bam_stream stream, const bam_loop *loop, void *y, bam_dtype y_dtype,
                     const void *x, bam_dtype x_dtype);

#endif
