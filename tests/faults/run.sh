# Tests a small run under failing system calls, after power cuts, and with damaged files:
#   sh tests/faults/run.sh BUILD [OPTIONS]
# Ends with "N passed, N failed".
build=$1
shift
passed=0 failed=0
output=$(mktemp)
trap 'rm -f "$output"' EXIT

# Run one script and add up its counts. A script that ends without printing a count has failed.
count() {
  "$build/bamlua" "$@" 2>&1 | tee "$output"
  set -- $(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$output")
  passed=$((passed + ${1:-0})) failed=$((failed + ${2:-1}))
}

count tests/faults/run.lua "$build/bamlua" "$build/faults/inject" "$@"
count tests/faults/power.lua "$build/bamlua" "$build/faults/inject" "$build/faults/record" "$@"
count tests/faults/damage.lua "$build/bamlua" "$@"
echo "$passed passed, $failed failed"
test "$failed" = 0
