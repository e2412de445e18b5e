#!/bin/sh
# Tests that need other tools, compilers and emulators: installs them, runs every test_*.sh of this
# folder and ends with one line that sums them up. run.sh PROGRAM TOOLS, see lib.sh.
#
# By hand: STAIR_NETS=FOLDER takes the nets that are there (mlp.st, mlp.8.st, ...; others are made
# there), STAIR_ONNX_CODES=10000 compares codes of all test images, VERBOSE=1 shows every figure.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
STAIR=$(realpath "$1"); TOOLS=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
NETS=${STAIR_NETS:-$work/nets}
mkdir -p "$NETS"
NETS=$(realpath "$NETS")
export STAIR TOOLS NETS

# shellcheck disable=SC2046  # one word a package
"$here/../deps.sh" $(sed -n 's/^# packages: //p' "$here"/test_*.sh)
passed=0; failed=0
for script in "$here"/test_*.sh; do
    name=$(basename "$script" .sh)
    mkdir "$work/$name"
    status=0
    (cd "$work/$name" && "$script") > "$work/log" 2>&1 || status=$?
    p=$(grep -c '^ok ' "$work/log") || true
    f=$(grep -c '^failed ' "$work/log") || true
    if [ $status -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi # it broke off
    if [ "$f" -ne 0 ]; then cat "$work/log"; else grep -v '^ok ' "$work/log" || true; fi
    printf '%-28s %4d passed\n' "$name" "$p"
    passed=$((passed + p)); failed=$((failed + f))
done
echo "tests: $passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
