/* The file's bytes wait in one buffer: [begin, end) has not been handed out. The end of a line is
   searched from `scan` on, so that every byte is looked at once however many reads it takes.
   Offsets count from `begin`: they stay right when the bytes move to the front. */
#include "reader.h"

#include <stdio.h>
#include <string.h>

#include "../file.h"
#include "../json.h"
#include "source.h"

#define CHUNK_BYTES 65536
#define HEAD_BYTES 4096 /* in which a zero byte means that this is no text */
#define JSON_DEPTH 64

struct bam_reader {
  bam_context *context;
  bam_source *source;
  char *path, *field, *separator; /* own copies */
  bool is_jsonl, ended;           /* nothing more to come from the source */
  char *buffer;
  int64_t capacity, begin, end;
  int64_t number; /* of the line at `begin` */
  int64_t line;   /* plain text: offset of the line being searched; negative: it began before */
  int64_t scan;   /* offset from which its end is searched */
  json_t *record; /* of the document handed out */
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
  bam_status status = BAM_OK;
  int64_t got = 0, size = count_waiting(r);
  if (r->capacity - size < CHUNK_BYTES)
    BAM_TRY(grow(r));
  if (r->capacity - r->end < CHUNK_BYTES) {
    memmove(r->buffer, waiting(r), (size_t)size);
    r->begin = 0;
    r->end = size;
  }
  status = bam_source_read(r->source, r->buffer + r->end, r->capacity - r->end, &got);
  if (status != BAM_OK)
    return fail_at(r, status, r->number + count_newlines(waiting(r), size));
  r->end += got;
  r->ended = got == 0;
done:
  return status;
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

/* Is the line [line, end) the separator? One whose beginning has been handed out is longer. */
static bool is_separator(const bam_reader *r, int64_t end) {
  int64_t length = (int64_t)strlen(r->separator), size = end - r->line;
  if (size < length || size > length + 1)
    return false;
  const char *text = waiting(r) + r->line;
  return memcmp(text, r->separator, (size_t)length) == 0 &&
         (size == length || text[length] == '\r');
}

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

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
   to it; that one, when it is not complete, does if it is already longer than the separator. */
static bool has_part(const bam_reader *r, bool complete) {
  int64_t size = count_waiting(r);
  if (complete)
    return r->line > BAM_READER_PART;
  return size > BAM_READER_PART && size - r->line > (int64_t)strlen(r->separator) + 1;
}

/* The text up to a separator, the end of the file or a cut. It may be empty. */
static bam_status next_text(bam_reader *r, bam_document *out) {
  bam_status status = BAM_OK;
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
done:
  return status;
}

/* ---- JSON lines ---- */

/* The names of an object's fields, as many as there is room for. */
static void list_fields(json_t *object, char *text, size_t size) {
  char quoted[BAM_QUOTE_TEXT];
  const char *name;
  json_t *value;
  size_t used = 0;
  snprintf(text, size, "none");
  json_object_foreach(object, name, value) {
    const char *comma = used > 0 ? ", " : "";
    bam_quote(name, quoted);
    if (used + strlen(comma) + strlen(quoted) + sizeof ", ..." > size) {
      snprintf(text + used, size - used, "%s...", comma);
      return;
    }
    used += (size_t)snprintf(text + used, size - used, "%s%s", comma, quoted);
  }
}

static const char *type_name(const json_t *value) {
  switch (json_typeof(value)) {
  case JSON_OBJECT: return "an object";
  case JSON_ARRAY: return "an array";
  case JSON_STRING: return "a string";
  case JSON_NULL: return "null";
  case JSON_TRUE:
  case JSON_FALSE: return "a boolean";
  default: return "a number";
  }
}

/* The document in the record. */
static bam_status find_field(const bam_reader *r, bam_document *out) {
  char field[BAM_QUOTE_TEXT], names[400];
  bam_quote(r->field, field);
  if (!json_is_object(r->record))
    return bam_fail(r->context, BAM_ERROR_FILE, "expected an object with the field %s, got %s",
                    field, type_name(r->record));
  const json_t *value = json_object_get(r->record, r->field);
  if (value == NULL) {
    list_fields(r->record, names, sizeof names);
    return bam_fail(r->context, BAM_ERROR_FILE, "the object has no field %s; it has %s", field,
                    names);
  }
  if (!json_is_string(value))
    return bam_fail(r->context, BAM_ERROR_FILE, "the field %s is %s, not a string", field,
                    type_name(value));
  out->text = json_string_value(value);
  out->size = (int64_t)json_string_length(value);
  return BAM_OK;
}

static bool is_blank_line(const char *text, int64_t size) {
  while (size > 0 && is_blank(text[size - 1]))
    size--;
  return size == 0;
}

/* The document in the line that waits, which has `size` bytes; an empty one for an empty line. */
static bam_status parse_line(bam_reader *r, int64_t size, bam_document *out) {
  *out = (bam_document){ "", 0, r->number, false };
  if (is_blank_line(waiting(r), size))
    return BAM_OK;
  bam_status status =
    bam_json_parse_record(r->context, waiting(r), size, JSON_DEPTH, &r->record);
  return status == BAM_OK ? find_field(r, out) : status;
}

static bam_status next_line(bam_reader *r, bam_document *out) {
  bam_status status = BAM_OK;
  bool complete;
  int64_t at;
  json_decref(r->record);
  r->record = NULL;
  while (complete = find_newline(r, &at), at <= BAM_READER_LINE && !complete && !r->ended)
    BAM_TRY(read_more(r));
  if (at > BAM_READER_LINE)
    status = bam_fail(r->context, BAM_ERROR_FILE,
                      "the line is longer than %d MB; a .jsonl holds one object a line",
                      BAM_READER_LINE / 1000000);
  else
    status = parse_line(r, at, out);
  if (status != BAM_OK)
    return fail_at(r, status, r->number);
  r->scan = at + complete;
  consume(r, at + complete);
done:
  return status;
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

static bool is_jsonl(const char *path) {
  static const char end[] = ".jsonl";
  const int64_t length = bam_source_name(path), tail = sizeof end - 1;
  return length > tail && memcmp(path + length - tail, end, (size_t)tail) == 0;
}

/* Look at the beginning: drop a byte order mark, refuse what is no text. */
static bam_status read_head(bam_reader *r) {
  char quoted[BAM_QUOTE_TEXT];
  bam_status status = BAM_OK;
  while (!r->ended && count_waiting(r) < HEAD_BYTES)
    BAM_TRY(read_more(r));
  if (count_waiting(r) >= 3 && memcmp(waiting(r), "\xef\xbb\xbf", 3) == 0)
    r->begin += 3;
  int64_t size = count_waiting(r) < HEAD_BYTES ? count_waiting(r) : HEAD_BYTES;
  const char *zero = r->is_jsonl || size == 0 ? NULL : memchr(waiting(r), 0, (size_t)size);
  if (zero != NULL)
    status = bam_fail(r->context, BAM_ERROR_FILE,
                      "cannot read %s: byte %lld is zero, so it is no text; is it the right file, "
                      "in UTF-8?",
                      bam_quote(r->path, quoted), (long long)(zero - r->buffer) + 1);
done:
  return status;
}

bam_status bam_reader_open(bam_context *context, const char *path, const char *field,
                           const char *separator, bam_reader **out) {
  bam_reader *r = bam_object_alloc(context, sizeof *r);
  if (r == NULL)
    return BAM_ERROR_MEMORY;
  *r = (bam_reader){ .context = context, .number = 1, .is_jsonl = is_jsonl(path) };
  bam_status status = BAM_OK;
  BAM_TRY(copy_text(context, path, &r->path));
  BAM_TRY(copy_text(context, field, &r->field));
  BAM_TRY(copy_text(context, separator, &r->separator));
  BAM_TRY(bam_source_open(context, path, &r->source));
  BAM_TRY(read_head(r));
  *out = r;
  return BAM_OK;
done:
  bam_reader_close(r);
  return status;
}

void bam_reader_close(bam_reader *r) {
  if (r == NULL)
    return;
  json_decref(r->record);
  bam_source_close(r->source);
  bam_object_free(r->context, r->buffer, (size_t)r->capacity);
  free_text(r->context, r->path);
  free_text(r->context, r->field);
  free_text(r->context, r->separator);
  bam_object_free(r->context, r, sizeof *r);
}
