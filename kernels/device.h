/* A device: memory for tensors, and the kernels that run on it. The engine knows a device only through
   these members, so a backend is a file that fills in a bam_device. Work is asynchronous: an error is
   kept until the engine calls `failure`, which it does after every op and every copy. */
#ifndef BAM_DEVICE_H
#define BAM_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dtype.h"
#include "kernels.h"

struct bam_storage;
struct bam_region;
struct bam_arena;

/* Storage sizes are rounded up to one of eight classes per power of two, except large ones on a GPU. */
#define BAM_SIZE_CLASSES (8 * 58)

#define BAM_DEVICE_NAME 16 /* "cuda:15" */

/* How a product of matrices is computed where a library has several algorithms for it. */
#define BAM_PRODUCT_NAME 384
typedef struct bam_algorithm {
  char product[BAM_PRODUCT_NAME]; /* a description of types, sizes, layout and alignment, unique */
  uint8_t
    bytes[64]; /* the algorithm in the words of one version of the library on one kind of device */
  int rank;    /* among the library's proposals, from 1; 0: a kernel of this program instead */
  double ms, first_ms; /* measured: of it, and of the library's first proposal; 0 if not measured */
  bool used;           /* for a product, since the list was set */
} bam_algorithm;

typedef struct bam_device {
  char name[BAM_DEVICE_NAME]; /* "cpu", "cuda:0" */
  const char *isa;            /* "avx512", "avx2" or "baseline" on the CPU, else NULL */
  bool is_host;               /* host code may read and write its memory */
  int number;                 /* index in the context's devices; 0 is the CPU */
  int64_t total_bytes;        /* memory of the device; 0 on the CPU, or if unknown */
  bam_stream stream;          /* passed to every kernel; kernels on one stream run in order */

  /* One table per dtype; NULL for those that the device only stores. */
  const bam_kernels *kernels[BAM_DTYPES];

  /* Products of FP8 operands. NULL: not supported. */
  const struct bam_fp8_kernels *fp8;

  /* Allocate raw memory; called only for large blocks. NULL if the device is out of memory. */
  void *(*system_alloc)(bam_stream stream, int64_t bytes);
  void (*system_free)(bam_stream stream, void *data, int64_t bytes);

  /* Memory in pages, placed at addresses of the engine's choice. All NULL if the device cannot do that.
     Addresses and sizes are multiples of page_bytes. */
  int64_t page_bytes;
  void *(*reserve)(bam_stream stream,
                   int64_t bytes); /* addresses without memory; NULL: impossible */
  void (*unreserve)(bam_stream stream, void *data, int64_t bytes);

  /* Back addresses with new memory, from the first on; returns how many bytes, fewer than asked for if
     the device is out of memory. */
  int64_t (*map)(bam_stream stream, void *data, int64_t bytes);

  /* Return the memory to the system, or move it to other addresses. No work that is still running may
     use it. If a move fails, the memory is returned to the system. */
  void (*unmap)(bam_stream stream, void *data, int64_t bytes);
  bool (*move)(bam_stream stream, void *to, void *from, int64_t bytes);

  /* Tell a checker of memory accesses which blocks of reserved addresses are in use. Not NULL in tests
     only: then there is a gap behind every block. */
  void (*mark)(bam_stream stream, void *data, int64_t bytes, bool used);

  /* Plain copies; "in" and "out" are from the device's point of view. They return once the host memory
     may be reused. */
  void (*copy_in)(bam_stream stream, void *device, const void *host, int64_t bytes);
  void (*copy_out)(bam_stream stream, void *host, const void *device, int64_t bytes);

  /* The same in two calls, between which the host can enqueue other work: begin a copy of a few bytes, and get
     its number, or 0: it was not begun; wait for it and write the bytes to `host`. False if it was not begun, or
     if later copies have taken its place, and `host` is then untouched. A copy need not be finished. NULL: there
     is nothing to wait for. */
  uint64_t (*begin_copy_out)(bam_stream stream, const void *device, int64_t bytes);
  bool (*finish_copy_out)(bam_stream stream, uint64_t number, void *host, int64_t bytes);

  /* Convert `loop` elements (operand 0 = y, operand 1 = x) between any two dtypes. */
  void (*convert)(bam_stream stream, const bam_loop *loop, void *y, bam_dtype y_dtype,
                  const void *x, bam_dtype x_dtype);

  /* Wait for all work on the stream. */
  void (*synchronize)(bam_stream stream);

  /* Whether anything failed since the last call; `text` then gets the reason. NULL: cannot fail. */
  bool (*failure)(bam_stream stream, char *text, size_t size);

  /* Graphs: work that is recorded once and launched many times, with the same memory and numbers. After begin_capture
     what is asked of the stream is recorded and does not run; what cannot be recorded (waits, copies from and to the
     host, system_free) fails. end_capture returns the graph, which keeps its memory until free_graph; NULL if something
     failed, or if it is not to be kept. free_graph waits for the stream. NULL: the device has no graphs. */
  void (*begin_capture)(bam_stream stream);
  struct bam_device_graph *(*end_capture)(bam_stream stream, bool keep);
  void (*launch_graph)(bam_stream stream, struct bam_device_graph *graph);
  void (*free_graph)(bam_stream stream, struct bam_device_graph *graph);

  /* Measure the peak FLOP/s of f32 multiply-adds on all threads, without memory traffic; takes some
     milliseconds. NULL: measure matrix products instead. */
  double (*peak)(void);

  /* Allow f32 operands of matrix products to be rounded to tf32. NULL: not supported. */
  void (*allow_tf32)(bam_stream stream, bool allow);

  /* Write the name and version of the library of matrix products, which it opens. False if that fails. NULL here
     and in the next two where products have one implementation. */
  bool (*library)(bam_stream stream, char *text, size_t size);

  /* Compute products by these algorithms. Others take the library's first proposal or, with `measure`, the fastest of
     several that repeats its bits, measured when a product first comes, and added to the list. False on failure. */
  bool (*set_algorithms)(bam_stream stream, const bam_algorithm *list, int64_t count, bool measure);

  /* The list, valid until the next product. */
  const bam_algorithm *(*algorithms)(bam_stream stream, int64_t *count);

  /* Free the stream. NULL: nothing to free. */
  void (*close)(bam_stream stream);

  double flops; /* of the matrix products and attention that were asked of it, see core/profile.h */
  int64_t live_bytes;     /* storage bytes in use */
  int64_t peak_bytes;     /* the maximum of live_bytes so far */
  int64_t reserved_bytes; /* storage bytes held from the system, cached ones included */

  /* Cached storages by size class (core/memory.c), the regions from which small ones are cut, and the
     blocks of large ones. */
  struct bam_storage *free_storages[BAM_SIZE_CLASSES];
  struct bam_region *regions;
  struct bam_arena *arena;
  bool capturing; /* between begin_capture and end_capture (core/capture.c) */
} bam_device;

