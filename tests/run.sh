# Runs the tests that make has built: sh tests/run.sh plain|asan|valgrind BUILD [FILTER]
# Ends with "N passed, N failed"; the exit code is not 0 when something failed. The cases of a script of tests/lua
# count one by one. FILTER is a glob of Criterion's suite/test, such as 'matmul/*', or of Lua's cases, which begin
# with lua: 'lua/nn', 'lua/nn/linear*'.
# Criterion runs each test in a process of its own, and what a sanitizer says when that process ends does not
# reach Criterion. So reports go to log files, and one that is not empty is a failure. That this works is
# tested first, by faults made on purpose (tests/selftest).
mode=$1 build=$2 filter=$3
log=$build/log
passed=0 failed=0

export OMP_WAIT_POLICY=passive # tests run side by side: threads that wait must not spin
export BAMLUA="$build/bamlua"
case $filter in
lua/*/*) export BAMLUA_TEST_CASES="${filter#lua/}" && filter=scripts/lua ;;
lua/*) export BAMLUA_TEST_CASES="${filter#lua/}/*" && filter=scripts/lua ;;
esac
wrap=
case $mode in
asan)
  export ASAN_OPTIONS="log_path=$log/report:detect_leaks=1:detect_stack_use_after_return=1"
  ASAN_OPTIONS="$ASAN_OPTIONS:allocator_may_return_null=1" # as malloc does
  export UBSAN_OPTIONS="log_path=$log/report:print_stacktrace=1"
  ;;
valgrind)
  export BAMLUA_ALLOCATOR=malloc # every allocation by itself, so that valgrind sees it
  wrap="valgrind -q --trace-children=yes --trace-children-skip=/bin/*,/usr/bin/* --leak-check=full
        --suppressions=tests/valgrind.supp --log-file=$log/report.%p --error-exitcode=1"
  # One process per op; what else is run is what allocates in ways of its own.
  filter=${filter:-@(registry|lua_memory)/*}
  ;;
esac

# Run a test program on the tests that match, with its output shown and kept in $log/output.
run_tests() {
  rm -rf "$log" && mkdir -p "$log"
  $wrap "$build/$1" ${2:+--filter "$2"} >"$log/output" 2>&1
}

# The logs that report something. That malloc gave NULL is no fault: a test asks for far too much.
reports() { grep -lv 'WARNING: AddressSanitizer failed to allocate' "$log"/report* 2>/dev/null; }

expect_fault() {
  if run_tests test_faults "faults/$1" && test -z "$(reports)"; then
    echo "$mode did not notice the fault \"$1\", made on purpose"
    failed=$((failed + 1))
  else
    passed=$((passed + 1))
  fi
}

if test "$mode" != plain; then
  expect_fault leak
  expect_fault overflow
  test "$mode" = valgrind || expect_fault view # bam_assert is on
  run_tests test_faults faults/none && test -z "$(reports)" || {
    cat "$log"/*
    echo "$mode reports a fault where there is none"
    failed=$((failed + 1))
  }
fi

run_tests test_engine "$filter"
grep -v '^cases ' "$log/output"
synthesis=$(sed -n 's/.*Passing: \([0-9]*\) | Failing: \([0-9]*\) | Crashing: \([0-9]*\).*/\1 \2 \3/p' "$log/output")
set -- $synthesis
if test $# = 3; then
  passed=$((passed + $1)) failed=$((failed + $2 + $3))
  # A script is one of Criterion's tests: its cases count in its place.
  set -- $(awk '$1 == "cases" { good += $3; bad += $4; if ($4) red++; else green++ }
                END { print good + 0, bad + 0, green + 0, red + 0 }' "$log/output")
  passed=$((passed + $1 - $3)) failed=$((failed + $2 - $4))
  test "$1$2" = 00 || echo "Lua: $1 cases passed, $2 failed"
else
  echo "$build/test_engine did not finish"
  failed=$((failed + 1))
fi
for report in $(reports); do
  cat "$report"
  failed=$((failed + 1))
done
echo "$passed passed, $failed failed"
test "$failed" = 0 && test "$passed" != 0
