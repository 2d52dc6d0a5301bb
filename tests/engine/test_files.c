/* Reading in pieces and atomic writing: what every file reader and writer of the engine relies on. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../engine/core/quote.h"
#include "../../engine/io/atomic_file.h"
#include "../../engine/io/input_file.h"
#include "../../engine/io/staged.h"
#include "scratch.h"

TestSuite(files, .init = scratch_open, .fini = scratch_close);

/* Write `text` to `path` through the writer. */
static bam_status write_text(const char *path, const char *text) {
  bam_writer writer;
  bam_status status = bam_writer_open(&writer, fixture_context(), path);
  if (status == BAM_OK)
    status = bam_writer_bytes(&writer, text, (int64_t)strlen(text));
  if (status == BAM_OK)
    status = bam_writer_commit(&writer);
  bam_writer_abandon(&writer);
  return status;
}

static void expect_text(const char *path, const char *text) {
  size_t bytes;
  unsigned char *data = scratch_read(path, &bytes);
  cr_assert(bytes == strlen(text) && memcmp(data, text, bytes) == 0, "%s holds something else",
            path);
  free(data);
}

static mode_t mode_of(const char *path) {
  struct stat info;
  EXPECT_EQ(stat(path, &info), 0);
  return info.st_mode & 0777;
}

/* ---- quoting ---- */

Test(files, quoted_text_fits_a_message) {
  char quoted[BAM_QUOTE_TEXT], text[1001];
  cr_assert_str_eq(bam_quote("a.npy", quoted), "\"a.npy\"");
  cr_assert_str_eq(bam_quote("", quoted), "\"\"");
  cr_assert_str_eq(bam_quote("a\nb\x1b[1m\x7f", quoted), "\"a?b?[1m?\"");
  for (int i = 0; i < 1000; i += 2)
    memcpy(text + i, "\xc3\xa9", 2);
  text[1000] = '\0';
  bam_quote(text, quoted);
  EXPECT_COMPARE(strlen(quoted), <, BAM_QUOTE_TEXT);
  EXPECT_COMPARE(strlen(quoted), >, BAM_QUOTE_TEXT - 8);
  char *dots = strstr(quoted, "...");
  cr_assert(dots != NULL && (dots - quoted) % 2 == 1 && strncmp(dots + 3, "\xc3\xa9", 2) == 0);
}

Test(files, quoted_text_of_every_length) {
  for (size_t length = 0; length < 400; length++) {
    char quoted[BAM_QUOTE_TEXT], text[400];
    memset(text, 'x', length);
    text[length] = '\0';
    size_t room = BAM_QUOTE_TEXT - 1;
    EXPECT_EQ(strlen(bam_quote(text, quoted)), length + 2 < room ? length + 2 : room);
  }
}

/* ---- reading ---- */

static bam_input_file *open_input(const char *path) {
  bam_input_file *input;
  EXPECT_OK(bam_input_file_open(fixture_context(), path, &input));
  return input;
}

Test(files, what_cannot_be_read_is_named) {
  bam_context *context = fixture_context();
  bam_input_file *input;
  EXPECT_ERROR(bam_input_file_open(context, "no.bin", &input), "\"no.bin\": No such file");
  EXPECT_ERROR(bam_input_file_open(context, "", &input), "\"\": No such file");
  EXPECT_ERROR(bam_input_file_open(context, ".", &input), "\".\": it is a directory");
  EXPECT_ERROR(bam_input_file_open(context, "/dev/null", &input), "it is a pipe or device");
  cr_assert(mkfifo("pipe", 0600) == 0);
  EXPECT_ERROR(bam_input_file_open(context, "pipe", &input), "\"pipe\": it is a pipe or device");
  scratch_write("empty", "", 0);
  EXPECT_ERROR(bam_input_file_open(context, "empty", &input), "\"empty\": the file is empty");
  scratch_write("file", "x", 1);
  EXPECT_ERROR(bam_input_file_open(context, "file/x", &input), "Not a directory");
}

