# Measures the speed of bamlua on a GPU, alternating with PyTorch on the same GPU, within 8 minutes and offline:
#   sh tests/gpu/bench.sh [PROGRAM [OPTION...]]
# PROGRAM is built by make CUDA=1 cases, as for tests/gpu/check.sh, and is built here if missing. OPTIONs are those of
# tests/bench/bench.lua: a pattern, --rounds N, --alone. Uses the PyTorch of $BAMLUA_PEER_PYTHON, or else of python3,
# if it supports CUDA. Ends with the table; logs and the results as JSON go to $OUT, or to a temporary directory.
cd "$(dirname "$0")/../.." || exit 1
program=${1:-build/cases/bamlua}
test $# = 0 || shift
logs=${OUT:-$(mktemp -d)}
begun=$(date +%s)
export BAMLUA_PEER_LOG="$logs/peer.log"

# left SECONDS: print the time left until SECONDS after the start.
left() { echo $((begun + $1 - $(date +%s))); }

if ! test -x "$program" && ! timeout 300 make -j"$(nproc)" CUDA=1 "$program" >"$logs/build.log" 2>&1; then
  tail -n 15 "$logs/build.log"
  exit 1
fi
# A case that starts just before the end may take PyTorch a minute to prepare.
timeout -k 5 "$(left 465)" "$program" tests/bench/bench.lua --device "${BAMLUA_TEST_DEVICE:-cuda}" --rounds 5 \
  --json "$logs/bench.json" --seconds "$(left 380)" "$@" >"$logs/table.txt" 2>"$logs/bench.log"
code=$?
test "$code" = 124 && echo "bench.lua was stopped after 8 minutes" >>"$logs/bench.log"
tail -n 15 "$logs/bench.log"
test -s "$BAMLUA_PEER_LOG" && grep '^peer: ' "$BAMLUA_PEER_LOG" | tail -n 15 | cut -c 1-200
echo "after $(($(date +%s) - begun)) s; logs in $logs"
echo
cat "$logs/table.txt"
exit "$code"
