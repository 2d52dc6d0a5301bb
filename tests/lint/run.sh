# Lint: sh tests/lint/run.sh lua|format
# `lua` runs luacheck on all Lua code (settings: .luacheckrc), `format` checks C and CUDA code against .clang-format. A
# finding is a failure. First checks that each tool finds a planted fault. Ends with "N passed, N failed".
mode=$1
found=$(mktemp)
trap 'rm -f "$found"' EXIT
passed=0 failed=0

c_files() { find engine kernels lua tests -name '*.[ch]' -o -name '*.cu' -o -name '*.cpp'; }

# Record a test: result STATUS WHAT-FAILED
result() {
  if test "$1" = 0; then
    passed=$((passed + 1))
  else
    echo "$2"
    failed=$((failed + 1))
  fi
}

case $mode in
lua)
  echo 'local unused = 1' | luacheck --no-color - 2>/dev/null | grep -q "unused variable 'unused'"
  result $? "luacheck did not find a planted unused variable"
  luacheck --no-color --codes --formatter plain lua recipes tests >"$found"
  result $? "$(cat "$found")"
  ;;
format)
  echo 'int  x;' | clang-format --dry-run -Werror --assume-filename=planted.c 2>/dev/null
  result $((! $?)) "clang-format did not find two planted spaces"
  for file in $(c_files); do
    clang-format --dry-run -Werror "$file" 2>"$found"
    result $? "$file is not laid out as .clang-format says (make format):
$(head -n 3 "$found")"
  done
  awk 'length($0) > 120 { print FILENAME ":" FNR ": line of " length($0) " columns" }' $(c_files) >"$found"
  test ! -s "$found"
  result $? "$(cat "$found")"
  ;;
*)
  echo "lint/run.sh: lua or format, not '$mode'" >&2
  exit 2
  ;;
esac
echo "$passed passed, $failed failed"
test "$failed" = 0 && test "$passed" != 0