Test(files, unreadable_file_is_an_error) {
  bam_input_file *input;
  scratch_write("secret", "x", 1);
  cr_assert(chmod("secret", 0) == 0);
  scratch_drop_root();
  EXPECT_ERROR(bam_input_file_open(fixture_context(), "secret", &input),
               "Permission denied; change");
}

/* Overwrite the first bytes of a file where they are. */
static void overwrite(const char *path, const void *data, size_t bytes) {
  int file = open(path, O_WRONLY);
  EXPECT_COMPARE(file, >=, 0);
  EXPECT_EQ(pwrite(file, data, bytes, 0), (ssize_t)bytes);
  EXPECT_EQ(close(file), 0);
  struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 1234567 } };
  EXPECT_EQ(utimensat(AT_FDCWD, path, times, 0), 0); /* the clock's steps may be long */
}

Test(files, what_was_read_does_not_change_with_its_file) {
  float values[3] = { 1, 2, 3 }, others[3] = { 4, 5, 6 };
  bam_shape shape = SHAPE(3);
  bam_tensor *x;
  scratch_write("data", values, sizeof values);
  bam_input_file *input = open_input("data");
  EXPECT_OK(bam_input_file_tensor(input, 0, BAM_F32, &shape, &x));
  overwrite("data", others, sizeof others);
  expect_values(x, VALUES(1, 2, 3), 0);
  cr_assert(truncate("data", 0) == 0);
  expect_values(x, VALUES(1, 2, 3), 0);
  EXPECT_OK(bam_tensor_fill(x, 7));
  cr_assert(unlink("data") == 0);
  expect_values(x, VALUES(7, 7, 7), 0);
  bam_tensor_release(x);
  bam_input_file_close(input);
}

Test(files, changed_and_shortened_files_are_errors) {
  unsigned char byte;
  scratch_write("data", "abcdefgh", 8);
  bam_input_file *input = open_input("data");
  EXPECT_OK(bam_input_file_read(input, 7, &byte, 1));
  EXPECT_EQ(byte, 'h');
  overwrite("data", "x", 1);
  EXPECT_ERROR(
    bam_input_file_read(input, 7, &byte, 1),
    "the file was changed or replaced after it was opened; do not write to a file in use");
  cr_assert(truncate("data", 3) == 0);
  EXPECT_ERROR(bam_input_file_read(input, 7, &byte, 1),
               "the file has 3 bytes now, and had 8 when it was opened");
  bam_fail_input(input, BAM_ERROR_FILE);
  cr_assert(strncmp(fixture_context()->message, "\"data\": ", 8) == 0);
  bam_input_file_close(input);
}

/* Replacing a file, as the writer does, and deleting it leave the opened one as it was. */
Test(files, replaced_file_is_read_as_it_was) {
  unsigned char bytes[3];
  scratch_write("data", "old", 3);
  bam_input_file *input = open_input("data");
  EXPECT_OK(write_text("data", "new"));
  EXPECT_OK(bam_input_file_read(input, 0, bytes, 3));
  cr_assert(memcmp(bytes, "old", 3) == 0 && unlink("data") == 0);
  EXPECT_OK(bam_input_file_read(input, 0, bytes, 3));
  cr_assert(memcmp(bytes, "old", 3) == 0);
  bam_input_file_close(input);
}

/* With more files than may be open they are opened for each read, and must be the same. */
Test(files, more_inputs_than_descriptors) {
  enum { COUNT = 100 };
  bam_input_file *inputs[COUNT];
  char name[20], letter;
  struct rlimit limit = { 64, 64 };
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  for (int i = 0; i < COUNT; i++) {
    snprintf(name, sizeof name, "file-%d", i);
    scratch_write(name, &(char){ (char)i }, 1);
    inputs[i] = open_input(name);
  }
  for (int i = 0; i < COUNT; i++) {
    EXPECT_OK(bam_input_file_read(inputs[i], 0, &letter, 1));
    EXPECT_EQ(letter, i);
  }
  EXPECT_OK(write_text("file-99", "x"));
  EXPECT_ERROR(bam_input_file_read(inputs[99], 0, &letter, 1), "was changed or replaced");
  cr_assert(unlink("file-98") == 0);
  EXPECT_ERROR(bam_input_file_read(inputs[98], 0, &letter, 1), "cannot be read: No such file");
  for (int i = 0; i < COUNT; i++)
    bam_input_file_close(inputs[i]);
}

