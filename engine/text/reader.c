/* The file's bytes wait in one buffer: [begin, end) has not been handed out. The end of a line is
   searched from `scan` on, so that every byte is looked at once however many reads it takes.
   Offsets count from `begin`: they stay right when the bytes move to the front. */
#include "../core/quote.h"
#include "reader.h"

#include <stdio.h>
#include <string.h>

#include "../io/atomic_file.h"
#include "record.h"
#include "decompress.h"

#define CHUNK_BYTES 65536
#define HEAD_BYTES 4096 /* in which a zero byte means that this is no text */

struct bam_reader {
  bam_context *context;
  bam_decompressor *source;
  char *path, *field, *separator; /* own copies */
  bool is_jsonl, skips_bad;
  bool ended; /* nothing more to come from the source */
  char *buffer;
  int64_t capacity, begin, end;
  int64_t number; /* of the line at `begin` */
  int64_t line;   /* plain text: offset of the line being searched; negative: it began before */
  int64_t scan;   /* offset from which its end is searched */
  char *document; /* handed out, where it is not in the buffer; owned */
  size_t document_bytes;
  int64_t skipped;
  char fault[BAM_MESSAGE_SIZE]; /* what was wrong with the first record skipped */
};

/* Put path and line before the message of a failure. */
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

/* The first `size` waiting bytes are done with. They stay where they are until more is read. */
static void consume(bam_reader *r, int64_t size) {
  r->number += count_newlines(waiting(r), size);
  r->begin += size;
  r->line -= size;
  r->scan -= size;
}

/* Make the buffer larger, with what waits at its front. */
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

/* Read more behind what waits. */
static bam_status read_more(bam_reader *r) {
  int64_t got = 0, size = count_waiting(r);
  if (r->capacity - size < CHUNK_BYTES)
    BAM_TRY(grow(r));
  if (r->capacity - r->end < CHUNK_BYTES) {
    memmove(r->buffer, waiting(r), (size_t)size);
    r->begin = 0;
    r->end = size;
  }
  bam_status status = bam_decompressor_read(r->source, r->buffer + r->end, r->capacity - r->end, &got);
  if (status != BAM_OK)
    return fail_at(r, status, r->number + count_newlines(waiting(r), size));
  r->end += got;
  r->ended = got == 0;
  return BAM_OK;
}

/* Look for the end of a line from `scan` on: its offset in *at, which is the end of all that waits
   where none is found. */
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

/* The longest line that can be a separator. */
static int64_t separator_room(const bam_reader *r) {
  return (int64_t)strlen(r->separator) + BAM_READER_BLANKS;
}

/* Is the line [line, end) the separator? One whose beginning has been handed out is longer. */
static bool is_separator(const bam_reader *r, int64_t end) {
  int64_t length = (int64_t)strlen(r->separator), size = end - r->line;
  if (r->line < 0 || size < length || size > separator_room(r))
    return false;
  const char *text = waiting(r) + r->line;
  return memcmp(text, r->separator, (size_t)length) == 0 &&
         is_blank_line(text + length, size - length);
}

/* Where to cut a part out of a long document. */
static int64_t find_cut(const char *text) {
  int64_t cut = BAM_READER_PART;
  for (int64_t i = cut; i > 1; i--)
    if (text[i - 1] == '\n' && !is_blank(text[i - 2]))
      return i - 1;
  while (cut > BAM_READER_PART - 4 && ((unsigned char)text[cut] & 0xc0) == 0x80)
    cut--;
  return cut;
}

/* Hand out the first `size` waiting bytes. Up to `end`, past a separator's line, all is done. */
static void hand_out(bam_reader *r, int64_t size, int64_t end, bool continues, bam_document *out) {
  *out = (bam_document){ waiting(r), size, r->number, continues };
  consume(r, end);
}

/* Is there enough for a part of a document? The lines before the one at its end are known to belong
   to it; that one, when it is not complete, does if it is already longer than a separator can be. */
static bool has_part(const bam_reader *r, bool complete) {
  int64_t size = count_waiting(r);
  if (complete)
    return r->line > BAM_READER_PART;
  return size > BAM_READER_PART && size - r->line > separator_room(r);
}

