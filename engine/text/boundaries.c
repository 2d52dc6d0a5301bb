/* A match of these expressions depends only on the text that follows its start, so every window may restart at the
   end of a piece. Words of bits have index 1 and up; the words around them say what is outside the window: nothing
   before, white space after. */
#include "boundaries.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define MARGIN \
  8 /* bytes that a boundary may depend on after it, apart from the runs of white space of GPT-4 */

/* ---- bits ---- */

/* Bits moved to the next byte, and to the one before. */
static inline uint64_t after(const uint64_t *bits, int w) {
  return bits[w] << 1 | bits[w - 1] >> 63;
}
static inline uint64_t before(const uint64_t *bits, int w) {
  return bits[w] >> 1 | bits[w + 1] << 63;
}

static inline void set(uint64_t *bits, int at) { bits[1 + at / 64] |= (uint64_t)1 << at % 64; }
static inline void clear(uint64_t *bits, int at) { bits[1 + at / 64] &= ~((uint64_t)1 << at % 64); }
static inline bool has(const uint64_t *bits, int at) { return bits[1 + at / 64] >> at % 64 & 1; }

/* The lowest byte of word `w` in *bits, which it leaves. */
static inline int take(uint64_t *bits, int w) {
  const int at = 64 * (w - 1) + __builtin_ctzll(*bits);
  *bits &= *bits - 1;
  return at;
}

static int words_of(const bam_boundaries *b) { return (b->n + 63) / 64; }

/* ---- classes ---- */

#ifdef __SSE2__

/* Bytes from `first` to `first` + `more`. */
static inline __m128i among(__m128i bytes, char first, char more) {
  const __m128i from = _mm_sub_epi8(bytes, _mm_set1_epi8(first));
  return _mm_cmpeq_epi8(_mm_min_epu8(from, _mm_set1_epi8(more)), from);
}

static inline uint64_t mask(__m128i bytes) { return (uint32_t)_mm_movemask_epi8(bytes); }

static inline __m128i equal(__m128i bytes, char byte) {
  return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte));
}

/* Classify 64 bytes as word `w`. */
static inline void classify(bam_boundaries *b, int w, const char *text) {
  uint64_t letter = 0, digit = 0, space = 0, blank = 0, line_end = 0, apostrophe = 0, high = 0;
  for (int k = 0; k < 64; k += 16) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(text + k)), spaces = equal(bytes, ' ');
    letter |= mask(among(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), 'a', 25)) << k;
    digit |= mask(among(bytes, '0', 9)) << k;
    space |= mask(_mm_or_si128(among(bytes, '\t', 4), spaces)) << k;
    blank |= mask(spaces) << k;
    line_end |= mask(_mm_or_si128(equal(bytes, '\n'), equal(bytes, '\r'))) << k;
    apostrophe |= mask(equal(bytes, '\'')) << k;
    high |= mask(bytes) << k;
  }
  b->letter[w] = letter, b->digit[w] = digit, b->space[w] = space, b->blank[w] = blank;
  b->line_end[w] = line_end, b->apostrophe[w] = apostrophe, b->high[w] = high, b->inner[w] = 0;
}

#else

static void classify(bam_boundaries *b, int w, const char *text) {
  b->letter[w] = b->digit[w] = b->space[w] = b->blank[w] = 0;
  b->line_end[w] = b->apostrophe[w] = b->high[w] = b->inner[w] = 0;
  for (int k = 0; k < 64; k++) {
    const unsigned char byte = (unsigned char)text[k];
    const uint64_t bit = (uint64_t)1 << k;
    if ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z')
      b->letter[w] |= bit;
    if (byte >= '0' && byte <= '9')
      b->digit[w] |= bit;
    if (byte == ' ' || (byte >= '\t' && byte <= '\r'))
      b->space[w] |= bit;
    if (byte == ' ')
      b->blank[w] |= bit;
    if (byte == '\n' || byte == '\r')
      b->line_end[w] |= bit;
    if (byte == '\'')
      b->apostrophe[w] |= bit;
    if (byte >= 0x80)
      b->high[w] |= bit;
  }
}

#endif

/* Give the bytes of a character that is not ASCII its class. Returns its size. */
static int classify_character(bam_boundaries *b, const char *text, int at) {
  const int size = bam_char_size((unsigned char)text[at]);
  const bam_char_class kind = bam_char_classes_find(&b->classes, text + at, size);
  uint64_t *bits = kind == BAM_CHAR_LETTER  ? b->letter
                   : kind == BAM_CHAR_DIGIT ? b->digit
                   : kind == BAM_CHAR_SPACE ? b->space
                                            : NULL;
  for (int k = 0; k < size && at + k < b->n; k++) {
    if (bits != NULL)
      set(bits, at + k);
    if (k > 0)
      set(b->inner, at + k);
  }
  return size;
}

/* Classify the bytes of word `w` that are not ASCII. `next` is the end of the last such character. */
static void classify_high(bam_boundaries *b, int w, const char *text, int *next) {
  for (uint64_t left = b->high[w]; left != 0;) {
    const int at = take(&left, w);
    if (at >= *next && at < b->n)
      *next = at + classify_character(b, text, at);
  }
}