Test(files, unaligned_and_empty_tensors) {
  bam_tensor *x, *none;
  unsigned char bytes[5] = { 9, 0, 0, 128, 63 };
  bam_shape one = SHAPE(1), empty = SHAPE(3, 0);
  scratch_write("data", bytes, sizeof bytes);
  bam_input_file *input = open_input("data");
  EXPECT_OK(bam_input_file_tensor(input, 1, BAM_F32, &one, &x));
  EXPECT_OK(bam_input_file_tensor(input, 5, BAM_F64, &empty, &none));
  expect_values(x, VALUES(1), 0);
  RELEASE(x, none);
  bam_input_file_close(input);
}

Test(files, bools_other_than_0_and_1_are_refused) {
  bam_tensor *x;
  bam_shape shape = SHAPE(3);
  scratch_write("data", "\x01\x00\x02", 3);
  bam_input_file *input = open_input("data");
  EXPECT_ERROR(bam_input_file_tensor(input, 0, BAM_BOOL, &shape, &x),
               "element 3 of a bool tensor is 2");
  bam_input_file_close(input);
}

/* ---- writing ---- */

Test(files, written_file_appears_whole) {
  EXPECT_OK(write_text("new", "one"));
  expect_text("new", "one");
  EXPECT_OK(write_text("new", "second"));
  expect_text("new", "second");
  EXPECT_EQ(scratch_count(), 1);
}

Test(files, abandoned_file_leaves_the_old_one) {
  bam_writer writer;
  scratch_write("old", "old", 3);
  EXPECT_OK(bam_writer_open(&writer, fixture_context(), "old"));
  char block[100000] = { 0 };
  EXPECT_OK(bam_writer_bytes(&writer, block, sizeof block));
  EXPECT_EQ(scratch_count(), 2);
  bam_writer_abandon(&writer);
  bam_writer_abandon(&writer);
  expect_text("old", "old");
  EXPECT_EQ(scratch_count(), 1);
}

Test(files, permissions_and_links_are_kept) {
  umask(022);
  EXPECT_OK(write_text("plain", "x"));
  cr_assert_eq(mode_of("plain"), 0644);
  cr_assert(chmod("plain", 0640) == 0 && symlink("plain", "link") == 0);
  EXPECT_OK(write_text("link", "y"));
  struct stat info;
  cr_assert(lstat("link", &info) == 0 && S_ISLNK(info.st_mode));
  expect_text("plain", "y");
  cr_assert_eq(mode_of("plain"), 0640);
}

/* The mode of the only file in the directory besides `path`. */
static mode_t mode_of_other(const char *path) {
  mode_t mode = 0;
  DIR *entries = opendir(".");
  for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
    if (entry->d_name[0] != '.' && strcmp(entry->d_name, path) != 0)
      mode = mode_of(entry->d_name);
  closedir(entries);
  return mode;
}

/* A private file's successor is never open to others, and stays its owner's. */
Test(files, what_replaces_a_private_file_is_private) {
  bam_writer writer;
  umask(022);
  scratch_write("secret", "old", 3);
  cr_assert(chmod("secret", 0600) == 0);
  bool is_root = geteuid() == 0;
  cr_assert(!is_root || chown("secret", 1234, 2345) == 0);
  EXPECT_OK(bam_writer_open(&writer, fixture_context(), "secret"));
  EXPECT_OK(bam_writer_bytes(&writer, "new", 3));
  cr_assert_eq(mode_of_other("secret"), 0600);
  EXPECT_OK(bam_writer_commit(&writer));
  struct stat info;
  cr_assert(stat("secret", &info) == 0 && (info.st_mode & 0777) == 0600);
  cr_assert(!is_root || (info.st_uid == 1234 && info.st_gid == 2345));
  expect_text("secret", "new");
}

