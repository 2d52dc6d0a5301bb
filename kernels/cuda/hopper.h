/* What compute capability 9.0 adds to kernels/cuda/tensor_core.h: barriers in shared memory, copies by the tensor
   memory accelerator, products of a warpgroup (four warps, 128 threads). All of it is for sm_90a only. Code for other
   devices, which sm_90 is too, has kernels that use it as empty ones (HOPPER_KERNEL), and has_hopper_code says so. g++
   finds tests/simt/simt_hopper.h.

   A product has 64 rows, 16 of each warp, which holds them as mma_16816 does C: d[4 j .. 4 j + 3] are columns 8 j ..
   8 j + 7. Operands are matrices of bf16 in shared memory, in blocks of 8 rows of 128 bytes, swizzled: piece p (of 16
   bytes) of row r of a block is stored in place p ^ r. Blocks are 1024-byte aligned. With `transposed` rows in memory
   are along the other dimension: element (i, k) is at row k, column i. */
#ifndef BAM_CUDA_HOPPER_H
#define BAM_CUDA_HOPPER_H

#ifndef __CUDACC__
#include <simt_hopper.h>
#define HOPPER_CODE true
#else

#include <cuda.h>
#include <cuda_runtime.h>
#include <stdint.h>

#include "tensor_core.h"

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HOPPER_CODE true
#define HOPPER_ASM(...) asm volatile(__VA_ARGS__)
#else
#define HOPPER_CODE false
#define HOPPER_ASM(...) __trap()
#endif
#define HOPPER static __device__ __forceinline__

HOPPER uint32_t shared_address(const void *data) {
  return (uint32_t)__cvta_generic_to_shared(data);
}

/* ---- barriers in shared memory ---- */

/* A phase of a barrier ends when `count` threads have arrived and as many bytes as were expected. One thread
   initializes it, calls barriers_ready, and then all threads of the block meet. */
HOPPER void barrier_init(uint64_t *barrier, int count) {
  HOPPER_ASM("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count)
             : "memory");
}
HOPPER void barriers_ready() { HOPPER_ASM("fence.mbarrier_init.release.cluster;" ::: "memory"); }

