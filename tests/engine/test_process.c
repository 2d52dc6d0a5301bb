/* How much memory control groups leave, read from files made for it. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../engine/process.h"
#include "scratch.h"

TestSuite(process, .init = scratch_open, .fini = scratch_close);

static void write_text(const char *name, const char *text) {
  scratch_write(name, text, strlen(text));
}

static void expect_room(const char *list, int64_t room) {
  write_text("list", list);
  cr_expect_eq(bam_process_room("list", "root"), room, "%lld left by %s",
               (long long)bam_process_room("list", "root"), list);
}

Test(process, groups_of_version_2) {
  mkdir("root", 0777);
  mkdir("root/a", 0777);
  mkdir("root/a/b", 0777);
  write_text("root/a/memory.max", "1000000\n");
  write_text("root/a/memory.current", "700000\n");
  write_text("root/a/memory.stat", "anon 5\nno_inactive_file 9\ninactive_file 40000\nshmem 1\n");
  write_text("root/a/b/memory.max", "max\n");
  expect_room("0::/a\n", 340000);
  expect_room("1:name=systemd:/\n0::/a/b\n", 340000); /* the limit above counts */
  expect_room("0::/gone\n", INT64_MAX);
  expect_room("0::/\n", INT64_MAX);
  expect_room("10::/a\n", INT64_MAX);
  expect_room("", INT64_MAX);
  write_text("root/memory.max", "500\n"); /* as a container sees it: the group is not there */
  expect_room("0::/gone/too\n", 500);
  write_text("root/memory.current", "600\n");
  expect_room("0::/a\n", 0);
  cr_expect_eq(bam_process_room("nothing", "root"), INT64_MAX);
}

Test(process, groups_of_version_1) {
  mkdir("root", 0777);
  mkdir("root/memory", 0777);
  mkdir("root/memory/a", 0777);
  write_text("root/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write_text("root/memory/a/memory.limit_in_bytes", "1000\n");
  write_text("root/memory/a/memory.usage_in_bytes", "300\n");
  write_text("root/memory/a/memory.stat", "inactive_file 7\ntotal_inactive_file 500\n");
  expect_room("4:cpu:/\n3:memory:/a\n0::/\n", 1000); /* all that is used can be had back */
  expect_room("3:memory:/\n", 9223372036854771712);
}

Test(process, itself) {
  bam_process about;
  bam_process_about(&about);
  cr_expect(about.pid == getpid() && about.cores >= 1 && about.host[0] != '\0');
  cr_expect(about.peak_bytes > 1000000 && about.available_bytes > 1000000);
}