/* The text up to a separator, the end of the file or a cut. It may be empty. */
static bam_status next_text(bam_reader *r, bam_document *out) {
  for (;;) {
    int64_t at, size = r->line;
    bool complete = find_newline(r, &at), last = r->ended && !complete;
    if ((complete || last) && is_separator(r, at)) {
      r->line = r->scan = at + complete;
      hand_out(r, size, r->line, false, out);
      return BAM_OK;
    }
    if (complete)
      r->line = r->scan = at + 1;
    if (has_part(r, complete)) {
      size = find_cut(waiting(r));
      hand_out(r, size, size, true, out);
      return BAM_OK;
    }
    if (last) {
      r->line = at;
      hand_out(r, at, at, false, out);
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

/* Hand out a string of the line that waits: there, or without its escapes elsewhere, as newlines in
   the buffer are counted. */
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

/* The document in the line that waits, which has `size` bytes; an empty one for an empty line. */
static bam_status parse_line(bam_reader *r, int64_t size, bam_document *out) {
  *out = (bam_document){ "", 0, r->number, false };
  if (is_blank_line(waiting(r), size))
    return BAM_OK;
  bam_json found;
  BAM_TRY(bam_record_find(r->context, waiting(r), size, r->field, &found));
  return take_string(r, &found, out);
}

/* Count a bad record, whose message the context has. */
static void note_skipped(bam_reader *r) {
  if (r->skipped++ == 0)
    snprintf(r->fault, sizeof r->fault, "%s", r->context->message);
}

/* Pass over the rest of a line of which `size` bytes are waiting, without keeping it. */
static bam_status pass_line(bam_reader *r, int64_t size) {
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
  bam_status status = at <= BAM_READER_LINE ? parse_line(r, at, out) : bam_fail(r->context, BAM_ERROR_FILE,
                      "the line is longer than %d MB; a .jsonl holds one object a line",
                      BAM_READER_LINE / 1000000);
  if (status != BAM_OK)
    status = fail_at(r, status, r->number);
  if (status == BAM_ERROR_FILE && r->skips_bad) {
    note_skipped(r);
    *out = (bam_document){ "", 0, r->number, false };
    return pass_line(r, at);
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

/* Fail since what the file is cannot be told. */
static bam_status fail_ambiguous(const bam_reader *r, const char *what) {
  char quoted[BAM_QUOTE_TEXT];
  return bam_fail(r->context, BAM_ERROR_FILE,
                  "cannot tell what %s is: %s; say which with format = \"jsonl\" or \"text\"",
                  bam_quote(r->path, quoted), what);
}

static bool begins_with(const bam_reader *r, const char *bytes, int64_t size) {
  return count_waiting(r) >= size && memcmp(waiting(r), bytes, (size_t)size) == 0;
}

/* Compressed data under another name would be taken for text, or for damaged text. */
static bam_status check_packing(const bam_reader *r) {
  char quoted[BAM_QUOTE_TEXT];
  const char *end = begins_with(r, "\x1f\x8b\x08", 3)       ? ".gz"
                    : begins_with(r, "\x28\xb5\x2f\xfd", 4) ? ".zst"
                                                          : NULL;
  if (end == NULL)
    return BAM_OK;
  return bam_fail(r->context, BAM_ERROR_FILE,
                  "cannot read %s: it holds compressed data, which only a name that ends in %s tells; "
                  "rename it",
                  bam_quote(r->path, quoted), end);
}

/* Refuse plain text with a zero byte among the first ones; `dropped` bytes came before them. */
static bam_status check_text(const bam_reader *r, int64_t dropped) {
  char quoted[BAM_QUOTE_TEXT];
  int64_t size = count_waiting(r) < HEAD_BYTES ? count_waiting(r) : HEAD_BYTES;
  const char *zero = r->is_jsonl || size == 0 ? NULL : memchr(waiting(r), 0, (size_t)size);
  if (zero == NULL)
    return BAM_OK;
  return bam_fail(r->context, BAM_ERROR_FILE,
                  "cannot read %s: byte %lld is zero, so it is no text; is it the right file, "
                  "in UTF-8?",
                  bam_quote(r->path, quoted), (long long)(zero - waiting(r) + dropped) + 1);
}

/* The offset of the first byte from `from` on that is not blank, at most BAM_READER_LINE, in *out;
   that of the end where there is none. */
static bam_status skip_blanks(bam_reader *r, int64_t from, int64_t *out) {
  for (*out = from; *out < BAM_READER_LINE; (*out)++) {
    if (*out == count_waiting(r) && !r->ended)
      BAM_TRY(read_more(r));
    if (*out == count_waiting(r) || !is_blank(waiting(r)[*out]))
      break;
  }
  return BAM_OK;
}

/* The end of the line that begins at `from`, in *out: at most a little beyond BAM_READER_LINE. */
static bam_status find_line_end(bam_reader *r, int64_t from, int64_t *out) {
  bam_status status = BAM_OK;
  r->scan = from;
  while (!find_newline(r, out) && !r->ended && *out - from <= BAM_READER_LINE)
    BAM_TRY_OR_DONE(read_more(r));
done:
  r->scan = 0;
  return status;
}

/* Do the contents look like JSON lines? *is_record: the first line that is not blank is an object
   with fields, and the next one, if any, begins an object too. *first is the first byte of all that
   is not blank, 0 where there is none. */
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

/* Decide what the file is by its name, and by its contents where the name may mislead. */
static bam_status decide_format(bam_reader *r, bam_text_format format) {
  bam_text_name name = bam_text_name_of(r->path);
  bool is_record;
  char first;
  r->is_jsonl = format == BAM_TEXT_JSONL || (format == BAM_TEXT_AUTO && name == BAM_NAME_JSONL);
  if (format != BAM_TEXT_AUTO || name == BAM_NAME_JSONL)
    return BAM_OK;
  BAM_TRY(look_for_record(r, &first, &is_record));
  if (name == BAM_NAME_OTHER)
    return is_record ? fail_ambiguous(r, "it holds JSON lines, and its name says plain text")
                     : BAM_OK;
  r->is_jsonl = is_record || first == 0;
  if (!r->is_jsonl)
    return fail_ambiguous(r, first == '[' ? "its name says JSON, but it holds one array, not an "
                                              "object on each line (jq -c '.[]' makes lines of it)"
                                            : "its name says JSON, but it does not hold one object "
                                              "on each line (jq -c . makes lines of objects)");
  return BAM_OK;
}

/* Look at the beginning: drop a byte order mark, refuse what is no text, choose the format. */
static bam_status read_head(bam_reader *r, bam_text_format format) {
  while (!r->ended && count_waiting(r) < HEAD_BYTES)
    BAM_TRY(read_more(r));
  BAM_TRY(check_packing(r));
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
