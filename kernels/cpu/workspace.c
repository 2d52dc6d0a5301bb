/* One block of memory per thread. */
#include "workspace.h"

#include <pthread.h>
#include <sys/mman.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* frees the block of a thread that ends */
static int key_missing;
static _Thread_local void *workspace;

static void release(void *memory) { munmap(memory, BAM_WORKSPACE_BYTES); }

static void make_key(void) { key_missing = pthread_key_create(&key, release); }

static void *allocate(void) {
  if (pthread_once(&once, make_key) != 0 || key_missing)
    return NULL;
  void *memory = mmap(NULL, BAM_WORKSPACE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return NULL;
  if (pthread_setspecific(key, memory) == 0)
    return memory;
  release(memory);
  return NULL;
}

void *bam_cpu_workspace(void) {
  if (workspace == NULL)
    workspace = allocate();
  return workspace;
}
