/* Products that cuBLASLt has no algorithm for: a kernel without tensor cores that takes any size, distance and
   alignment. It is many times slower than the library; what it computes is rare. */
#include "blas_plan.h"

#define BAM_TYPE f32 /* cuda.h wants one; the kernels here are templates */
#define BAM_TYPE_f32
#include "cuda.h"

#include "../convert.h"
#include "../fp8.h"

#define TILE 64 /* rows and columns of C that a block computes */
#define STEP 16 /* of k between barriers */
#define SIDE 16 /* a block is SIDE x SIDE threads */
#define EACH (TILE / SIDE)

/* Codes of FP8. */
template <bam_fp8_format format> struct fp8 { uint8_t code; };

template <bam_fp8_format format> static __device__ float widen(fp8<format> x) {
  return bam_from_fp8(x.code, format);
}
static __device__ float widen(bf16 x) { return from_bf16(x); }
static __device__ float widen(float x) { return x; }
static __device__ double widen(double x) { return x; }
static __device__ void store(bf16 *to, float x) { *to = round_to_bf16(x); }
static __device__ void store(float *to, float x) { *to = x; }
static __device__ void store(double *to, double x) { *to = x; }

/* Rows from `row` on and STEP of k, from `k` on, of op(X) [rows, k]; beyond its edges 0. */
template <class Real, class T>
static __device__ void load_tile(Real (&tile)[STEP * (TILE + 1)], const T *x, int64_t ld,
                                 bool along_rows, int64_t row, int64_t rows, int64_t k,
                                 int64_t ks) {
  for (int i = (int)threadIdx.x; i < TILE * STEP; i += SIDE * SIDE) {
    const int r = along_rows ? i % TILE : i / STEP, c = along_rows ? i / TILE : i % STEP;
    const bool inside = row + r < rows && k + c < ks;
    const int64_t at = along_rows ? (k + c) * ld + row + r : (row + r) * ld + k + c;
    tile[c * (TILE + 1) + r] = inside ? widen(x[inside ? at : 0]) : (Real)0;
  }
}

template <class Real>
static __device__ void add_products(Real (&sum)[EACH][EACH], const Real (&left)[STEP * (TILE + 1)],
                                    const Real (&right)[STEP * (TILE + 1)]) {
  const int y = (int)threadIdx.x / SIDE, x = (int)threadIdx.x % SIDE;
  for (int c = 0; c < STEP; c++) {
    BAM_UNROLL
    for (int i = 0; i < EACH; i++) {
      BAM_UNROLL
      for (int j = 0; j < EACH; j++)
        sum[i][j] += left[c * (TILE + 1) + y + i * SIDE] * right[c * (TILE + 1) + x + j * SIDE];
    }
  }
}

/* The scale of an operand. */
static __device__ float scale_of(const float *scale) { return scale != NULL ? *scale : 1; }

/* Each block computes tiles of C; tiles are numbered along rows, then matrices. */
template <class Real, class A, class B, class C>
static __global__ void multiply_tiles(bam_gemm g, C *c, const C *base, const A *a, const B *b,
                                      Real alpha, Real beta) {
  BAM_SHARED(Real, left, STEP * (TILE + 1));
  BAM_SHARED(Real, right, STEP * (TILE + 1));
  const int64_t across = (g.n + TILE - 1) / TILE, down = (g.m + TILE - 1) / TILE;
  const Real factor = alpha * scale_of(g.scale_a) * scale_of(g.scale_b);
  BAM_EACH_ROW(tile, g.batch * down * across) {
    const int64_t matrix = tile / (down * across);
    const int64_t row = tile / across % down * TILE, column = tile % across * TILE;
    Real sum[EACH][EACH] = {};
    for (int64_t k = 0; k < g.k; k += STEP) {
      __syncthreads(); /* the last tiles have been read */
      load_tile(left, a + matrix * g.stride_a, g.lda, g.transpose_a, row, g.m, k, g.k);
      load_tile(right, b + matrix * g.stride_b, g.ldb, !g.transpose_b, column, g.n, k, g.k);
      __syncthreads();
      add_products(sum, left, right);
    }
    BAM_UNROLL
    for (int i = 0; i < EACH * EACH; i++) {
      const int64_t r = row + threadIdx.x / SIDE + i / EACH * SIDE;
      const int64_t s = column + threadIdx.x % SIDE + i % EACH * SIDE;
      if (r < g.m && s < g.n) {
        const int64_t at = matrix * g.stride_c + r * g.ldc + s;
        const Real product = factor * sum[i / EACH][i % EACH];
        store(c + at, beta == 0 ? product : product + beta * widen(base[at]));
      }
    }
  }
}

template <class Real, class A, class B, class C>
static void run(bam_stream stream, const bam_blas_call *call) {
  const bam_gemm *g = call->gemm;
  const int64_t tiles = g->batch * ((g->m + TILE - 1) / TILE) * ((g->n + TILE - 1) / TILE);
  BAM_LAUNCH(stream, (multiply_tiles<Real, A, B, C>), BAM_ROW_BLOCKS(tiles), SIDE * SIDE, 0, *g,
             (C *)call->c, (const C *)call->base, (const A *)call->a, (const B *)call->b,
             (Real)g->alpha, (Real)g->beta);
}

/* C is f32, or bf16. */
template <class A, class B> static void run_narrow(bam_stream stream, const bam_blas_call *call) {
  (call->exact.c_type == BAM_CUDA_F32 ? run<float, A, B, float> : run<float, A, B, bf16>)(stream,
                                                                                          call);
}

void bam_blas_run_plain(bam_stream stream, const bam_blas_call *call) {
  const bam_blas_product *what = &call->exact;
  switch (what->type) {
  case BAM_CUDA_F32: run<float, float, float, float>(stream, call); break;
  case BAM_CUDA_F64: run<double, double, double, double>(stream, call); break;
  case BAM_CUDA_BF16: run_narrow<bf16, bf16>(stream, call); break;
  case BAM_CUDA_E4M3: run_narrow<fp8<BAM_E4M3>, fp8<BAM_E4M3>>(stream, call); break;
  case BAM_CUDA_E5M2: run_narrow<fp8<BAM_E5M2>, fp8<BAM_E4M3>>(stream, call); break;
  }
}