/* What lies around the window: nothing before it, white space after. */
static void set_ends(bam_boundaries *b, int words) {
  uint64_t *const all[] = { b->letter,   b->digit,      b->space, b->other, b->blank,
                            b->line_end, b->apostrophe, b->high,  b->inner, b->cut };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    all[i][0] = all[i][words + 1] = 0;
  b->space[words + 1] = ~(uint64_t)0;
}

static void classify_window(bam_boundaries *b, const char *text) {
  const int words = words_of(b), whole = b->n / 64;
  uint64_t high = 0;
  for (int w = 1; w <= whole; w++) {
    classify(b, w, text + 64 * (w - 1));
    high |= b->high[w];
  }
  if (whole < words) {
    char rest[64];
    memset(rest, '\t', sizeof rest);
    memcpy(rest, text + 64 * whole, (size_t)(b->n % 64));
    classify(b, words, rest);
    high |= b->high[words];
  }
  set_ends(b, words);
  for (int w = 1, next = 0; w <= words && high != 0; w++)
    classify_high(b, w, text, &next);
  for (int w = 1; w <= words; w++)
    b->other[w] = ~(b->letter[w] | b->digit[w] | b->space[w]);
}

/* ---- what both styles share ---- */

/* The bytes of a contraction at `text`, which is an apostrophe, with `left` bytes; 0: there is none. */
static int contraction(const bam_boundaries *b, const char *text, int64_t left) {
  const bool any_case = b->style >= BAM_CUT_GPT4;
  const unsigned char c = left > 1 ? (unsigned char)text[1] : 0,
                      d = left > 2 ? (unsigned char)text[2] : 0;
  const unsigned char first = any_case && c < 0x80 ? c | 0x20 : c,
                      second = any_case && d < 0x80 ? d | 0x20 : d;
  if (first == 's' || first == 't' || first == 'm' || first == 'd')
    return 2;
  if ((first == 'r' || first == 'v') && second == 'e')
    return 3;
  if (first == 'l' && second == 'l')
    return 3;
  return any_case && b->long_s && c == 0xc5 && d == 0xbf ? 3 : 0;
}

/* Cut after the contractions at apostrophes of word `w` that begin a piece and stand before a letter. */
static void cut_contractions(bam_boundaries *b, int w, uint64_t begins, const char *text,
                             int64_t size) {
  uint64_t left = b->apostrophe[w] & begins & before(b->letter, w);
  while (left != 0) {
    const int at = take(&left, w), length = contraction(b, text + at, size - at);
    if (length == 0)
      continue;
    if (at + 1 < b->n)
      clear(b->cut, at + 1);
    if (at + length < b->n)
      set(b->cut, at + length);
  }
}

/* Cut before the last characters of runs of white space, whose last bytes are `last`. */
static void cut_last(bam_boundaries *b, int w, uint64_t last) {
  uint64_t inner = last & b->inner[w];
  b->cut[w] |= last & ~inner;
  while (inner != 0) {
    int at = take(&inner, w);
    while (has(b->inner, at))
      at--;
    set(b->cut, at);
  }
}

/* ---- GPT-2 ---- */

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
   A run of letters, digits or others begins a piece, or the blank before it does. White space before anything else
   leaves its last character. Where every digit was isolated before, it ends the text of the piece before it. */
static void cut_gpt2(bam_boundaries *b, const char *text, int64_t size) {
  const bool isolates = b->style == BAM_CUT_GPT2_DIGITS;
  for (int w = 1; w <= words_of(b); w++) {
    const uint64_t others = b->other[w] & ~after(b->other, w), free = ~after(b->blank, w);
    const uint64_t letters = b->letter[w] & ~after(b->letter, w),
                   digits = b->digit[w] & ~after(b->digit, w);
    uint64_t last = b->space[w] & ~before(b->space, w);
    b->cut[w] |= ((others | letters) & free) | (b->space[w] & ~after(b->space, w));
    b->cut[w] |= isolates ? b->digit[w] & ~b->inner[w] : digits & free;
    if (isolates)
      last &= ~before(b->digit, w);
    cut_last(b, w, last);
  }
  for (int w = 1; w <= words_of(b); w++)
    cut_contractions(b, w, b->other[w] & ~after(b->other, w) & ~after(b->blank, w), text, size);
}

/* ---- GPT-4 ---- */

/* Take the line ends after other characters, which belong to their piece, out of the white space. */
static void move_line_ends(bam_boundaries *b) {
  uint64_t taken = 0; /* of the word before */
  for (int w = 1; w <= words_of(b); w++) {
    const uint64_t starts = b->line_end[w] & (after(b->other, w) | taken >> 63);
    taken = b->line_end[w] &
            ~(b->line_end[w] + starts); /* the carry runs through the line ends from there */
    b->space[w] &= ~taken;
    b->line_end[w] &= ~taken;
  }
}

/* Cut after the last line end of a run of white space that goes on at `at` without one. Returns the number of bytes
   whose boundaries are known: the run may go on after the window. */
