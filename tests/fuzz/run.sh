# Runs the fuzzers that make has built, under AddressSanitizer and UBSan:
#   sh tests/fuzz/run.sh BUILD sample      a fixed number of calls and inputs with fixed seeds, and
#                                          proof that planted faults are found
#   sh tests/fuzz/run.sh BUILD SECONDS     run for SECONDS in total, with new seeds each time
# With CLANG=1, parsers are fuzzed by libFuzzer, which make has built; otherwise by blind mutation.
# Ends with "N passed, N failed". Inputs that caused findings are saved in the current directory.
build=$1 limit=$2
log=$build/fuzz-log
passed=0 failed=0
rm -rf "$log" && mkdir -p "$log"
export OMP_WAIT_POLICY=passive
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1

pass() { passed=$((passed + 1)); }

fail() {
  failed=$((failed + 1))
  echo "FAILED: $1"
  tail -c 8000 "$log/$1"
}

# Start a command in the background, its output in $log/NAME: start NAME COMMAND...
start() {
  name=$1
  shift
  { "$@"; echo "ended with $?"; } >"$log/$name" 2>&1 &
}

# Wait for the started commands, and count their results.
finish() {
  wait
  for name; do
    if test "$(tail -n 1 "$log/$name")" = "ended with 0"; then
      grep -a 'findings\|^Done' "$log/$name" | tail -n 1 | sed "s/^/$name: /"
      pass
    else
      fail "$name"
    fi
  done
}

# The border fuzzer must end with a finding that names the planted fault.
expect_plant() {
  if "$build/fuzz_border" --plant "$1" --strict --calls 20000 --findings 1 --call-seconds 2 >"$log/plant-$1" 2>&1 ||
    ! grep -aq planted "$log/plant-$1"; then
    fail "plant-$1"
  else
    pass
  fi
}

# Fuzz one target of parsers.lua: TARGET RUNS SECONDS, where RUNS or SECONDS is empty.
parser() {
  if test -n "$CLANG"; then
    corpus=$PWD/$log/corpus-$1 # it works in a directory of its own
    mkdir -p "$corpus"
    FUZZ_TARGET=$1 FUZZ_SEEDS=$corpus "$build/fuzz_parsers_clang" -artifact_prefix="$PWD/finding-$1-" \
      -timeout=120 -detect_leaks=0 -rss_limit_mb=4000 -max_len=20000 ${2:+-runs="$2" -seed=1} ${3:+-max_total_time="$3"} \
      "$corpus"
  else
    "$build/fuzz_parsers" "$1" "${2:-$((300 * $3))}" ${3:+"$(date +%s)"}
  fi
}

TARGETS="safetensors npy json text tokenizer pattern encode config mixed_config index manifest"
test -n "$CLANG" || echo "fuzz: clang with libFuzzer is not installed: parsers are fuzzed by blind mutation"

# Fuzz all targets of parsers.lua, two at a time: RUNS inputs each, or SECONDS.
each_parser() {
  runs=$1 seconds=$2
  set -- $TARGETS
  while test $# -gt 0; do
    start "parser-$1" parser "$1" "$runs" "$seconds"
    test -z "$2" || start "parser-$2" parser "$2" "$runs" "$seconds"
    finish "parser-$1" ${2:+"parser-$2"}
    shift $(($# > 1 ? 2 : 1))
  done
}

if test "$limit" = sample; then
  for plant in overflow leak change borrow hang message; do
    expect_plant $plant
  done
  start border-1 "$build/fuzz_border" --calls 40000 --seed 1
  start border-2 "$build/fuzz_border" --calls 40000 --seed 2
  finish border-1 border-2
  start files "$build/fuzz_files" -n 20000 1
  finish files
  each_parser 4000 ""
else
  seed=$(date +%s)
  start border-1 "$build/fuzz_border" --seconds $((limit / 2)) --seed "$seed"
  start border-2 "$build/fuzz_border" --seconds $((limit / 2)) --seed $((seed + 1))
  finish border-1 border-2
  start files "$build/fuzz_files" $((limit / 10)) "$seed"
  finish files
  each_parser "" $((limit / 15 + 1))
fi
echo "$passed passed, $failed failed"
test "$failed" = 0 && test "$passed" != 0
