/* For the context: closing what bam_context_device has opened. */
#ifndef BAM_DEVICES_H
#define BAM_DEVICES_H

#include "context.h"

/* Close all devices but the CPU, whose memory has been freed. */
void bam_context_close_devices(bam_context *context);

#endif
