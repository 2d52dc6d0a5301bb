# Makes the most of a GPU that is there for a few minutes, offline:
#   sh tests/gpu/window.sh FOLDER SECONDS [OPTION...]
# FOLDER is what `make window` builds (build-window/carry); nothing is compiled here. SECONDS is the time given. What
# runs is decided by tests/gpu/window.lua: correctness first, then timings, then one group of PyTorch's. Results are in
# $OUT/results.json (or in a temporary directory) after every part; tests/gpu/merge.lua adds them to tests/gpu/results.
# Ends with "N passed, N failed".
cd "$(dirname "$0")/../.." || exit 1
folder=$1 seconds=$2
if test $# -lt 2 || ! test -x "$folder/bamlua"; then
  echo "usage: sh tests/gpu/window.sh FOLDER SECONDS [OPTION...]; FOLDER/bamlua is built by: make window" >&2
  echo "0 passed, 1 failed"
  exit 1
fi
shift 2
OUT=${OUT:-$(mktemp -d)}
BAMLUA_TEST_DEVICE=${BAMLUA_TEST_DEVICE:-cuda} # of the op suite
export OUT BAMLUA_TEST_DEVICE
mkdir -p "$OUT"
# Where the program finds no cuBLASLt by itself, PyTorch's Python knows.
wheels=$(python3 -c 'import glob, nvidia; print(":".join(glob.glob(list(nvidia.__path__)[0] + "/*/lib")))' 2>/dev/null)
export LD_LIBRARY_PATH="$LD_LIBRARY_PATH${wheels:+${LD_LIBRARY_PATH:+:}$wheels}"
exec "$folder/bamlua" tests/gpu/window.lua --folder "$folder" --seconds "$seconds" --out "$OUT" "$@"
