/* npy files, NumPy's format for one array: magic, version, a header that is a Python dictionary,
   the data. */
#ifndef BAM_NPY_H
#define BAM_NPY_H

#include "../core/tensor.h"

struct bam_input_file;

/* Read the array in the npy file at `path` into *out, on the CPU. Versions 1.0, 2.0 and 3.0;
   element types f2, f4, f8, i4, i8, u1 and b1 of either byte order; at most 8 dimensions. An array
   in Fortran order becomes a transposed view. Fails with BAM_ERROR_FILE, naming the path and what is
   wrong, before memory for the array is taken. */
bam_status bam_npy_read(bam_context *context, const char *path, bam_tensor **out);

/* The same from an opened input. */
bam_status bam_npy_parse(bam_context *context, const struct bam_input_file *input, bam_tensor **out);

/* Replace or make the npy file (version 1.0, C order) at `path`, as a whole or not at all (see
   bam_writer). Any dtype but bf16, which NumPy lacks; any strides. */
bam_status bam_npy_write(bam_context *context, const char *path, bam_tensor *tensor);

#endif
