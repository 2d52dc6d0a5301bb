/* npy files, NumPy's format for a single array: magic, version, a header that is a Python dictionary
   literal, the data. A damaged or hostile file is an error, never a crash. Structured and object
   dtypes are not supported, so nothing is ever unpickled. */
#ifndef BAM_NPY_H
#define BAM_NPY_H

#include "../core/tensor.h"

struct bam_input_file;

/* Read the npy file at `path` into *out, a CPU tensor. Versions 1.0, 2.0 and 3.0; element types f2, f4, f8,
   i4, i8, u1 and b1 of either byte order; at most 8 dimensions. An array in Fortran order becomes a
   transposed view. Fails with BAM_ERROR_FILE, naming the path and the defect, before allocating memory
   for the array. */
bam_status bam_npy_read(bam_context *context, const char *path, bam_tensor **out);

/* bam_npy_read from an open input, which is borrowed. */
bam_status bam_npy_parse(bam_context *context, const struct bam_input_file *input,
                         bam_tensor **out);

/* Atomically create or replace the npy file (version 1.0, C order) at `path`, see bam_writer. Any strides
   and device; any dtype except bf16, which NumPy lacks. */
bam_status bam_npy_write(bam_context *context, const char *path, bam_tensor *tensor);

#endif
