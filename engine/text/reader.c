/* The file is read through one buffer; [begin, end) holds the bytes not yet returned. The search for the
   end of a line resumes at `scan`, so every byte is examined once however many reads it takes. Offsets
   are relative to `begin`, so they stay valid when the bytes move to the front of the buffer. */
#include "reader.h"
#include "../core/quote.h"

#include <stdio.h>
#include <string.h>

#include "../io/atomic_file.h"
#include "decompress.h"
#include "record.h"

#define CHUNK_BYTES 65536
#define HEAD_BYTES 4096 /* a zero byte in these means that the file is not text */

struct bam_reader {
  bam_context *context;
  bam_decompressor *source;
  char *path, *field, *separator; /* owned copies */
  bool is_jsonl, skips_bad;
  bool ended; /* the source is at its end */
  char *buffer;
  int64_t capacity, begin, end;
  int64_t number; /* of the line at `begin` */
  int64_t
    line; /* plain text: offset of the current line; negative: its start was already returned */
  int64_t scan;   /* offset where the search for its end resumes */
  char *document; /* the returned document if it is not in the buffer; owned */
  size_t document_bytes;
  int64_t skipped;
  char fault[BAM_MESSAGE_SIZE]; /* the error of the first skipped record */
};

/* Prefix the message of a failure with path and line. */
static bam_status fail_at(const bam_reader *r, bam_status status, int64_t number) {
  char quoted[BAM_QUOTE_TEXT], place[BAM_QUOTE_TEXT + 30];
  snprintf(place, sizeof place, "%s:%lld", bam_quote(r->path, quoted), (long long)number);
  return bam_fail_within(r->context, status, place);
}

/* ---- the buffer ---- */

static const char *waiting(const bam_reader *r) { return r->buffer + r->begin; }

static int64_t count_waiting(const bam_reader *r) { return r->end - r->begin; }

static int64_t count_newlines(const char *text, int64_t size) {
  int64_t count = 0;
  for (int64_t i = 0; i < size; i++)
    count += text[i] == '\n';
  return count;
}

/* Consume the first `size` buffered bytes. They stay in memory until the next read. */
static void consume(bam_reader *r, int64_t size) {
  r->number += count_newlines(waiting(r), size);
  r->begin += size;
  r->line -= size;
  r->scan -= size;
}

/* Enlarge the buffer, and move the buffered bytes to its front. */
static bam_status grow(bam_reader *r) {
  int64_t capacity = r->capacity + r->capacity / 2 + CHUNK_BYTES;
  char *buffer = bam_object_alloc(r->context, (size_t)capacity);
  if (buffer == NULL)
    return BAM_ERROR_MEMORY;
  int64_t size = count_waiting(r);
  if (size > 0)
    memcpy(buffer, waiting(r), (size_t)size);
  bam_object_free(r->context, r->buffer, (size_t)r->capacity);
  r->buffer = buffer;
  r->capacity = capacity;
  r->begin = 0;
  r->end = size;
  return BAM_OK;
}

/* Append more bytes from the source to the buffered ones. */
static bam_status read_more(bam_reader *r) {
  int64_t got = 0, size = count_waiting(r);
  if (r->capacity - size < CHUNK_BYTES)
    BAM_TRY(grow(r));
  if (r->capacity - r->end < CHUNK_BYTES) {
    memmove(r->buffer, waiting(r), (size_t)size);
    r->begin = 0;
    r->end = size;
  }
  bam_status status = bam_decompressor_read(r->source, r->buffer + r->end, r->capacity - r->end,
                                            &got);
  if (status != BAM_OK)
    return fail_at(r, status, r->number + count_newlines(waiting(r), size));
  r->end += got;
  r->ended = got == 0;
  return BAM_OK;
}

/* Search for the end of the line from `scan`. *at gets its offset, or the end of the buffered bytes if none
   is found. */
static bool find_newline(bam_reader *r, int64_t *at) {
  const char *text = waiting(r), *found = NULL;
  int64_t size = count_waiting(r);
  if (size > r->scan)
    found = memchr(text + r->scan, '\n', (size_t)(size - r->scan));
  *at = found != NULL ? found - text : size;
  r->scan = *at;
  return found != NULL;
}

/* ---- plain text ---- */

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static bool is_blank_line(const char *text, int64_t size) {
  while (size > 0 && is_blank(text[size - 1]))
    size--;
  return size == 0;
}

