/* bam_assert(condition) states an invariant that no script can break. Debug builds (-DBAM_DEBUG, see
   `make debug`) and sanitizer builds check it, and abort with file and line if it is false. In other
   builds the condition is not evaluated and costs nothing. */
#ifndef BAM_ASSERT_H
#define BAM_ASSERT_H

#if defined(BAM_DEBUG) || defined(__SANITIZE_ADDRESS__)
#define BAM_ASSERTS 1
#else
#define BAM_ASSERTS 0
#endif

/* Print the failed condition with its file and line to stderr, then abort. */
_Noreturn void bam_assert_fail(const char *condition, const char *file, int line);

#define bam_assert(condition) \
  ((void)(!BAM_ASSERTS || (condition) || (bam_assert_fail(#condition, __FILE__, __LINE__), 0)))

#endif
