/* A directory for one test. */
#include "scratch.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[4096];

void scratch_open(void) {
  const char *parent = getenv("TMPDIR");
  snprintf(directory, sizeof directory, "%s/bamlua-test-XXXXXX", parent != NULL ? parent : "/tmp");
  cr_assert(mkdtemp(directory) != NULL);
  EXPECT_EQ(chdir(directory), 0);
  fixture_open();
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk) {
  (void)info, (void)kind, (void)walk;
  return remove(path);
}

/* A process that changed its user is closed to inspection, which the leak checker needs. */
static void regain_root(void) {
  if (geteuid() != getuid()) {
    EXPECT_EQ(seteuid(getuid()), 0);
    prctl(PR_SET_DUMPABLE, 1);
  }
}

void scratch_close(void) {
  regain_root();
  cr_assert(chdir("/") == 0);
  nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
  fixture_close();
}

void scratch_write(const char *name, const void *data, size_t bytes) {
  FILE *file = fopen(name, "wb");
  cr_assert(file != NULL);
  EXPECT_EQ(fwrite(data, 1, bytes, file), bytes);
  EXPECT_EQ(fclose(file), 0);
}

unsigned char *scratch_read(const char *name, size_t *bytes) {
  FILE *file = fopen(name, "rb");
  cr_assert(file != NULL, "%s is not there", name);
  fseek(file, 0, SEEK_END);
  *bytes = (size_t)ftell(file);
  rewind(file);
  unsigned char *data = malloc(*bytes + 1);
  EXPECT_EQ(fread(data, 1, *bytes, file), *bytes);
  fclose(file);
  return data;
}

int scratch_count(void) {
  int count = 0;
  DIR *entries = opendir(".");
  while (readdir(entries) != NULL)
    count++;
  closedir(entries);
  return count - 2; /* . and .. */
}

void scratch_safetensors(const char *name, const char *header, size_t data_bytes) {
  size_t length = strlen(header), total = 8 + length + data_bytes;
  unsigned char *file = malloc(total);
  for (int i = 0; i < 8; i++)
    file[i] = (unsigned char)(length >> (8 * i));
  memcpy(file + 8, header, length);
  for (size_t i = 0; i < data_bytes; i++)
    file[8 + length + i] = (unsigned char)i;
  scratch_write(name, file, total);
  free(file);
}

void scratch_drop_root(void) {
  if (geteuid() == 0) {
    cr_assert(chmod(".", 0777) == 0);
    EXPECT_EQ(seteuid(65534), 0);
  }
}
