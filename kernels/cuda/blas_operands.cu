/* What products are measured with: random operands, and a hash of the result. */
#include "blas_plan.h"

#define BAM_TYPE f32 /* cuda.h wants one; the kernels here are templates */
#define BAM_TYPE_f32
#include "cuda.h"

/* The finalizer of splitmix64 (Steele and others 2014): every bit of x changes about half of the result's. */
static __device__ unsigned long long mix(unsigned long long x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/* Numbers that have the bits of `mask` at random, those of `base`, and no others. */
template <class W>
static __global__ void fill_randomly(W *x, int64_t n, unsigned long long seed, W mask, W base) {
  BAM_EACH(i, n)
  x[i] = (W)((mix(seed + (unsigned long long)i) & mask) | base);
}

template <class W>
static void fill_words(bam_stream stream, void *x, int64_t n, uint64_t seed, W mask, W base) {
  BAM_LAUNCH(stream, (fill_randomly<W>), BAM_BLOCKS(n), BAM_BLOCK, 0, (W *)x, n,
             (unsigned long long)seed << 56, mask, base);
}

/* Signs, significands and some bits of exponents are random: 2^-15 <= |x| < 2, of FP8 0 <= |x| < 2. With less
   of a range, sums of bf16 would be exact in f32, whatever their order. */
void bam_blas_fill(bam_stream stream, int64_t type, void *x, int64_t n, uint64_t seed) {
  if (type == BAM_CUDA_F64)
    fill_words<unsigned long long>(stream, x, n, seed, 0x80ffffffffffffffu, 0x3f00000000000000u);
  else if (type == BAM_CUDA_F32)
    fill_words<unsigned>(stream, x, n, seed, 0x87ffffffu, 0x38000000u);
  else if (type == BAM_CUDA_BF16)
    fill_words<unsigned short>(stream, x, n, seed, 0x87ff, 0x3800);
  else
    fill_words<unsigned char>(stream, x, n, seed, 0xbf, 0);
}

/* Add up hashes of the n words and their places: integers, whose sum does not depend on the order. */
template <class W>
static __global__ void hash_rows(unsigned long long *sum, const W *c, int64_t n, int64_t columns,
                                 int64_t ldc, int64_t rows, int64_t stride) {
  unsigned long long hash = 0;
  BAM_EACH(i, n) {
    const int64_t row = i / columns;
    const W word = c[row / rows * stride + row % rows * ldc + i % columns];
    hash += mix((unsigned long long)i * 0x9e3779b97f4a7c15u + mix(word));
  }
  hash = block_sum(hash);
  if (threadIdx.x == 0)
    atomicAdd(sum, hash);
}

template <class W>
static void hash_words(bam_stream stream, const bam_blas_product *p, unsigned long long *sum,
                       const void *c) {
  const int64_t n = p->batch * p->m * p->n;
  BAM_LAUNCH(stream, (hash_rows<W>), BAM_BLOCKS(n), BAM_BLOCK, 0, sum, (const W *)c, n, p->n,
             p->ldc, p->m, p->stride_c);
}

uint64_t bam_blas_hash(bam_stream stream, const bam_blas_product *p, const void *c, void *scratch) {
  unsigned long long *sum = (unsigned long long *)scratch, hash = 0;
  bam_cuda_note(stream, "hash", cudaMemsetAsync(sum, 0, sizeof *sum, stream->queue));
  if (p->c_type == BAM_CUDA_F64)
    hash_words<unsigned long long>(stream, p, sum, c);
  else if (p->c_type == BAM_CUDA_F32)
    hash_words<unsigned>(stream, p, sum, c);
  else
    hash_words<unsigned short>(stream, p, sum, c);
  bam_cuda_copy_out(stream, &hash, sum, sizeof hash);
  return hash;
}
