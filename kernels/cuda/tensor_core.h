/* Tensor cores and asynchronous copies (compute capability 8.0 and later): all the PTX of the kernels. nvcc
   compiles it here; g++ finds tests/simt/simt_tensor_core.h, which has the same functions on the CPU. All 32
   lanes of a warp call mma_16816 and load_matrix together.

   A matrix is spread over the registers of a warp; with g = lane / 4 and t = lane % 4, a lane holds

     a 8 x 8 matrix of bf16    row g, columns 2t and 2t + 1: one register, the first in the low half
     A, 16 x 16 (rows m, columns k), of four 8 x 8 matrices:
                               a[0] rows 0-7, a[1] rows 8-15 of columns 0-7; a[2], a[3] of columns 8-15
     B, 16 x 8 (rows k, columns n), transposed:
                               b[0] column g, rows 2t and 2t + 1; b[1] rows 2t + 8 and 2t + 9
     C, 16 x 8 of f32          c[0], c[1] row g, columns 2t and 2t + 1; c[2], c[3] row g + 8

   so that the results of two products side by side, rounded to bf16, are the operand A of another:
   a = { pack(c, 0), pack(c, 2), pack(next c, 0), pack(next c, 2) }. */
#ifndef BAM_CUDA_TENSOR_CORE_H
#define BAM_CUDA_TENSOR_CORE_H

#ifndef __CUDACC__
#include <simt_tensor_core.h>
#else

#include <stdint.h>

/* c += a b: products are exact, sums f32. */
static __device__ __forceinline__ void mma_16816(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                                 uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Load four 8 x 8 matrices from shared memory. Lane l gives the address of row l % 8 of matrix l / 8, 16 bytes
   long and 16-byte aligned. `transposed`: row g of a result is column g of the matrix in memory. */
template <bool transposed>
static __device__ __forceinline__ void load_matrix(uint32_t (&x)[4], const void *row) {
  const uint32_t address = (uint32_t)__cvta_generic_to_shared(row);
  if (transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(address)
                 : "memory");
}

/* Two matrices, whose rows lanes 0-15 give, and one (lanes 0-7). */
template <bool transposed>
static __device__ __forceinline__ void load_matrix(uint32_t (&x)[2], const void *row) {
  const uint32_t address = (uint32_t)__cvta_generic_to_shared(row);
  if (transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(x[0]), "=r"(x[1])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(x[0]), "=r"(x[1])
                 : "r"(address)
                 : "memory");
}

template <bool transposed>
static __device__ __forceinline__ void load_matrix(uint32_t (&x)[1], const void *row) {
  const uint32_t address = (uint32_t)__cvta_generic_to_shared(row);
  if (transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(x[0])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(x[0])
                 : "r"(address)
                 : "memory");
}

/* Two numbers rounded to bf16, to nearest even; the first in the low half. */
static __device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t x;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(x) : "f"(high), "f"(low));
  return x;
}

/* 2^x within about 2 units of the last place; results below 2^-126 are 0. */
static __device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/* The compiler takes x for unknown from here on: what depends on it is computed again instead of held in registers
   through a loop. */
static __device__ __forceinline__ void keep_apart(unsigned &x) { asm volatile("" : "+r"(x)); }

/* Begin to copy 16 bytes of global memory to shared memory, both 16-byte aligned, or, unless `valid`, zeros;
   then `global` is not read. The bytes must not be touched before the thread has waited for them, and read by
   others only behind a barrier after that. */
static __device__ __forceinline__ void async_copy(void *shared, const void *global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                 (uint32_t)__cvta_generic_to_shared(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
               : "memory");
}

/* The copies that the thread has begun since the last call are a group, which may be empty. */
static __device__ __forceinline__ void async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Wait for all groups of the thread but the `pending` last ones. */
template <int pending> static __device__ __forceinline__ void async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

#endif

#endif
