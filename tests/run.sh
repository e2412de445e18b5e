#!/bin/sh
# Runs every test program given, all of them even if one fails; ends with one line that sums them up.
set -u
passed=0; failed=0; bad=''
for t in "$@"; do
    out=$("$t" 2>&1); status=$?
    p=$(printf '%s\n' "$out" | grep -c '^\[       OK \]'); f=$(printf '%s\n' "$out" | grep -c '^\[   LINE   \]')
    passed=$((passed + p))
    if [ $status -ne 0 ]; then
        [ "$f" -gt 0 ] || f=1
        failed=$((failed + f)); bad="$bad $(basename "$t")"
        printf '%s\n' "$out"
    else
        printf '%-28s %4d passed\n' "$(basename "$t")" "$p"
    fi
done
[ $failed -eq 0 ] || echo "failed in:$bad"
echo "tests: $passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
