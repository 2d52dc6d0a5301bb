/* Codes of FP8 (kernels/cuda/fp8_quantize.cu) against plain C (kernels/fp8.h): every bf16 in both formats, where
   compute capability 8.9 and above converts by an instruction of its own, and tensors of several tiles and parts,
   whole and with rows apart, at places that are aligned or not. Ends with "N passed, N failed". */
#include "harness.h"

#include "../../kernels/cuda/fp8.h"

static const char *const names[] = { "e4m3", "e5m2" }; /* in the order of bam_fp8_format */

static bool is_nan(uint8_t code, bam_fp8_format format) {
  return (code & 0x7f) > (format == BAM_E4M3 ? 0x7e : 0x7c);
}

static bool is_code_of(float x, uint8_t code, bam_fp8_format format) {
  const uint8_t want = bam_to_fp8(x, format);
  return is_nan(want, format) ? is_nan(code, format) : code == want;
}

static float number(uint16_t bits) { return from_bf16({ bits }); }

/* Memory of the host, with the same beside it on the device. */
template <class T> struct twin {
  T *host;
  device_array<T> device;

  explicit twin(int64_t n) : host((T *)calloc((size_t)n, sizeof(T))), device(n) {
    if (host == NULL)
      abort();
  }
  ~twin() { free(host); }
  T &operator[](int64_t i) { return host[i]; }
  void put() const { device.put(host); }
  void get() const { device.get(host); }
};

/* A tensor of bf16, its first element `offset` elements after a multiple of 16 bytes. */
struct tensor {
  int64_t rows, columns, ld, offset;
  twin<uint16_t> bits;

  tensor(int64_t rows_, int64_t columns_, int64_t gap, int64_t offset_)
      : rows(rows_), columns(columns_), ld(columns_ + gap), offset(offset_),
        bits(offset_ + rows_ * (columns_ + gap)) {}
  uint16_t &at(int64_t i) { return bits[offset + i / columns * ld + i % columns]; }
};

static uint32_t largest_magnitude(tensor &x) {
  uint32_t most = 0;
  for (int64_t i = 0; i < x.rows * x.columns; i++) {
    const uint32_t magnitude = (uint32_t)(x.at(i) & 0x7fff) << 16;
    most = most < magnitude ? magnitude : most;
  }
  return most;
}

/* Encode x, with the scale of its largest element if `measure` and else with 1, and compare. */
static void check_codes(bam_stream stream, const char *what, tensor &x, bam_fp8_format format,
                        bool measure) {
  const int64_t n = x.rows * x.columns;
  const float scale = measure ? bam_fp8_scale(largest_magnitude(x), format) : 1;
  twin<uint8_t> y(n), transposed(n);
  device_array<uint32_t> parts(BAM_FP8_PARTS);
  twin<float> inverse(1);
  int64_t wrong = 0;
  inverse[0] = 1;
  inverse.put();
  x.bits.put();
  const bam_fp8_quantize q = { y.device.at,
                               transposed.device.at,
                               inverse.device.at,
                               measure ? parts.at : NULL,
                               x.bits.device.at + x.offset,
                               x.rows,
                               x.columns,
                               x.ld,
                               format };
  if (measure)
    bam_cuda_fp8_amax(stream, parts.at, q.x, x.rows, x.columns, x.ld);
  bam_cuda_fp8_quantize(stream, &q);
  const bool sound = is_sound(stream);
  y.get();
  transposed.get();
  inverse.get();
  for (int64_t i = 0; i < n; i++)
    wrong += !is_code_of(number(x.at(i)) * scale, y[i], format) ||
             transposed[i % x.columns * x.rows + i / x.columns] != y[i];
  check(sound && wrong == 0 && inverse[0] == bam_fp8_inverse(scale),
        "%s to %s: %lld of %lld codes are wrong, 1 / scale is %g, not %g", what, names[format],
        (long long)wrong, (long long)n, (double)inverse[0], (double)bam_fp8_inverse(scale));
}

static void check_every_bf16(bam_stream stream, bam_fp8_format format) {
  tensor x(256, 256, 0, 0);
  for (int i = 0; i < 65536; i++)
    x.bits[i] = (uint16_t)i;
  check_codes(stream, "every bf16", x, format, false);
}

static void check_tensor(bam_stream stream, int64_t rows, int64_t columns, int64_t gap,
                         int64_t offset, float size) {
  tensor x(rows, columns, gap, offset);
  char what[80];
  snprintf(what, sizeof what, "[%lld, %lld], rows %lld apart, offset %lld, up to %g",
           (long long)rows, (long long)columns, (long long)x.ld, (long long)offset, (double)size);
  for (int64_t i = 0; i < x.bits.device.count; i++) /* what lies between rows is larger */
    x.bits[i] = to_bf16(8 * size).bits;
  for (int64_t i = 0; i < rows * columns; i++)
    x.at(i) = to_bf16(size * uniform()).bits;
  for (int f = 0; f < 2; f++)
    check_codes(stream, what, x, (bam_fp8_format)f, true);
}

int main(void) {
  bam_stream_state state = {};
  open_device(&state);
  for (int f = 0; f < 2; f++)
    check_every_bf16(&state, (bam_fp8_format)f);
  check_tensor(&state, 16, 16, 0, 0, 1);
  check_tensor(&state, 80, 144, 0, 0, 3e-7f);
  check_tensor(&state, 80, 144, 16, 8, 5e4f);
  check_tensor(&state, 80, 144, 1, 3, 1e-38f);
  check_tensor(&state, 208, 1040, 0, 0, 1e37f); /* several parts and tiles */
  cudaStreamDestroy(state.queue);
  return report();
}
