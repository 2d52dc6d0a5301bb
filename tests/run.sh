# Runs the tests that make has built: sh tests/run.sh plain|asan|valgrind BUILD [FILTER]
# Ends with "N passed, N failed"; the exit code is not 0 if a test failed. The cases of the scripts in tests/lua are
# counted one by one. FILTER is a glob of Criterion's suite/test, such as 'matmul/*', or of Lua cases, which start with
# lua: 'lua/nn', 'lua/nn/linear*'.
# Criterion runs each test in a separate process, and does not see the report that a sanitizer prints when that process
# exits. So reports go to log files, and a log that is not empty is a failure. Planted faults (tests/selftest) first
# prove that this works.
mode=$1 build=$2 filter=$3
log=$build/log
passed=0 failed=0 skipped=0

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
  # One process per op, and the tests of code with its own way of allocating memory.
  filter=${filter:-@(registry|lua_memory)/*}
  ;;
esac

# Run a test program on the tests that match, with its output shown and kept in $log/output.
run_tests() {
  rm -rf "$log" && mkdir -p "$log"
  $wrap "$build/$1" ${2:+--filter "$2"} >"$log/output" 2>&1
}

# List the logs that contain a report. A NULL from malloc is not a fault: one test allocates far too much on purpose.
reports() { grep -lv 'WARNING: AddressSanitizer failed to allocate' "$log"/report* 2>/dev/null; }

expect_fault() {
  if run_tests test_faults "faults/$1" && test -z "$(reports)"; then
    echo "$mode did not detect the planted fault \"$1\""
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
    echo "$mode reports a fault in correct code"
    failed=$((failed + 1))
  }
fi

run_tests test_engine "$filter"
grep -v '^cases ' "$log/output"
synthesis=$(sed -n 's/.*Passing: \([0-9]*\) | Failing: \([0-9]*\) | Crashing: \([0-9]*\).*/\1 \2 \3/p' "$log/output")
set -- $synthesis
if test $# = 3; then
  passed=$((passed + $1)) failed=$((failed + $2 + $3))
  # A script is one test for Criterion: count its cases instead.
  set -- $(awk '$1 == "cases" { good += $3; bad += $4; left += $5; if ($4) red++; else green++ }
                END { print good + 0, bad + 0, green + 0, red + 0, left + 0 }' "$log/output")
  passed=$((passed + $1 - $3)) failed=$((failed + $2 - $4)) skipped=$5
  test "$1$2" = 00 || echo "Lua: $1 cases passed, $2 failed"
else
  echo "$build/test_engine did not finish"
  failed=$((failed + 1))
fi
for report in $(reports); do
  cat "$report"
  failed=$((failed + 1))
done
test "$skipped" = 0 || echo "$skipped skipped; the lines \"skip\" above say why"
echo "$passed passed, $failed failed"
test "$failed" = 0 && test "$((passed + skipped))" != 0
