/* Which row goes where. Rows that meet at one place must be added, or chosen from, in one order
   whatever the threads do: moves are sorted by destination, those to one place staying in order. */
#ifndef BAM_CUDA_MOVES_H
#define BAM_CUDA_MOVES_H

#include "stream.h"

typedef struct bam_cuda_move {
  int64_t to; /* or -1: nowhere */
  int64_t from;
} bam_cuda_move;

/* Sort moves[n], in device memory, by `to`; the result is in `moves` or in `spare`, of the same
   size: it is returned. */
bam_cuda_move *bam_cuda_sort_moves(bam_stream stream, bam_cuda_move *moves, bam_cuda_move *spare,
                                   int64_t n);

#endif
