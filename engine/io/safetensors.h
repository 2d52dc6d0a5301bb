/* Safetensors files: 8 bytes of header length (little-endian), a JSON header, the data. The whole header
   is checked against the file before any tensor is made, so a damaged or hostile file is an error,
   never a crash. */
#ifndef BAM_SAFETENSORS_H
#define BAM_SAFETENSORS_H

#include "../core/tensor.h"

/* Longer headers are refused in reading and writing, as in other implementations. */
#define BAM_SAFETENSORS_MAX_HEADER 100000000
/* Files with more tensors or more metadata strings are refused. The largest models have 100,000 tensors,
   in several files. */
#define BAM_SAFETENSORS_MAX_ENTRIES 1000000

/* One key and string of the file's __metadata__. */
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
  int64_t begin, end; /* byte range, from the start of the data */
} bam_safetensors_entry;

/* Open `path` and check its header. *out gets a handle owned by the caller. Supports the dtypes BOOL U8 I32
   I64 F16 BF16 F32 F64. Fails with BAM_ERROR_FILE, naming path, tensor and reason. Allocates the header
   and 120 bytes per tensor, whatever the header says. */
bam_status bam_safetensors_open(bam_context *context, const char *path, bam_safetensors **out);

/* bam_safetensors_open from an open input. Takes ownership of it, and closes it on failure. */
struct bam_input_file;
bam_status bam_safetensors_parse(bam_context *context, struct bam_input_file *input,
                                 bam_safetensors **out);

/* Close the file. Tensors made from it stay valid. NULL is allowed. */
void bam_safetensors_close(bam_safetensors *file);

/* The tensors of the file, sorted by name, and their number in *count. Borrowed. */
const bam_safetensors_entry *bam_safetensors_entries(const bam_safetensors *file, int64_t *count);

/* The index of the entry called `name`, or -1. */
int64_t bam_safetensors_find(const bam_safetensors *file, const char *name);

/* The metadata in file order, and the number of strings in *count. Borrowed. */
const bam_metadata *bam_safetensors_metadata(const bam_safetensors *file, int64_t *count);

/* Read the tensor of entry `i` into *out, a new CPU tensor. Fails, naming path and tensor, if the file has
   changed since it was opened (see input_file.h), or if a bool is neither 0 nor 1. */
bam_status bam_safetensors_tensor(const bam_safetensors *file, int64_t i, bam_tensor **out);

/* Read only rows [from, from + count) along the first dimension. They must exist. */
bam_status bam_safetensors_rows(const bam_safetensors *file, int64_t i, int64_t from, int64_t count,
                                bam_tensor **out);

/* Copy elements [from, from + count) of entry `i` to `data`. They must exist. Fails like
   bam_safetensors_tensor, but does not check bools. */
bam_status bam_safetensors_elements(const bam_safetensors *file, int64_t i, int64_t from,
                                    int64_t count, void *data);

/* ---- writing ---- */

typedef struct bam_named_tensor {
  const char *name;
  bam_tensor *tensor;
} bam_named_tensor;

/* Atomically create or replace the file at `path`, see bam_writer. The tensors are borrowed, and may have
   any strides and device. They are written in order of descending dtype size, then by name, which aligns
   each of them. The metadata is "format" = "pt", unless that key is given, followed by the given strings.
   Fails with BAM_ERROR_ARGUMENT if a name occurs twice, is not UTF-8, or is "__metadata__", and with
   BAM_ERROR_FILE if the file cannot be written. */
bam_status bam_safetensors_write(bam_context *context, const char *path,
                                 const bam_named_tensor *tensors, int64_t n,
                                 const bam_metadata *metadata, int64_t n_metadata);

/* The name of a dtype in these files ("F32"). */
const char *bam_safetensors_dtype(bam_dtype dtype);

#endif
