/* Safetensors files: 8 bytes of header length (little-endian), a JSON header, the data. Everything
   the header says is checked against the file before a single tensor is made, so a damaged or
   hostile file is an error and nothing else. */
#ifndef BAM_SAFETENSORS_H
#define BAM_SAFETENSORS_H

#include "../core/tensor.h"

/* Longer headers are refused, reading and writing, as by other implementations. */
#define BAM_SAFETENSORS_MAX_HEADER 100000000
/* Files of more tensors, or more strings of metadata, are not read. The largest models have 100,000
   tensors, in several files. */
#define BAM_SAFETENSORS_MAX_ENTRIES 1000000

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
   F32 F64. Memory: the header and 120 bytes per tensor, whatever the header says. */
bam_status bam_safetensors_open(bam_context *context, const char *path, bam_safetensors **out);

/* The same from an opened input, which it takes over, and closes on failure. */
struct bam_input_file;
bam_status bam_safetensors_parse(bam_context *context, struct bam_input_file *input,
                                 bam_safetensors **out);

/* Close the file. Tensors made from it stay valid. NULL is legal. */
void bam_safetensors_close(bam_safetensors *file);

/* Its tensors, sorted by name, and how many there are. */
const bam_safetensors_entry *bam_safetensors_entries(const bam_safetensors *file, int64_t *count);

/* Position of `name` in the entries, or -1. */
int64_t bam_safetensors_find(const bam_safetensors *file, const char *name);

/* Its metadata in the order of the file, and how many there are. */
const bam_metadata *bam_safetensors_metadata(const bam_safetensors *file, int64_t *count);

/* The tensor of entry `i`, on the CPU, in *out: read from the file now, and then the caller's own.
   Fails, naming path and tensor, when the file is not what it was when it was opened (see bam_input_file),
   and for bools other than 0 and 1. */
bam_status bam_safetensors_tensor(const bam_safetensors *file, int64_t i, bam_tensor **out);

/* The same of rows [from, from + count), which must be there, along the first dimension. */
bam_status bam_safetensors_rows(const bam_safetensors *file, int64_t i, int64_t from, int64_t count,
                                bam_tensor **out);

/* Copy elements [from, from + count) of entry `i`, which must be there, to `data`. Fails like
   bam_safetensors_tensor; bools are not checked. */
bam_status bam_safetensors_elements(const bam_safetensors *file, int64_t i, int64_t from,
                                    int64_t count, void *data);

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