/* A kind of device. If none is present or one cannot be opened, `why` gets the reason and what to do. */
typedef struct bam_backend {
  const char *name; /* "cuda" */
  int (*count)(char *why, size_t size);

  /* Open the `number`-th device, which exists, and fill in *device. False on failure. */
  bool (*open)(bam_device *device, int number, char *why, size_t size);

  /* Describe the `number`-th device in one line of text, and get its memory in bytes, without opening
     it. */
  void (*describe)(int number, char *text, size_t size, int64_t *bytes);
} bam_backend;

/* The compiled-in backends besides the CPU, NULL-terminated. */
extern const bam_backend *const bam_backends[];

/* Fill in the CPU device. With `plain` its memory comes from malloc. The kernels are those for the best
   instruction set of this machine, or for the one named by the environment variable BAMLUA_ISA
   ("avx512", "avx2", "baseline") if that is older. */
void bam_device_init_cpu(bam_device *device, bool plain);

/* The instruction set of the CPU's kernels. */
const char *bam_device_describe_cpu(void);

/* The CPU's conversion between dtypes (kernels/cpu/convert.c). */
void bam_cpu_convert(bam_stream stream, const bam_loop *loop, void *y, bam_dtype y_dtype,
                     const void *x, bam_dtype x_dtype);

#endif
