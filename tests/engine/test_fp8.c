/* FP8: every code, every bf16 and a sample of f32 against a model of the formats in double precision (fp8_model.h), and
   linear layers in FP8 against products of what the model makes of their operands, in double precision. */
#include <stdint.h>

#include "fixture.h"
#include "fp8_model.h"

TestSuite(fp8, .init = fixture_open, .fini = fixture_close);

static const bam_fp8_format FORMATS[] = { BAM_E4M3, BAM_E5M2 };

/* ---- numbers ---- */

static void check_code(uint32_t bits) {
  for (int f = 0; f < 2; f++) {
    const float x = bam_fp8_float(bits);
    const int got = bam_to_fp8(x, FORMATS[f]), want = fp8_model_code((double)x, FORMATS[f]);
    cr_assert(got == want, "format %d, bits %08x (%g): code %02x, not %02x", f, bits, (double)x,
              got, want);
  }
}

Test(fp8, every_code_is_its_number) {
  for (int f = 0; f < 2; f++)
    for (int code = 0; code < 256; code++) {
      const double got = (double)bam_from_fp8((uint8_t)code, FORMATS[f]),
                   want = fp8_model_value(code, FORMATS[f]);
      cr_assert(isnan(want) ? isnan(got) : got == want && signbit(got) == signbit(want),
                "format %d, code %02x: %g, not %g", f, code, got, want);
      if (isfinite(want)) /* and back */
        cr_assert(bam_to_fp8((float)got, FORMATS[f]) == code, "format %d, code %02x", f, code);
    }
}

Test(fp8, every_bf16_has_the_nearest_code) {
  for (uint32_t high = 0; high < 0x10000; high++)
    check_code(high << 16);
}

/* Low halves around the ties of both formats with every high half, and a step through all f32. */
Test(fp8, f32_have_the_nearest_code) {
  static const uint32_t lows[] = { 1, 0x7fff, 0x8000, 0xffff };
  for (uint32_t high = 0; high < 0x10000; high++)
    for (size_t i = 0; i < sizeof lows / sizeof lows[0]; i++)
      check_code(high << 16 | lows[i]);
  for (uint64_t bits = 0; bits < UINT64_C(1) << 32; bits += 20011)
    check_code((uint32_t)bits);
}

Test(fp8, a_scale_is_the_largest_power_of_two) {
  for (uint32_t high = 0; high < 0x8000; high++)
    for (uint32_t low = 0; low < 2; low++)
      for (int f = 0; f < 2; f++) {
        const uint32_t amax = high << 16 | low;
        const float got = bam_fp8_scale(amax, FORMATS[f]);
        const double want = fp8_model_scale((double)bam_fp8_float(amax), FORMATS[f]);
        cr_assert((double)got == want, "format %d, amax %08x: %g, not %g", f, amax, (double)got,
                  want);
        cr_assert((double)bam_fp8_inverse(got) * (double)got == 1, "inverse of %g", (double)got);
      }
}