HOPPER void barrier_arrive(uint64_t *barrier) {
  HOPPER_ASM("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

/* Arrive, and expect that copies bring `bytes` bytes. */
HOPPER void barrier_expect(uint64_t *barrier, int bytes) {
  HOPPER_ASM(
    "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
    "r"(bytes)
    : "memory");
}

/* Wait for the end of the phase of that parity: 0 for the first, 1 for the second, 0 for the third. */
HOPPER void barrier_wait(uint64_t *barrier, unsigned parity) {
  HOPPER_ASM("{\n.reg .pred p;\nAGAIN:\n"
             "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra.uni DONE;\n"
             "bra.uni AGAIN;\nDONE:\n}" ::"r"(shared_address(barrier)),
             "r"(parity & 1)
             : "memory");
}

/* Barrier `number` (1 .. 15) of `threads` threads of the block, whole warps: wait for them, or only arrive. */
HOPPER void named_barrier(int number, int threads) {
  HOPPER_ASM("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
HOPPER void named_barrier_arrive(int number, int threads) {
  HOPPER_ASM("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

/* ---- copies ---- */

/* What threads wrote to shared memory may be read by copies and products of a warpgroup, after a barrier. */
HOPPER void async_fence() { HOPPER_ASM("fence.proxy.async.shared::cta;" ::: "memory"); }

/* One thread begins to copy `bytes` bytes to shared memory, which then arrive at the barrier; addresses and bytes are
   multiples of 16. */
HOPPER void bulk_copy(void *shared, const void *global, int bytes, uint64_t *barrier) {
  HOPPER_ASM(
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
      shared_address(shared)),
    "l"(__cvta_generic_to_global(global)), "r"(bytes), "r"(shared_address(barrier))
    : "memory");
}

typedef CUtensorMap tensor_map;

/* The same for the box of a tensor of four dimensions that begins at element (x, y, z, w), x being the fastest; zeros
   outside of the tensor. The map is a __grid_constant__ parameter of the kernel. */
HOPPER void tensor_copy(void *shared, const tensor_map &map, int x, int y, int z, int w,
                        uint64_t *barrier) {
  HOPPER_ASM("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
             "[%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(shared_address(shared)),
             "l"((uint64_t)&map), "r"(x), "r"(y), "r"(z), "r"(w), "r"(shared_address(barrier))
             : "memory");
}

/* ---- products of a warpgroup ---- */

/* A matrix in shared memory. `stride` is the bytes from one block of 8 rows to the next; `leading`, for transposed
   ones, from one block of 64 columns to the next. Columns from 16 k on are 32 k bytes further on; transposed, rows from
   16 k on are 2 k `stride` bytes further on. */
HOPPER uint64_t shared_matrix(const void *data, int leading, int stride) {
  return (uint64_t)((shared_address(data) & 0x3ffff) >> 4) | (uint64_t)(leading >> 4) << 16 |
         (uint64_t)(stride >> 4) << 32 | (uint64_t)1 << 62;
}

/* The same matrix `bytes` bytes further on, a multiple of 16. */
HOPPER uint64_t move_matrix(uint64_t matrix, int bytes) {
  return (matrix >> 32) << 32 | ((uint32_t)matrix + (uint32_t)(bytes >> 4));
}

/* Before the first product, and again after every wait, behind which registers of operands and results are touched. */
HOPPER void wgmma_fence() { HOPPER_ASM("wgmma.fence.sync.aligned;" ::: "memory"); }

/* The products begun since the last call are a group; wait for all groups but the `pending` last ones. Until then
   results and operands must not be touched. */
HOPPER void wgmma_commit() { HOPPER_ASM("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int pending> HOPPER void wgmma_wait() {
  HOPPER_ASM("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

/* The compiler takes d for read and written here: results are pinned before the product that adds to them begins, and
   after the wait for them, which by itself they do not depend on. */
template <int n> HOPPER void pin(float (&d)[n]) {
  _Pragma("unroll") for (int i = 0; i < n; i++) HOPPER_ASM("" : "+f"(d[i])::"memory");
}

/* Store x where nothing reads it. ptxas moves a wait to before arithmetic that does not depend on it, but not to before
   a store, so that x is computed while products are under way. */
HOPPER void anchor(float x, float *place) {
  HOPPER_ASM("st.volatile.shared.f32 [%0], %1;" ::"r"(shared_address(place)), "f"(x) : "memory");
}

/* The same for all of x, by what their bits have in common. */
template <int n> HOPPER void anchor(const float (&x)[n], float *place) {
  uint32_t bits = 0;
  _Pragma("unroll") for (int i = 0; i < n; i++) bits ^= __float_as_uint(x[i]);
  anchor(__uint_as_float(bits), place);
}

#define HOPPER_4(x, i) "+f"(x[i]), "+f"(x[i + 1]), "+f"(x[i + 2]), "+f"(x[i + 3])
#define HOPPER_16(x, i) HOPPER_4(x, i), HOPPER_4(x, i + 4), HOPPER_4(x, i + 8), HOPPER_4(x, i + 12)
#define HOPPER_TEXT_32                                                     \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define HOPPER_TEXT_64                                                               \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "           \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

/* Begin d = a b, or d += a b with `add`, for a [64, 16] and the transpose b [16, columns] of a matrix of `columns`
   rows, 64 or 128. */
template <bool a_transposed, bool b_transposed>
HOPPER void wgmma(float (&d)[32], uint64_t a, uint64_t b, bool add) {
  HOPPER_ASM("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
             "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" HOPPER_TEXT_32
             "}, %32, %33, p, 1, 1, %35, %36;\n}"
             : HOPPER_16(d, 0), HOPPER_16(d, 16)
             : "l"(a), "l"(b), "r"((int)add), "n"((int)a_transposed), "n"((int)b_transposed));
}
template <bool a_transposed, bool b_transposed>
HOPPER void wgmma(float (&d)[64], uint64_t a, uint64_t b, bool add) {
  HOPPER_ASM("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
             "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" HOPPER_TEXT_64
             "}, %64, %65, p, 1, 1, %67, %68;\n}"
             : HOPPER_16(d, 0), HOPPER_16(d, 16), HOPPER_16(d, 32), HOPPER_16(d, 48)
             : "l"(a), "l"(b), "r"((int)add), "n"((int)a_transposed), "n"((int)b_transposed));
}

/* The same with a in registers: of each warp its 16 rows, as operand A of mma_16816. */
template <bool b_transposed>
HOPPER void wgmma(float (&d)[32], const uint32_t (&a)[4], uint64_t b, bool add) {
  HOPPER_ASM("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
             "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" HOPPER_TEXT_32
             "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}"
             : HOPPER_16(d, 0), HOPPER_16(d, 16)
             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add),
               "n"((int)b_transposed));
}
template <bool b_transposed>
HOPPER void wgmma(float (&d)[64], const uint32_t (&a)[4], uint64_t b, bool add) {
  HOPPER_ASM("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
             "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" HOPPER_TEXT_64
             "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70;\n}"
             : HOPPER_16(d, 0), HOPPER_16(d, 16), HOPPER_16(d, 32), HOPPER_16(d, 48)
             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add),
               "n"((int)b_transposed));
}

/* Change how many registers the threads of the warpgroup may use, a multiple of 8. More are waited for until others of
   the block have left as many. */
template <int registers> HOPPER void more_registers() {
  HOPPER_ASM("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers> HOPPER void fewer_registers() {
  HOPPER_ASM("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}

/* ---- the host's side ---- */

/* Describe a tensor of bf16 of four dimensions, the first with its elements side by side and the others `stride`
   elements apart, and the boxes that are copied of it; with `swizzled`, rows of at most 128 bytes are stored as wgmma
   wants them. False when the driver refuses. */
static inline bool make_tensor_map(tensor_map *map, const void *data, const int64_t (&size)[4],
                                   const int64_t (&stride)[3], const int (&box)[4], bool swizzled) {
  typedef CUresult encode_tiled(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                                const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                                const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  void *found = NULL;
  cudaDriverEntryPointQueryResult result;
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault,
                                       &result) != cudaSuccess ||
      result != cudaDriverEntryPointSuccess)
    return false;
  cuuint64_t sizes[4], strides[3];
  cuuint32_t boxes[4];
  const cuuint32_t ones[4] = { 1, 1, 1, 1 };
  for (int d = 0; d < 4; d++) {
    sizes[d] = (cuuint64_t)size[d];
    boxes[d] = (cuuint32_t)box[d];
    if (d < 3)
      strides[d] = 2 * (cuuint64_t)stride[d];
  }
  return ((encode_tiled *)found)(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, (void *)data, sizes,
                                 strides, boxes, ones, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                 swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                 CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

#endif

/* The bounds of a kernel that uses any of this, for blocks of `threads` threads, one to a multiprocessor. Its body
   begins with: if (!HOPPER_CODE) return; */
#define HOPPER_KERNEL(threads) __launch_bounds__(HOPPER_CODE ? (threads) : 1, 1)

/* Whether the program has code of the kernel that the current device runs, and not the empty one. */
template <class kernel_type> static inline bool has_hopper_code(kernel_type *kernel, int threads) {
  cudaFuncAttributes attributes = {};
  if (cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess)
    return attributes.maxThreadsPerBlock >= threads;
  cudaGetLastError();
  return false;
}

#endif