/* The maximum length of a separator line. */
static int64_t separator_room(const bam_reader *r) {
  return (int64_t)strlen(r->separator) + BAM_READER_BLANKS;
}

/* Whether the line [line, end) is the separator. A line whose start was already returned is too long. */
static bool is_separator(const bam_reader *r, int64_t end) {
  int64_t length = (int64_t)strlen(r->separator), size = end - r->line;
  if (r->line < 0 || size < length || size > separator_room(r))
    return false;
  const char *text = waiting(r) + r->line;
  return memcmp(text, r->separator, (size_t)length) == 0 &&
         is_blank_line(text + length, size - length);
}

/* Choose where to split a long document. */
static int64_t find_cut(const char *text) {
  int64_t cut = BAM_READER_PART;
  for (int64_t i = cut; i > 1; i--)
    if (text[i - 1] == '\n' && !is_blank(text[i - 2]))
      return i - 1;
  while (cut > BAM_READER_PART - 4 && ((unsigned char)text[cut] & 0xc0) == 0x80)
    cut--;
  return cut;
}

/* Return the first `size` buffered bytes, and consume everything up to `end`, including a separator. */
static void emit(bam_reader *r, int64_t size, int64_t end, bool continues, bam_document *out) {
  *out = (bam_document){ waiting(r), size, r->number, continues };
  consume(r, end);
}

/* Whether a whole part of a document is buffered. All lines before the last are known to belong to it. If
   the last is not complete, it belongs to it only if it is already too long for a separator. */
static bool has_part(const bam_reader *r, bool complete) {
  int64_t size = count_waiting(r);
  if (complete)
    return r->line > BAM_READER_PART;
  return size > BAM_READER_PART && size - r->line > separator_room(r);
}

/* Get the text up to a separator, a split or the end of the file. It may be empty. */
static bam_status next_text(bam_reader *r, bam_document *out) {
  for (;;) {
    int64_t at, size = r->line;
    bool complete = find_newline(r, &at), last = r->ended && !complete;
    if ((complete || last) && is_separator(r, at)) {
      r->line = r->scan = at + complete;
      emit(r, size, r->line, false, out);
      return BAM_OK;
    }
    if (complete)
      r->line = r->scan = at + 1;
    if (has_part(r, complete)) {
      size = find_cut(waiting(r));
      emit(r, size, size, true, out);
      return BAM_OK;
    }
    if (last) {
      r->line = at;
      emit(r, at, at, false, out);
      return BAM_OK;
    }
    if (!complete)
      BAM_TRY(read_more(r));
  }
  return BAM_OK;
}

/* ---- JSON lines ---- */

static void release_document(bam_reader *r) {
  bam_object_free(r->context, r->document, r->document_bytes);
  r->document = NULL;
  r->document_bytes = 0;
}

/* Return a string of the current line: in place, or, if it has escapes, as a copy. Escapes must not be
   resolved in the buffer, whose newlines are still to be counted. */
static bam_status take_string(bam_reader *r, const bam_json *found, bam_document *out) {
  out->text = found->text;
  out->size = found->size;
  if (!found->has_escapes)
    return BAM_OK;
  r->document = bam_object_alloc(r->context, (size_t)found->size);
  if (r->document == NULL)
    return BAM_ERROR_MEMORY;
  r->document_bytes = (size_t)found->size;
  out->text = r->document;
  out->size = bam_json_string(found, r->document);
  return BAM_OK;
}

/* Get the document of the current line, which has `size` bytes. An empty line gives an empty document. */
static bam_status parse_line(bam_reader *r, int64_t size, bam_document *out) {
  *out = (bam_document){ "", 0, r->number, false };
  if (is_blank_line(waiting(r), size))
    return BAM_OK;
  bam_json found;
  BAM_TRY(bam_record_find(r->context, waiting(r), size, r->field, &found));
  return take_string(r, &found, out);
}

/* Count a bad record, whose error message is in the context. */
static void note_skipped(bam_reader *r) {
  if (r->skipped++ == 0)
    snprintf(r->fault, sizeof r->fault, "%s", r->context->message);
}

/* Skip the rest of a line that has `size` bytes in the buffer, without storing it. */
static bam_status skip_line(bam_reader *r, int64_t size) {
  bool complete;
  int64_t at;
  consume(r, size);
  while (complete = find_newline(r, &at), !complete && !r->ended) {
    consume(r, at);
    BAM_TRY(read_more(r));
  }
  r->scan = at + complete;
  consume(r, at + complete);
  return BAM_OK;
}

