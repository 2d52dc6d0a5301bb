# Static analysis of the engine and the bindings: sh tests/analyze/run.sh "COMPILER FLAGS"
# Runs gcc -fanalyzer and cppcheck on every file; any finding is a failure. First checks that both find the faults
# planted in tests/analyze/fault.c and report nothing in clean.c. Ends with "N passed, N failed".
flags=$1
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
passed=0 failed=0

# Assertions are enabled, so that the analyzers can rely on them.
gcc_analyzer() {
  printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} sh -c \
    '${CC:-gcc} $0 -O1 -DBAM_DEBUG -fanalyzer -fdiagnostics-path-format=none -c -o /dev/null "$1" >"$2/$(echo "$1" | tr / _)" 2>&1' "$flags" {} "$log"
  for file in "$@"; do
    cat "$log/$(echo "$file" | tr / _)"
  done
}

# cppcheck does not know _Noreturn, and does not read the headers that define two constants.
cppcheck_files() {
  cppcheck --quiet --std=c11 --library=posix --enable=warning,portability,performance -j "$(nproc)" \
    --template='{file}:{line}: {message} [{id}]' -D_GNU_SOURCE -D__linux__ -DBAM_DEBUG '-D_Noreturn=__attribute__((noreturn))' \
    -DLLONG_MAX=9223372036854775807LL -DINT_MAX=2147483647 $(printf '%s\n' $flags | grep '^-I') "$@" 2>&1
}

# count WHAT FILES REPORT: a report is a failure.
count() {
  if test -s "$3"; then
    cat "$3"
    echo "$1 reports the above"
    failed=$((failed + 1))
  else
    passed=$((passed + $2))
  fi
}

expect_fault() {
  if grep -q "$2" "$3"; then
    passed=$((passed + 1))
  else
    echo "$1 did not find $2, planted in tests/analyze/fault.c"
    failed=$((failed + 1))
  fi
}

gcc_analyzer tests/analyze/fault.c >"$log/planted"
expect_fault "gcc -fanalyzer" Wanalyzer-use-after-free "$log/planted"
cppcheck_files tests/analyze/fault.c >"$log/planted"
expect_fault cppcheck nullPointer "$log/planted"

set -- engine/*/*.c engine/ops/support/*.c kernels/*.c lua/host/*.c lua/bind/*.c tests/analyze/clean.c
gcc_analyzer "$@" >"$log/found"
count "gcc -fanalyzer" $# "$log/found"
cppcheck_files "$@" >"$log/found"
count cppcheck $# "$log/found"

echo "$passed passed, $failed failed"
test "$failed" = 0 && test "$passed" != 0
