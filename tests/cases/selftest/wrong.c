/* Tests that go wrong on purpose: a driver that overlooks one of them proves nothing. check.sh runs
   them. */
#include "../../engine/fixture.h"
#include "../driver.h"

TestSuite(wrong, .init = fixture_open, .fini = fixture_close);
TestSuite(right, .init = fixture_open, .fini = fixture_close);

Test(right, passes) { bam_tensor_release(make_float(1)); }
Test(wrong, fails) { cr_assert(value_at(make_float(1), 0) == 2, "on purpose"); }
Test(wrong, unequal) { EXPECT_EQ(1 + 1, 3); }
Test(wrong, apart) { EXPECT_CLOSE(1.5, 2, 0.1); }
Test(wrong, order) { EXPECT_COMPARE(2.5, <, 2); }
Test(wrong, words) { EXPECT_CONTAINS("some text", "words"); }
Test(wrong, leaks) { make_float(1); }
Test(wrong, names_only) { VALUES_TESTED(&bam_op_tanh); }
Test(wrong, crashes) { abort(); }

int main(int argc, char **argv) { return bam_cases_main(argc - 1, argv + 1); }