static bam_status next_line(bam_reader *r, bam_document *out) {
  bool complete;
  int64_t at;
  release_document(r);
  while (complete = find_newline(r, &at), at <= BAM_READER_LINE && !complete && !r->ended)
    BAM_TRY(read_more(r));
  bam_status status = at <= BAM_READER_LINE
                        ? parse_line(r, at, out)
                        : bam_fail(
                            r->context, BAM_ERROR_FILE,
                            "the line is longer than %d MB; a .jsonl has one object per line",
                            BAM_READER_LINE / 1000000);
  if (status != BAM_OK)
    status = fail_at(r, status, r->number);
  if (status == BAM_ERROR_FILE && r->skips_bad) {
    note_skipped(r);
    *out = (bam_document){ "", 0, r->number, false };
    return skip_line(r, at);
  }
  if (status != BAM_OK)
    return status;
  r->scan = at + complete;
  consume(r, at + complete);
  return BAM_OK;
}

bam_status bam_reader_next(bam_reader *reader, bam_document *out, bool *found) {
  bam_status status = BAM_OK;
  do {
    *found = !reader->ended || count_waiting(reader) > 0;
    if (!*found)
      break;
    status = reader->is_jsonl ? next_line(reader, out) : next_text(reader, out);
  } while (status == BAM_OK && out->size == 0);
  return status;
}

/* ---- opening ---- */

static bam_status copy_text(bam_context *context, const char *text, char **out) {
  size_t size = strlen(text) + 1;
  *out = bam_object_alloc(context, size);
  if (*out == NULL)
    return BAM_ERROR_MEMORY;
  memcpy(*out, text, size);
  return BAM_OK;
}

static void free_text(bam_context *context, char *text) {
  if (text != NULL)
    bam_object_free(context, text, strlen(text) + 1);
}

/* Fail because the name and the contents of the file disagree. */
static bam_status fail_ambiguous(const bam_reader *r, const char *what) {
  char quoted[BAM_QUOTE_TEXT];
  return bam_fail(r->context, BAM_ERROR_FILE,
                  "the format of %s is ambiguous: %s; set format = \"jsonl\" or \"text\"",
                  bam_quote(r->path, quoted), what);
}

static bool begins_with(const bam_reader *r, const char *bytes, int64_t size) {
  return count_waiting(r) >= size && memcmp(waiting(r), bytes, (size_t)size) == 0;
}

/* Refuse compressed data without a .gz or .zst in its name, which would be read as garbage text. */
static bam_status check_compression(const bam_reader *r) {
  char quoted[BAM_QUOTE_TEXT];
  const char *end = begins_with(r, "\x1f\x8b\x08", 3)       ? ".gz"
                    : begins_with(r, "\x28\xb5\x2f\xfd", 4) ? ".zst"
                                                            : NULL;
  if (end == NULL)
    return BAM_OK;
  return bam_fail(r->context, BAM_ERROR_FILE,
                  "cannot read %s: it holds compressed data, but its name does not end in %s; "
                  "rename it",
                  bam_quote(r->path, quoted), end);
}

/* Refuse plain text with a zero byte in its first HEAD_BYTES. `dropped` bytes were removed before them. */
static bam_status check_text(const bam_reader *r, int64_t dropped) {
  char quoted[BAM_QUOTE_TEXT];
  int64_t size = count_waiting(r) < HEAD_BYTES ? count_waiting(r) : HEAD_BYTES;
  const char *zero = r->is_jsonl || size == 0 ? NULL : memchr(waiting(r), 0, (size_t)size);
  if (zero == NULL)
    return BAM_OK;
  return bam_fail(r->context, BAM_ERROR_FILE,
                  "cannot read %s: byte %lld is zero, so it is not text; is it the right file, "
                  "in UTF-8?",
                  bam_quote(r->path, quoted), (long long)(zero - waiting(r) + dropped) + 1);
}

/* Find the first non-blank byte at or after `from`, at most BAM_READER_LINE. *out gets its offset, or that
   of the end if there is none. */
static bam_status skip_blanks(bam_reader *r, int64_t from, int64_t *out) {
  for (*out = from; *out < BAM_READER_LINE; (*out)++) {
    if (*out == count_waiting(r) && !r->ended)
      BAM_TRY(read_more(r));
    if (*out == count_waiting(r) || !is_blank(waiting(r)[*out]))
      break;
  }
  return BAM_OK;
}