/* A group that may not be given away gets no access. */
Test(files, foreign_group_gets_no_access) {
  if (geteuid() != 0)
    cr_skip_test("only root can make a file of another group");
  scratch_write("shared", "old", 3);
  cr_assert(chown("shared", 65534, 2345) == 0 && chmod("shared", 0664) == 0);
  scratch_drop_root();
  EXPECT_OK(write_text("shared", "new"));
  cr_assert_eq(mode_of("shared"), 0604);
}

Test(files, temporary_names) {
  char name[NAME_MAX + 1], other[NAME_MAX + 1], longest[NAME_MAX + 1];
  bam_staged_name("x.tmp-y", name);
  bam_staged_name("x.tmp-y", other);
  cr_assert_str_neq(name, other);
  EXPECT_EQ(bam_staged_length(name), 7);
  memset(longest, 'n', NAME_MAX);
  longest[NAME_MAX] = '\0';
  bam_staged_name(longest, name);
  EXPECT_COMPARE(strlen(name), <=, NAME_MAX);
  EXPECT_EQ(bam_staged_length(name), 200);
  const char *const others[] = {
    "", "x", ".tmp-", "x.tmp-0123", "x.tmp-0123456789abcdeg", "0123456789abcdef"
  };
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    cr_assert_eq(bam_staged_length(others[i]), -1, "%s", others[i]);
}

Test(files, where_nothing_can_be_written_is_named) {
  char deep[5000], name[300];
  memset(deep, 'd', sizeof deep);
  deep[sizeof deep - 1] = '\0';
  deep[4900] = '/';
  memset(name, 'n', sizeof name);
  name[sizeof name - 1] = '\0';
  scratch_write("file", "x", 1);
  cr_assert(mkdir("dir", 0777) == 0 && mkfifo("pipe", 0600) == 0);
  EXPECT_ERROR(write_text("no/x", "x"),
               "\"no/x\": directory \"no/\": No such file or directory; create");
  EXPECT_ERROR(write_text("file/x", "x"), "directory \"file/\": Not a directory");
  EXPECT_ERROR(write_text("dir", "x"), "\"dir\": it is a directory; name a file in it");
  EXPECT_ERROR(write_text("dir/", "x"), "it is a directory");
  EXPECT_ERROR(write_text("new/", "x"), "the path does not end with a file name");
  EXPECT_ERROR(write_text("", "x"), "the path does not end with a file name");
  EXPECT_ERROR(write_text("pipe", "x"), "pipe or device");
  EXPECT_ERROR(write_text("/dev/full", "x"), "\"/dev/full\": it is a pipe or device");
  EXPECT_ERROR(write_text(name, "x"), "File name too long; use a shorter name");
  EXPECT_ERROR(write_text(deep, "x"), "File name too long");
  EXPECT_EQ(scratch_count(), 3);
}

Test(files, longest_name_can_be_written) {
  char name[256];
  memset(name, 'n', sizeof name);
  name[255] = '\0';
  EXPECT_OK(write_text(name, "x"));
  expect_text(name, "x");
}

Test(files, protected_files_and_directories_stay) {
  scratch_write("mine", "old", 3);
  cr_assert(mkdir("dir", 0555) == 0 && chmod("mine", 0444) == 0);
  scratch_drop_root();
  EXPECT_ERROR(write_text("mine", "new"), "\"mine\": Permission denied; change the permissions");
  expect_text("mine", "old");
  EXPECT_ERROR(write_text("dir/x", "new"), "\"dir/x\": Permission denied");
}

/* A 200 kB text to overfill things with. */
static const char *long_text(void) {
  static char text[200001];
  memset(text, 'x', sizeof text - 1);
  return text;
}

