# Checks that the test driver detects planted failures: sh tests/cases/selftest/check.sh PROGRAM
program=$1
status=0

# expect TESTS WORDS CODE: the output contains the words, and CODE is the exit code.
expect() {
  output=$("$program" --filter "$1" 2>&1)
  code=$?
  case $output in *"$2"*) test "$code" = "$3" && return ;; esac
  echo "$program --filter '$1' gave exit code $code and: $output"
  status=1
}

expect 'right/*' '1 passed, 0 failed' 0
expect 'wrong/fails' 'wrong/fails: FAILED tests/cases/selftest/wrong.c:10: on purpose' 1
expect 'wrong/unequal' '1 + 1 is 2, want == 3' 1
expect 'wrong/apart' '1.5 is 1.5, want 2' 1
expect 'wrong/order' '2.5 is 2.5, want < 2' 1
expect 'wrong/words' '"words" is not in "some text"' 1
expect 'wrong/leaks' 'objects were not released' 1
expect 'wrong/names_only' 'names tanh in VALUES_TESTED and does not apply it' 1
expect 'wrong/@(fails|leaks)' '0 passed, 2 failed' 1
expect 'wrong/crashes' 'wrong/crashes: CRASHED' 1
exit $status