static int cut_after_lines(bam_boundaries *b, int at, bool is_end) {
  int end = at;
  while (end < b->n && has(b->space, end) && !has(b->line_end, end))
    end++;
  if (end == b->n && !is_end)
    return at;
  if (end == b->n || !has(b->line_end, end))
    set(b->cut, at);
  return b->n;
}

/* Cut a run of digits every three characters. */
static void cut_digits(bam_boundaries *b, int at) {
  for (int count = 0; at < b->n && has(b->digit, at); at++) {
    if (has(b->inner, at))
      continue;
    if (count == 3) {
      set(b->cut, at);
      count = 0;
    }
    count++;
  }
}

/* Bytes of word `w` that follow an other character which begins a piece: a letter there belongs to the piece. The
   character may have several bytes; *carry is its rest in the next word. */
static uint64_t after_first(const bam_boundaries *b, int w, const uint64_t *firsts,
                            uint64_t *carry) {
  const uint64_t ascii = (firsts[w] & ~b->high[w]) << 1 | (firsts[w - 1] & ~b->high[w - 1]) >> 63;
  const uint64_t wide = (firsts[w] & b->high[w]) << 1 | (firsts[w - 1] & b->high[w - 1]) >> 63;
  uint64_t sum, more;
  const bool over = __builtin_add_overflow(b->inner[w], wide, &sum);
  more = __builtin_add_overflow(sum, *carry, &sum);
  *carry = over | more;
  return ascii | (sum & ~b->inner[w]);
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
   ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ Letters take the character before them if it is white space, or
   an other one alone; others take the blank before and the line ends after them. White space ends after its last
   line end; what remains leaves its last character. Returns the number of bytes whose boundaries are known. */
static int cut_gpt4(bam_boundaries *b, const char *text, int64_t size, bool is_end) {
  const int words = words_of(b);
  bam_class_bits firsts, gaps; /* others that begin a piece; white space without line ends */
  uint64_t carry = 0;
  int known = b->n;
  move_line_ends(b);
  firsts[0] = gaps[0] = gaps[words + 1] = 0;
  for (int w = 1; w <= words; w++) {
    firsts[w] = b->other[w] & ~after(b->other, w) & ~after(b->blank, w);
    gaps[w] = b->space[w] & ~b->line_end[w];
  }
  for (int w = 1; w <= words; w++) {
    const uint64_t letters = b->letter[w] & ~after(b->letter, w),
                   digits = b->digit[w] & ~after(b->digit, w);
    const uint64_t taken = after(gaps, w) | after_first(b, w, firsts, &carry);
    b->cut[w] |= firsts[w] | (letters & ~taken) | (b->space[w] & ~after(b->space, w));
    b->cut[w] |= b->style == BAM_CUT_GPT4_DIGITS ? b->digit[w] & ~b->inner[w] : digits;
    cut_last(b, w, gaps[w] & ~before(b->space, w));
    for (uint64_t left = gaps[w] & after(b->line_end, w); left != 0;) {
      const int at = take(&left, w), limit = at < b->n ? cut_after_lines(b, at, is_end) : b->n;
      known = limit < known ? limit : known;
    }
    for (uint64_t left = b->style == BAM_CUT_GPT4 ? digits & before(b->digit, w) : 0; left != 0;)
      cut_digits(b, take(&left, w));
  }
  for (int w = 1; w <= words; w++)
    cut_contractions(b, w, firsts[w], text, size);
  return known;
}

/* ---- all of it ---- */

/* List the boundaries before `limit`, except the one at the start. Eight at a time are written, wanted or not: a loop
   that ends after the last one would be mispredicted in every word. */
static int list_ends(bam_boundaries *b, int limit) {
  int n = 0;
  b->cut[1] &= ~(uint64_t)1;
  for (int w = 1; 64 * (w - 1) < limit; w++) {
    uint64_t left = b->cut[w];
    if (64 * w > limit)
      left &= ~(~(uint64_t)0 << limit % 64);
    const int count = __builtin_popcountll(left);
    for (int k = 0; k < count; k += 8)
      for (int i = n + k; i < n + k + 8; i++) {
        b->ends[i] = (uint16_t)(64 * (w - 1) + __builtin_ctzll(left | (uint64_t)1 << 63));
        left &= left - 1;
      }
    n += count;
  }
  return n;
}

int bam_boundaries_find(bam_boundaries *b, const char *text, int64_t size) {
  const bool is_end = size <= BAM_BOUNDARY_BYTES;
  b->n = is_end ? (int)size : BAM_BOUNDARY_BYTES;
  int known = b->n;
  memset(b->cut, 0, sizeof(uint64_t) * (size_t)(words_of(b) + 2));
  classify_window(b, text);
  if (b->style >= BAM_CUT_GPT4)
    known = cut_gpt4(b, text, size, is_end);
  else
    cut_gpt2(b, text, size);
  if (!is_end && known > b->n - MARGIN)
    known = b->n - MARGIN;
  int n = list_ends(b, known);
  if (is_end)
    b->ends[n++] = (uint16_t)b->n;
  return n;
}
