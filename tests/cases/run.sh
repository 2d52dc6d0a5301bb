# Runs the op tests of a program of tests/cases, in parts side by side:
#   sh tests/cases/run.sh PROGRAM [options of --op-cases]
# BAMLUA_TEST_DEVICE is the device, PARTS the number of parallel parts (default 2). Ends with "N passed, N failed";
# the exit code is not 0 if a test failed or nothing ran.
program=$1
shift
parts=${PARTS:-2}
passed=0 failed=0

export OMP_WAIT_POLICY=passive # parts run side by side: threads that wait must not spin
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

part=1
while test "$part" -le "$parts"; do
  "$program" --op-cases --part "$part/$parts" "$@" 2>&1 | tee "$log/$part" | sed -u '/^[0-9]* passed, /d' &
  part=$((part + 1))
done
wait

for output in "$log"/*; do
  set -- $(sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$output")
  if test $# = 2; then
    passed=$((passed + $1)) failed=$((failed + $2))
  else
    echo "part ${output##*/} of $program did not finish"
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed"
test "$failed" = 0 && test "$passed" != 0
