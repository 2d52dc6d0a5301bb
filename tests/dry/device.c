/* A device that computes nothing: memory is only counted, kernels do nothing, and what is copied back is 0. On it a
   training step of a model of any size takes a fraction of a second, and asks for the memory that it would ask of a
   GPU. Rows are routed evenly to the experts. It calls itself "cuda", and has as much memory as an H200 or, if the
   environment says so, BAMLUA_DRY_MEMORY bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../kernels/device.h"

/* ---- kernels ---- */

#pragma GCC diagnostic ignored "-Wunused-parameter"
#define IDLE(name, parameters) \
  static void idle_##name parameters {}
BAM_KERNELS_ANY(IDLE)
BAM_KERNELS_REAL(IDLE)

static void no_scratch(bam_stream stream, int64_t *forward, int64_t *backward,
                       const bam_attention *attention) {
  *forward = *backward = 0;
}

/* What offsets the host will ask for. */
static struct {
  const void *at;
  int64_t rows, experts;
} offsets;

static void note_offsets(bam_stream stream, int64_t *rows, int64_t *slots, int64_t *at,
                         const int64_t *chosen, int64_t assignments, int64_t experts) {
  offsets.at = at;
  offsets.rows = assignments;
  offsets.experts = experts;
}

static const bam_kernels *table(void) {
  static bam_kernels kernels;
#define MEMBER(name, parameters) kernels.name = idle_##name;
  BAM_KERNELS_ANY(MEMBER)
  BAM_KERNELS_REAL(MEMBER)
  kernels.attention_scratch = no_scratch;
  kernels.sort_by_expert = note_offsets;
  return &kernels;
}

/* ---- memory: addresses that nothing may touch ---- */

#define PAGE (16LL << 20) /* as kernels/cuda/pages.cu has */

static int64_t taken; /* bytes */

static int64_t capacity(void) {
  const char *text = getenv("BAMLUA_DRY_MEMORY");
  return text != NULL ? strtoll(text, NULL, 10) : 1398LL * (1LL << 30) / 10;
}

static void *take(bam_stream stream, int64_t bytes) {
  static uintptr_t next = (uintptr_t)1 << 40;
  const uintptr_t start = next;
  if (taken + bytes > capacity())
    return NULL;
  taken += bytes;
  next += ((uintptr_t)bytes + 511) / 512 * 512;
  return (void *)start;
}

static void give(bam_stream stream, void *data, int64_t bytes) { taken -= bytes; }

static void *reserve(bam_stream stream, int64_t bytes) { return (void *)((uintptr_t)1 << 44); }

static void unreserve(bam_stream stream, void *data, int64_t bytes) {}

static int64_t map(bam_stream stream, void *data, int64_t bytes) {
  const int64_t room = (capacity() - taken) / PAGE * PAGE;
  const int64_t got = bytes < room ? bytes : room;
  taken += got;
  return got;
}

static bool move(bam_stream stream, void *to, void *from, int64_t bytes) { return true; }

static void copy_in(bam_stream stream, void *device, const void *host, int64_t bytes) {}

static void copy_out(bam_stream stream, void *host, const void *device, int64_t bytes) {
  memset(host, 0, (size_t)bytes);
  if (device == offsets.at && bytes == (offsets.experts + 1) * (int64_t)sizeof(int64_t))
    for (int64_t i = 0; i <= offsets.experts; i++)
      ((int64_t *)host)[i] = offsets.rows * i / offsets.experts;
}

static void convert(bam_stream stream, const bam_loop *loop, void *y, bam_dtype y_dtype,
                    const void *x, bam_dtype x_dtype) {}

static void synchronize(bam_stream stream) {}

/* ---- the backend ---- */

static int count(char *why, size_t size) { return 1; }

static bool open_device(bam_device *device, int number, char *why, size_t size) {
  for (int dtype = 0; dtype < BAM_DTYPES; dtype++)
    if (dtype != BAM_F16)
      device->kernels[dtype] = table();
  device->system_alloc = take;
  device->system_free = give;
  device->page_bytes = PAGE;
  device->reserve = reserve;
  device->unreserve = unreserve;
  device->map = map;
  device->unmap = give;
  device->move = move;
  device->copy_in = copy_in;
  device->copy_out = copy_out;
  device->convert = convert;
  device->synchronize = synchronize;
  return true;
}

static void describe(int number, char *text, size_t size, int64_t *bytes) {
  snprintf(text, size, "counts memory and computes nothing");
  *bytes = capacity();
}

extern const bam_backend bam_cuda_backend;
const bam_backend bam_cuda_backend = { "cuda", count, open_device, describe };
