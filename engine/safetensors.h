/* Safetensors files: 8 bytes of header length (little-endian), a JSON header, the data. Everything
   the header says is checked against the file before a single tensor is made, so a damaged or
   hostile file is an error and nothing else. */
#ifndef BAM_SAFETENSORS_H
#define BAM_SAFETENSORS_H

#include "tensor.h"

/* Longer headers are refused, reading and writing, as by other implementations. */
#define BAM_SAFETENSORS_MAX_HEADER 100000000

/* One string of the file's __metadata__. */
typedef struct bam_metadata {
  const char *key, *value;
} bam_metadata;

/* ---- reading ---- */

typedef struct bam_safetensors bam_safetensors; /* an open, checked file */

/* One tensor as the header describes it. */
typedef struct bam_safetensors_entry {
  const char *name; /* valid until the file is closed */
  bam_dtype dtype;
  bam_shape shape;
  int64_t begin, end; /* its bytes, counted from the start of the data */
} bam_safetensors_entry;

/* Open `path` and check its header: a handle in *out, owned by the caller. Fails with
   BAM_ERROR_FILE, naming path, tensor and reason. Tensors may be of dtype BOOL U8 I32 I64 F16 BF16
   F32 F64. */
bam_status bam_safetensors_open(bam_context *context, const char *path, bam_safetensors **out);

/* The same over bytes already mapped, of which it takes a reference of its own; errors name no
   path. */
struct bam_mapping;
bam_status bam_safetensors_parse(bam_context *context, struct bam_mapping *mapping,
                                 bam_safetensors **out);

/* Close the file. Tensors made from it stay valid. NULL is legal. */
void bam_safetensors_close(bam_safetensors *file);

/* Its tensors, sorted by name, and how many there are. */
const bam_safetensors_entry *bam_safetensors_entries(const bam_safetensors *file, int64_t *count);

/* Position of `name` in the entries, or -1. */
int64_t bam_safetensors_find(const bam_safetensors *file, const char *name);

/* Its metadata in the order of the file, and how many there are. */
const bam_metadata *bam_safetensors_metadata(const bam_safetensors *file, int64_t *count);

/* The tensor of entry `i`, on the CPU, in *out. It shares the mapped file, privately, unless its
   place there is not aligned for its dtype: then it is a copy. Changing it never changes the file;
   see bam_mapping on what must not be done to a file in use. */
bam_status bam_safetensors_tensor(const bam_safetensors *file, int64_t i, bam_tensor **out);

/* ---- writing ---- */

typedef struct bam_named_tensor {
  const char *name;
  bam_tensor *tensor;
} bam_named_tensor;

/* Replace or make the file at `path`, as a whole or not at all (see bam_writer). Tensors (borrowed,
   of any strides and device) are laid out by descending size of their dtype, then by name, so that
   each is aligned. The metadata are "format" = "pt" unless given, then the given ones. Fails with
   BAM_ERROR_ARGUMENT when a name occurs twice, is not UTF-8, or is "__metadata__", and with
   BAM_ERROR_FILE when the file cannot be written. */
bam_status bam_safetensors_write(bam_context *context, const char *path,
                                 const bam_named_tensor *tensors, int64_t n,
                                 const bam_metadata *metadata, int64_t n_metadata);

/* The name of a dtype in these files ("F32"). */
const char *bam_safetensors_dtype(bam_dtype dtype);

#endif
