# How fast bamlua is on a GPU, in turn with PyTorch on the same one, within 8 minutes and without a network:
#   sh tests/gpu/bench.sh [PROGRAM [OPTION...]]
# PROGRAM is the one that make CUDA=1 cases builds, as for tests/gpu/check.sh; it is built when it is not there. The
# options are those of tests/bench/bench.lua: a pattern, --rounds N, --alone. PyTorch is the one of $BAMLUA_PEER_PYTHON,
# otherwise of python3, when it has CUDA. Ends with the table; logs go to $OUT, or to a temporary directory.
cd "$(dirname "$0")/../.." || exit 1
program=${1:-build/cases/bamlua}
test $# = 0 || shift
logs=${OUT:-$(mktemp -d)}
begun=$(date +%s)
export BAMLUA_PEER_LOG="$logs/peer.log"

# left SECONDS: how many are left until so many after the start.
left() { echo $((begun + $1 - $(date +%s))); }

if ! test -x "$program" && ! timeout 300 make -j"$(nproc)" CUDA=1 "$program" >"$logs/build.log" 2>&1; then
  tail -n 15 "$logs/build.log"
  exit 1
fi
# A case that begins in the last moment may take a minute for PyTorch to prepare.
timeout -k 5 "$(left 465)" "$program" tests/bench/bench.lua --device "${BAMLUA_TEST_DEVICE:-cuda}" --rounds 5 \
  --seconds "$(left 380)" "$@" >"$logs/table.txt" 2>"$logs/bench.log"
code=$?
test "$code" = 124 && echo "bench.lua was stopped, as the 8 minutes were over" >>"$logs/bench.log"
tail -n 15 "$logs/bench.log"
test -s "$BAMLUA_PEER_LOG" && grep '^peer: ' "$BAMLUA_PEER_LOG" | tail -n 15 | cut -c 1-200
echo "after $(($(date +%s) - begun)) s; logs in $logs"
echo
cat "$logs/table.txt"
exit "$code"
