# Tests the CUDA backend on the CPU, over the SIMT shim: sh tests/simt/run.sh BUILD [FILTER]
# First the self-test of the shim, which must catch every planted fault, such as missing barriers, and the programs of
# tests/gpu that launch kernels by themselves. Then all op tests on device "cuda", with four thread schedules per
# launch, which must give the same bits, and the checks of tests/gpu.
# Ends with "N passed, N failed".
build=$1 filter=$2
passed=0 failed=0
output=$(mktemp)
trap 'rm -f "$output"' EXIT
export BAMLUA_TEST_DEVICE=cuda BAMLUA_ALLOCATOR=malloc # every tensor by itself: a launch saves and compares all memory

# Run a command; add up the counts in its last line, or count it as one test.
count() {
  "$@" >"$output" 2>&1
  code=$?
  set -- $(sed -n '$s/^\([a-z_]*: \)*\([0-9]*\) passed, \([0-9]*\) failed$/\2 \3/p' "$output") "$*"
  if test $# = 3; then
    test "$2" = 0 && test "$1" != 0 || cat "$output"
    echo "$1 passed, $2 failed: $3"
    passed=$((passed + $1)) failed=$((failed + $2))
  elif test "$code" = 0; then
    echo "1 passed, 0 failed: $1"
    passed=$((passed + 1))
  else
    cat "$output"
    echo "0 passed, 1 failed: $1"
    failed=$((failed + 1))
  fi
}

count "$build/simt/selftest"
count "$build/simt/tensor_cores"
count "$build/simt/attention_mma"
count "$build/simt/hopper"
count "$build/simt/fp8"
# More parts than cores: their lengths differ by minutes.
count env PARTS="${PARTS:-8}" sh tests/cases/run.sh "$build/simt/bamlua" ${filter:+--filter "$filter"}
if test -z "$filter"; then
  # What cuBLASLt has no algorithm for.
  count env BAMLUA_SIMT_BLAS=none PARTS=2 sh tests/cases/run.sh "$build/simt/bamlua" --filter '@(matmul|routed_ffn|bf16|fp8)/*'
  count "$build/simt/bamlua" tests/gpu/devices.lua
  # With the caching allocator, as for users; under one schedule, as each launch would compare all cached memory.
  export BAMLUA_SIMT=1
  unset BAMLUA_ALLOCATOR
  count "$build/simt/bamlua" tests/gpu/devices.lua
  count "$build/simt/bamlua" tests/gpu/bf16.lua
  count "$build/simt/bamlua" tests/gpu/fp8.lua
  count "$build/simt/bamlua" tests/gpu/recipe.lua "$build/simt/bamlua"
  count "$build/simt/bamlua" tests/gpu/recipe_fp8.lua "$build/simt/bamlua"
  count "$build/simt/bamlua" tests/simt/failures.lua "$build/simt/bamlua"
  count "$build/simt/bamlua" tests/simt/fp8.lua "$build/simt/bamlua"
  count "$build/simt/bamlua" tests/simt/products.lua "$build/simt/bamlua"
  count "$build/simt/bamlua" tests/simt/algorithms.lua "$build/simt/bamlua"
  count "$build/simt/bamlua" tests/simt/tune.lua "$build/simt/bamlua"
  count "$build/simt/bamlua" tests/gpu/graphs.lua
  count "$build/simt/bamlua" tests/simt/graphs.lua "$build/simt/bamlua"
  count "$build/simt/bamlua" tests/simt/attention.lua "$build/simt/bamlua"
  count "$build/simt/attention_mma" --time 40
  count "$build/simt/bamlua" tests/simt/counts.lua "$build/simt/bamlua"
  count "$build/simt/bamlua" tests/simt/streams.lua "$build/simt/bamlua"
  count env BAMLUA_SIMT_STREAMS=side BAMLUA_ALLOCATOR=malloc sh tests/cases/run.sh "$build/simt/bamlua" --filter 'routed_ffn/*'
  count "$build/simt/bamlua" tests/simt/window.lua "$build/simt/bamlua"
  count "$build/simt/bamlua" tests/simt/head.lua "$build/simt/bamlua"
  count "$build/simt/bamlua" tests/lua/plan_memory.lua "$build/simt/bamlua"
  count "$build/dry/bamlua" tests/dry/large.lua "$build/dry/bamlua"
fi
echo "$passed passed, $failed failed"
test "$failed" = 0 && test "$passed" != 0