/* Find the end of the line that begins at `from`, searching little more than BAM_READER_LINE bytes. */
static bam_status find_line_end(bam_reader *r, int64_t from, int64_t *out) {
  bam_status status = BAM_OK;
  r->scan = from;
  while (!find_newline(r, out) && !r->ended && *out - from <= BAM_READER_LINE)
    BAM_TRY_OR_DONE(read_more(r));
done:
  r->scan = 0;
  return status;
}

/* Decide whether the contents look like JSON lines. *is_record: the first non-blank line is an object with
   fields, and the next one, if any, also begins with an object. *first gets the first non-blank byte of
   the file, or 0. */
static bam_status look_for_record(bam_reader *r, char *first, bool *is_record) {
  int64_t begin, end, next;
  *first = 0;
  *is_record = false;
  BAM_TRY(skip_blanks(r, 0, &begin));
  if (begin == count_waiting(r))
    return BAM_OK;
  *first = waiting(r)[begin];
  if (*first != '{')
    return BAM_OK;
  BAM_TRY(find_line_end(r, begin, &end));
  *is_record = bam_record_is(r->context, waiting(r) + begin, end - begin);
  BAM_TRY(skip_blanks(r, end, &next));
  *is_record = *is_record && (next == count_waiting(r) || waiting(r)[next] == '{');
  return BAM_OK;
}

/* Choose the format by the name, and by the contents if the name may mislead. */
static bam_status decide_format(bam_reader *r, bam_text_format format) {
  bam_text_name name = bam_text_name_of(r->path);
  bool is_record;
  char first;
  r->is_jsonl = format == BAM_TEXT_JSONL || (format == BAM_TEXT_AUTO && name == BAM_NAME_JSONL);
  if (format != BAM_TEXT_AUTO || name == BAM_NAME_JSONL)
    return BAM_OK;
  BAM_TRY(look_for_record(r, &first, &is_record));
  if (name == BAM_NAME_OTHER)
    return is_record ? fail_ambiguous(r, "it holds JSON lines, but its name says plain text")
                     : BAM_OK;
  r->is_jsonl = is_record || first == 0;
  if (!r->is_jsonl)
    return fail_ambiguous(r, first == '[' ? "its name says JSON, but it holds one array, not an "
                                            "object on each line (jq -c '.[]' makes lines of it)"
                                          : "its name says JSON, but it does not hold one object "
                                            "on each line (jq -c . makes lines of objects)");
  return BAM_OK;
}

/* Examine the start of the file: drop a byte order mark, refuse binary data, choose the format. */
static bam_status read_head(bam_reader *r, bam_text_format format) {
  while (!r->ended && count_waiting(r) < HEAD_BYTES)
    BAM_TRY(read_more(r));
  BAM_TRY(check_compression(r));
  int64_t mark = begins_with(r, "\xef\xbb\xbf", 3) ? 3 : 0;
  r->begin += mark;
  BAM_TRY(decide_format(r, format));
  return check_text(r, mark);
}

bam_status bam_reader_open(bam_context *context, const char *path,
                           const bam_reader_options *options, bam_reader **out) {
  bam_reader *r = bam_object_alloc(context, sizeof *r);
  if (r == NULL)
    return BAM_ERROR_MEMORY;
  *r = (bam_reader){ .context = context, .number = 1, .skips_bad = options->skips_bad };
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(copy_text(context, path, &r->path));
  BAM_TRY_OR_DONE(copy_text(context, options->field, &r->field));
  BAM_TRY_OR_DONE(copy_text(context, options->separator, &r->separator));
  BAM_TRY_OR_DONE(bam_decompressor_open(context, path, &r->source));
  BAM_TRY_OR_DONE(read_head(r, options->format));
  *out = r;
  return BAM_OK;
done:
  bam_reader_close(r);
  return status;
}

int64_t bam_reader_skipped(const bam_reader *reader, const char **fault) {
  *fault = reader->fault;
  return reader->skipped;
}

void bam_reader_close(bam_reader *r) {
  if (r == NULL)
    return;
  release_document(r);
  bam_decompressor_close(r->source);
  bam_object_free(r->context, r->buffer, (size_t)r->capacity);
  free_text(r->context, r->path);
  free_text(r->context, r->field);
  free_text(r->context, r->separator);
  bam_object_free(r->context, r, sizeof *r);
}
