/* Graphs of device work: what a device is asked for while a capture is in progress is recorded instead of run, and can
   then be run again with one call, in the same memory. The host's part (shapes, autograd, numbers passed by value) is
   done once, during the capture; a replay does what the device did.

   A capture keeps all memory that it uses: storages from before are retained, and those allocated during it do not
   return to the cache when they are released. It is given up when memory is short. What needs the host in between (a
   copy, a wait, a random number, a leaf's first gradient) fails, so the work should have been done once before. At most
   one capture is in progress. */
#ifndef BAM_CAPTURE_H
#define BAM_CAPTURE_H

#include "tensor.h"

typedef struct bam_capture bam_capture;

/* Begin to record what `device` is asked for. Fails if it has no graphs, or if something is on that needs every op to
   run at once: a profile, bam.debug { nan = true }, BAMLUA_SYNC=1, memory from malloc. The capture is owned by the
   caller. */
bam_status bam_capture_begin(bam_context *context, bam_device *device, bam_capture **out);

/* End it. Then it can be launched; after a failure it can only be freed. */
bam_status bam_capture_end(bam_capture *capture);

/* Free it, also in progress: what has been recorded is then dropped. NULL is allowed. */
void bam_capture_free(bam_capture *capture);

/* Copy the values of `from`, and what is known of them (facts.h), to `input`, which was allocated before the capture,
   has the same shape and dtype and is contiguous. */
bam_status bam_capture_set_input(bam_tensor *input, bam_tensor *from);

/* Why it must not be launched now, as the end of a sentence; NULL if it may. Besides its inputs this depends on leaves
   (whether they require gradients, where they and their gradients are), algorithms of products, no_grad and tf32.
   *lasting: it will never be launched again, and should be freed. */
const char *bam_capture_obstacle(const bam_capture *capture, bool *lasting);

/* Run it. The tensors that were changed in place count as changed again. */
bam_status bam_capture_launch(bam_capture *capture);

/* ---- used by the engine ---- */

/* The number of the capture of `device` that is in progress; 0: none. */
uint32_t bam_capture_number(const bam_context *context, const bam_device *device);

/* During a capture: fail, because `what` cannot be captured. */
bam_status bam_capture_refuse(bam_context *context, const char *what);

/* To be called before the place or the gradient of a leaf changes, or whether it requires one: fails during a capture,
   unless the leaf was made in it, and else makes captures obsolete that may depend on it. */
bam_status bam_capture_change_leaf(const bam_tensor *leaf, const char *what);

/* During a capture: a kernel is given the address of the storage; the contents of the storage change; an op relies on
   its integers being within low .. high, or `other`. */
void bam_capture_use(bam_capture *capture, bam_storage *storage);
void bam_capture_note_change(bam_capture *capture, bam_storage *storage);
void bam_capture_rely(bam_capture *capture, const bam_tensor *tensor, int64_t low, int64_t high,
                      int64_t other);

/* Whether the memory of the tensor is from before the capture that is in progress. */
bool bam_capture_is_input(const bam_capture *capture, const bam_tensor *tensor);

/* Whether a capture takes over a storage that nobody refers to any longer, because it uses it. */
bool bam_capture_keep(bam_context *context, bam_storage *storage);

/* Give up all captures of `device` that are not in progress, since memory is short. False if there are none. */
bool bam_capture_give_up(bam_context *context, bam_device *device);

#endif
