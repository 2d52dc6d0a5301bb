/* Each worker counts a range of the pending texts in its own table. Threads do not allocate: a worker that
   runs out of room stops and keeps its current piece. The main thread then makes room for all workers,
   and they resume. */
#include "count.h"

#include <string.h>

#define MOST_WORKERS 64
#define BATCH_BYTES (1 << 20) /* of text per worker */
#define ROOM_WORDS (1 << 16)
#define ROOM_BYTES (1 << 20)

typedef struct worker {
  bam_vocab words;
  bam_storage *counts; /* int64_t for each word */
  bam_cutter *cutter;
  int64_t text, end; /* its remaining texts */
  bam_piece piece;   /* the piece not yet counted, if `holds` */
  bool holds;
  int state; /* the last result of bam_cutter_next; 1: not finished */
} worker;

struct bam_counter {
  bam_context *context;
  bam_storage *texts; /* the bytes of the pending texts, back to back */
  bam_storage *ends;  /* int64_t for each: its end in `texts` */
  int64_t used, count;
  int n;
  worker workers[MOST_WORKERS];
};

bam_status bam_counter_new(bam_context *context, const bam_pattern *pattern, bam_counter **out) {
  bam_status status = BAM_OK;
  bam_counter *c = bam_object_alloc(context, sizeof *c);
  if (c == NULL)
    return BAM_ERROR_MEMORY;
  *c = (bam_counter){ .context = context };
  int n = context->threads < MOST_WORKERS ? context->threads : MOST_WORKERS;
  for (int i = 0; i < n; i++) {
    c->workers[i].words.context = context;
    c->n++;
    BAM_TRY_OR_DONE(bam_cutter_new(context, pattern, &c->workers[i].cutter));
  }
  *out = c;
  c = NULL;
done:
  bam_counter_release(c);
  return status;
}

void bam_counter_release(bam_counter *counter) {
  if (counter == NULL)
    return;
  for (int i = 0; i < counter->n; i++) {
    bam_vocab_release(&counter->workers[i].words);
    bam_storage_release(counter->context, counter->workers[i].counts);
    bam_cutter_release(counter->workers[i].cutter);
  }
  bam_storage_release(counter->context, counter->texts);
  bam_storage_release(counter->context, counter->ends);
  bam_object_free(counter->context, counter, sizeof *counter);
}

/* ---- one worker ---- */

/* Reserve room for `count` more words of `bytes` bytes in total, and their counts. */
static bam_status reserve(worker *w, int64_t count, int64_t bytes) {
  BAM_TRY(bam_vocab_reserve(&w->words, count, bytes));
  int64_t wanted = (w->words.count + count) * (int64_t)sizeof(int64_t);
  return bam_storage_grow(w->words.context, &w->counts, wanted);
}

static bool has_room(const worker *w, int64_t size) {
  return bam_vocab_has_room(&w->words, size) &&
         (w->words.count + 1) * (int64_t)sizeof(int64_t) <= w->counts->bytes;
}

/* Add `times` to the count of a word. The table must have room for it. */
static void add(worker *w, const char *bytes, int64_t size, int64_t times) {
  int64_t *counts = w->counts->data;
  int64_t known = w->words.count, i = bam_vocab_add(&w->words, bytes, size);
  counts[i] = (i < known ? counts[i] : 0) + times;
}

/* Get the worker's next piece, from this text or the next. Returns like bam_cutter_next. */
static int next_piece(const bam_counter *c, worker *w) {
  const int64_t *ends = c->ends->data;
  int found;
  while ((found = bam_cutter_next(w->cutter, &w->piece)) == 0 && w->text < w->end) {
    int64_t start = w->text > 0 ? ends[w->text - 1] : 0;
    bam_cutter_begin(w->cutter, (const char *)c->texts->data + start, ends[w->text] - start);
    w->text++;
  }
  return found;
}

/* Count until the texts end or the table is full. */
static void count_some(const bam_counter *c, worker *w) {
  for (;;) {
    if (!w->holds)
      w->state = next_piece(c, w);
    w->holds = w->state > 0;
    if (w->state <= 0 || !has_room(w, w->piece.size))
      return;
    add(w, w->piece.data, w->piece.size, 1);
    w->holds = false;
  }
}

/* ---- all of them ---- */

/* Divide the texts among the workers, about the same number of bytes each. */
static void share_out(bam_counter *c) {
  const int64_t *ends = c->ends->data;
  int64_t text = 0;
  for (int i = 0; i < c->n; i++) {
    worker *w = &c->workers[i];
    w->text = text;
    while (text < c->count && (i + 1 == c->n || ends[text] <= c->used / c->n * (i + 1)))
      text++;
    w->end = text;
    w->state = 1;
    bam_cutter_begin(w->cutter, NULL, 0);
  }
}

/* Grow the tables of workers that ran out of room. *more: some worker has not finished. */
static bam_status make_room(bam_counter *c, bool *more) {
  bam_status status = BAM_OK;
  *more = false;
  for (int i = 0; i < c->n && status == BAM_OK; i++) {
    worker *w = &c->workers[i];
    int64_t piece = w->holds ? w->piece.size : 0;
    if (w->state < 0)
      return bam_cutter_fail(w->cutter);
    if (w->state > 0) {
      *more = true;
      status = reserve(w, ROOM_WORDS, piece > ROOM_BYTES ? piece : ROOM_BYTES);
    }
  }
  return status;
}

/* Count the pending texts. */
static bam_status count_texts(bam_counter *c) {
  bool more;
  if (c->count == 0)
    return BAM_OK;
  share_out(c);
  for (;;) {
    BAM_TRY(make_room(c, &more));
    if (!more)
      break;
#pragma omp parallel for num_threads(c->n) schedule(static, 1)
    for (int i = 0; i < c->n; i++)
      if (c->workers[i].state > 0)
        count_some(c, &c->workers[i]);
  }
  c->used = c->count = 0;
  return BAM_OK;
}

bam_status bam_counter_add(bam_counter *counter, const char *text, int64_t size) {
  bam_counter *c = counter;
  BAM_TRY(bam_storage_grow(c->context, &c->texts, c->used + size));
  BAM_TRY(bam_storage_grow(c->context, &c->ends, (c->count + 1) * (int64_t)sizeof(int64_t)));
  memcpy((char *)c->texts->data + c->used, text, (size_t)size);
  c->used += size;
  ((int64_t *)c->ends->data)[c->count++] = c->used;
  if (c->used >= (int64_t)BATCH_BYTES * c->n)
    return count_texts(c);
  return BAM_OK;
}

bam_status bam_counter_finish(bam_counter *counter, const bam_vocab **words,
                              const int64_t **counts) {
  worker *all = &counter->workers[0];
  BAM_TRY(count_texts(counter));
  for (int i = 1; i < counter->n; i++) {
    worker *w = &counter->workers[i];
    BAM_TRY(reserve(all, w->words.count, w->words.used));
    for (int64_t k = 0; k < w->words.count; k++) {
      int64_t size;
      const char *word = bam_vocab_get(&w->words, k, &size);
      add(all, word, size, ((int64_t *)w->counts->data)[k]);
    }
    bam_vocab_release(&w->words);
  }
  BAM_TRY(reserve(all, 1, 0)); /* so that *counts is never NULL */
  *words = &all->words;
  *counts = all->counts->data;
  return BAM_OK;
}
