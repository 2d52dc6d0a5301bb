/* Streams: queues of actions, each done in order, with an order between them only where an event says so. When an
   action runs is up to the schedule. The first stream of the process and the stream NULL do what they are asked for at
   once, the others as late as they may: when somebody waits for them. With BAMLUA_SIMT_STREAMS=side it is the other
   way round. So work that must follow that of another stream and does not wait for it finds memory as it was, whichever
   of the two is behind. Copies from and to pinned memory always run as late as they may: what the host reads too early,
   or overwrites too early, is then wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <deque>
#include <string>
#include <vector>

#include "machine.h"

struct simt_item {
  std::string what;
  std::vector<const void *> operands;
  simt_action action;
};

struct simt_queue {
  bool is_first;
  std::deque<simt_item> items; /* that wait */
  uint64_t asked, done;        /* actions since the queue was made */
};

typedef std::vector<std::shared_ptr<simt_queue>> queues;

static queues *all_queues(void) {
  static queues all = { std::make_shared<simt_queue>() }; /* of the stream NULL */
  return &all;
}

static simt_queue *queue_of(cudaStream_t stream) {
  return stream != NULL ? stream->queue.get() : all_queues()->front().get();
}

static bool is_late(const simt_queue *queue) {
  const char *mode = getenv("BAMLUA_SIMT_STREAMS");
  const bool side_first = mode != NULL && strcmp(mode, "side") == 0;
  return queue != all_queues()->front().get() && queue->is_first == side_first;
}

/* Do the actions up to that many since the queue was made. Returns what the last one ended with; an error of others is
   found by the next wait. */
static cudaError_t run(simt_queue *queue, uint64_t until) {
  cudaError_t error = cudaSuccess;
  while (queue->done < until) {
    const simt_item item = std::move(queue->items.front());
    queue->items.pop_front();
    if (error != cudaSuccess)
      simt_fail_later(error);
    error = item.action(); /* which may run other queues */
    queue->done++;
  }
  return error;
}

static void run_before(simt_queue *queue, uint64_t until) {
  const cudaError_t error = run(queue, until);
  if (error != cudaSuccess)
    simt_fail_later(error);
}

/* ---- asking ---- */

cudaError_t simt_ask(cudaStream_t stream, const char *what, const void *arguments, size_t bytes,
                     simt_when when, const simt_action &action) {
  simt_queue *queue = queue_of(stream);
  cudaError_t error;
  if (simt_record(stream, what, arguments, bytes, action, &error))
    return error;
  simt_item item = { what, {}, action };
  for (size_t at = 0; at + sizeof(void *) <= bytes; at += sizeof(void *)) {
    const void *data;
    memcpy(&data, (const char *)arguments + at, sizeof data);
    if (simt_allocation_of(data) != NULL)
      item.operands.push_back(data);
  }
  queue->items.push_back(item);
  queue->asked++;
  if (when == SIMT_WHEN_WAITED_FOR || (when == SIMT_WHEN_SCHEDULED && is_late(queue)))
    return cudaSuccess;
  return run(queue, queue->asked);
}

void simt_finish_stream(cudaStream_t stream) {
  simt_queue *queue = queue_of(stream);
  run_before(queue, queue->asked);
}

void simt_finish_streams(void) {
  for (size_t i = all_queues()->size(); i-- > 0;) {
    simt_queue *queue = (*all_queues())[i].get();
    run_before(queue, queue->asked);
  }
}

bool simt_streams_are_done(void) {
  for (const auto &queue : *all_queues())
    if (!queue->items.empty())
      return false;
  return true;
}

bool simt_is_unused(const simt_allocation *a) {
  for (const auto &queue : *all_queues())
    for (const simt_item &item : queue->items)
      for (const void *data : item.operands)
        if (simt_allocation_of(data) == a) {
          fprintf(stderr, "simt: memory is freed that is still to be used by %s\n",
                  item.what.c_str());
          return false;
        }
  return true;
}

/* ---- streams ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  *stream = new simt_stream();
  (*stream)->device = simt_current_device();
  (*stream)->queue = std::make_shared<simt_queue>();
  (*stream)->queue->is_first = all_queues()->size() == 1;
  all_queues()->push_back((*stream)->queue);
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithFlags(stream, 0); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const cudaError_t refused = simt_forbidden_on(stream, "cudaStreamDestroy");
  if (refused != cudaSuccess)
    return refused;
  simt_finish_stream(stream);
  queues *all = all_queues();
  for (size_t i = 0; i < all->size(); i++)
    if ((*all)[i] == stream->queue)
      all->erase(all->begin() + (ptrdiff_t)i);
  delete stream;
  return cudaSuccess;
}

int simt_stream_device(cudaStream_t stream) { return stream->device; }

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  cudaError_t refused = simt_forbidden_on(stream, "cudaStreamSynchronize");
  if (refused == cudaSuccess)
    refused = simt_forbidden_in_capture("cudaStreamSynchronize");
  if (refused != cudaSuccess)
    return refused;
  simt_trace("synchronize");
  simt_finish_stream(stream);
  if (simt_streams_are_done())
    simt_all_was_waited_for();
  return simt_waited();
}

/* ---- events ---- */

struct simt_event {
  std::shared_ptr<double> time;      /* of the clock when the queue has reached it */
  std::shared_ptr<simt_queue> queue; /* on which it was recorded; NULL: never */
  uint64_t position;                 /* of that queue: the actions before it */
  uint64_t work;                     /* launches and products that had been enqueued */
  bool captured;                     /* recorded in a graph */
};

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
  *event = new simt_event();
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  cudaError_t error;
  event->captured = simt_record(
    stream, "event", NULL, 0, [] { return cudaSuccess; }, &error);
  if (event->captured)
    return error;
  event->queue = stream != NULL ? stream->queue : all_queues()->front();
  const auto time = event->time = std::make_shared<double>(simt_clock(&event->work));
  error = event->queue->items.empty()
            ? cudaSuccess
            : simt_ask(stream, "an event", NULL, 0, SIMT_WHEN_WAITED_FOR, [time] {
                uint64_t work;
                *time = simt_clock(&work);
                return cudaSuccess;
              });
  event->position = event->queue->asked;
  return error;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  uint64_t work;
  const cudaError_t refused = simt_forbidden_in_capture("cudaEventSynchronize");
  if (refused != cudaSuccess)
    return refused;
  if (event->captured)
    return simt_result(cudaErrorCapturedEvent);
  if (event->queue == NULL)
    return cudaSuccess;
  simt_clock(&work);
  simt_trace("wait %llu", (unsigned long long)(work - event->work));
  run_before(event->queue.get(), event->position);
  return simt_waited();
}

/* What is enqueued next follows what was before the event when it was last recorded. */
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const cudaError_t refused = simt_forbidden_on(stream, "cudaStreamWaitEvent");
  if (refused != cudaSuccess || event->queue == NULL)
    return refused;
  const std::shared_ptr<simt_queue> queue = event->queue;
  const uint64_t position = event->position;
  return simt_ask(stream, "a wait for an event", NULL, 0, SIMT_WHEN_SCHEDULED, [queue, position] {
    run_before(queue.get(), position);
    return cudaSuccess;
  });
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
  *milliseconds = (float)(*to->time - *from->time);
  return cudaSuccess;
}
