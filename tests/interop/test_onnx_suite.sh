#!/bin/sh
# packages: libonnx-testdata
# ONNX's own test suite: what is read must give the suite's numbers, and the tests that are read, by
# operator, and those that are not, by reason, are as many as docs/onnx.md says.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
data=/usr/share/libonnx-testdata/data
page=$here/../../docs/onnx.md

"$TOOLS/onnx_backend" $data/node/* $data/pytorch-converted/* $data/pytorch-operator/* $data/simple/* > results
sed -n 's/^passed \([^ ]*\) \([^ ]*\).*/ok \1 \2/p; s/^wrong \(.*\)/failed \1/p' results
grep '^refused ' results > refused

# rows "| `Operator` ... | number |" of the page
sed -n 's/^| `\([A-Za-z]*\)`.* | \([0-9][0-9]*\) |$/\1 \2/p' "$page" > promised
[ "$(wc -l < promised)" -gt 20 ]
total=0
while read -r op number; do
    passed=$(grep -c "^passed $op " results) || true
    check "$op: $number tests" [ "$passed" -eq "$number" ]
    total=$((total + number))
done < promised

# rows "| "words" | ... | number |"
sed -n 's/^| "\(.*\)" | .* | \([0-9][0-9]*\) |$/\2 \1/p' "$page" > reasons
[ "$(wc -l < reasons)" -gt 15 ]
while read -r number words; do
    check "\"$words\": $number tests" [ "$(grep -cF "$words" refused)" -eq "$number" ]
    total=$((total + number))
done < reasons
cut -d' ' -f2- reasons > words
check "each has a reason" [ -z "$(grep -vF -f words refused)" ]
check "all $total tests are read or have a reason" [ "$total" -eq "$(grep -c '^[pr]' results)" ]
check "the page says $total" grep -q "^The suite has $total tests" "$page"