Test(files, limit_on_file_sizes_is_an_error_not_a_signal) {
  scratch_write("old", "old", 3);
  struct rlimit limit = { 100000, 100000 };
  EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  EXPECT_ERROR(write_text("old", long_text()),
               "\"old\": File too large; raise the limit (ulimit -f)");
  expect_text("old", "old");
  EXPECT_EQ(scratch_count(), 1);
}

Test(files, full_disk_leaves_the_old_file) {
  cr_assert(mkdir("small", 0777) == 0);
  if (mount("tmpfs", "small", "tmpfs", 0, "size=64k") != 0)
    cr_skip_test("only root can mount a small disk");
  scratch_write("small/old", "old", 3);
  bam_status status = write_text("small/old", long_text());
  size_t bytes;
  unsigned char *old = scratch_read("small/old", &bytes);
  cr_assert(chdir("small") == 0);
  int left = scratch_count();
  cr_assert(chdir("..") == 0 && umount("small") == 0);
  EXPECT_ERROR(status, "\"small/old\": No space left on device; free some space");
  cr_assert(left == 1 && bytes == 3 && memcmp(old, "old", 3) == 0);
  free(old);
}

/* Write whole files of one letter for ever. */
static void write_letters(void) {
  static char text[300001];
  for (int i = 0;; i++) {
    memset(text, 'a' + i % 26, sizeof text - 1);
    if (write_text("letters", text) != BAM_OK)
      _exit(1);
  }
}

Test(files, killed_writer_leaves_a_whole_file) {
  EXPECT_OK(write_text("letters", long_text()));
  for (int i = 0; i < 40; i++) {
    pid_t writer = fork();
    if (writer == 0)
      write_letters();
    usleep((useconds_t)(i * 7919 % 20000));
    EXPECT_EQ(kill(writer, SIGKILL), 0);
    EXPECT_EQ(waitpid(writer, NULL, 0), writer);
    size_t bytes;
    unsigned char *data = scratch_read("letters", &bytes);
    cr_assert(bytes == 200000 || bytes == 300000, "%zu bytes", bytes);
    for (size_t k = 1; k < bytes; k++)
      EXPECT_EQ(data[k], data[0]);
    free(data);
  }
}

/* ---- tensors ---- */

static void expect_written(bam_tensor *x) {
  bam_writer writer;
  EXPECT_OK(bam_writer_open(&writer, fixture_context(), "t"));
  EXPECT_OK(bam_writer_tensor(&writer, x));
  EXPECT_OK(bam_writer_commit(&writer));
  bam_tensor *whole;
  EXPECT_OK(bam_tensor_contiguous(x, &whole));
  size_t bytes;
  unsigned char *data = scratch_read("t", &bytes);
  EXPECT_EQ(bytes, (size_t)(bam_tensor_count(x) * bam_dtype_size(x->dtype)));
  cr_assert(bytes == 0 || memcmp(data, bam_tensor_data(whole), bytes) == 0);
  free(data);
  bam_tensor_release(whole);
}

Test(files, tensors_are_written_in_row_major_order) {
  bam_shape shapes[] = { SCALAR, SHAPE(0, 5), SHAPE(7), SHAPE(1, 3, 1, 100001),
                         SHAPE(301, 407, 3) };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    for (int dtype = 0; dtype < BAM_DTYPES; dtype++) {
      bam_tensor *wide = make_random(BAM_F32, shapes[i], 0, 2), *x;
      EXPECT_OK(bam_tensor_convert(wide, (bam_dtype)dtype, &x));
      expect_written(x);
      bam_tensor *strided = make_strided(x);
      expect_written(strided);
      RELEASE(wide, x, strided);
    }
}

Test(files, expanded_tensor_is_written_in_full) {
  bam_tensor *row = make_values(BAM_F64, SHAPE(3), VALUES(1, 2, 3)), *x;
  bam_shape shape = SHAPE(50000, 3);
  EXPECT_OK(bam_tensor_view(row, &shape, (int64_t[]){ 0, 1 }, 0, &x));
  expect_written(x);
  RELEASE(row, x);
}
