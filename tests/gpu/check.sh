# All checks that need a GPU, one line per item, within 9 minutes from a cold start and offline:
#   sh tests/gpu/check.sh [PROGRAM]
# PROGRAM is built by make CUDA=1 cases (build/cases/bamlua; it depends only on libc, so it is portable), and is built
# here if missing. Logs go to $OUT, or to a temporary directory. Ends with "N passed, N failed". tests/run.sh runs the
# same checks over the shim of tests/simt, except for timing.
cd "$(dirname "$0")/../.." || exit 1
program=${1:-build/cases/bamlua}
logs=${OUT:-$(mktemp -d)}
begun=$(date +%s)
export BAMLUA_TEST_DEVICE=${BAMLUA_TEST_DEVICE:-cuda}
passed=0 failed=0

# item NAME SECONDS COMMAND...: run it for at most SECONDS, and print its last line, or the last lines if it failed.
item() {
  name=$1 limit=$2
  shift 2
  log=$logs/$(echo "$name" | tr -c 'a-z0-9\n' _).log
  start=$(date +%s)
  if timeout "$limit" "$@" >"$log" 2>&1; then
    passed=$((passed + 1))
    echo "ok    $name ($(($(date +%s) - start)) s) $(tail -n 1 "$log")"
  else
    code=$?
    failed=$((failed + 1))
    test "$code" = 124 && echo "it ran longer than $limit s" >>"$log"
    echo "FAIL  $name ($(($(date +%s) - start)) s)"
    tail -n 15 "$log" | sed 's/^/        /'
  fi
}

# compute-sanitizer slows tests down about ten times, so run only the smallest tests of each op, one process per tool.
sanitised() {
  if command -v compute-sanitizer >/dev/null; then
    item "$1 of every op" 150 compute-sanitizer --tool "$1" --error-exitcode 9 "$program" --op-cases \
      --filter "$2"
  else
    echo "skip  $1 of every op: compute-sanitizer is not installed"
  fi
}

test -x "$program" || item "build" 300 make -j"$(nproc)" CUDA=1 "$program"
devices='for _, d in ipairs(require("bam").devices()) do print(d.name .. ": " .. d.description) end'
item "devices" 60 "$program" -e "$devices"
item "op suite" 240 sh tests/cases/run.sh "$program"
item "tensors, modules, files" 60 "$program" tests/gpu/devices.lua
item "a recipe, twice and resumed" 120 "$program" tests/gpu/recipe.lua "$program"
sanitised memcheck '@(softmax|reduce|sort|index|attention|mixture_of_attention|route|routed_ffn|loss|optim)/*'
sanitised racecheck '@(softmax|sort|attention|loss|optim)/*'

echo "after $(($(date +%s) - begun)) s; logs in $logs"
echo "$passed passed, $failed failed"
test "$failed" = 0
