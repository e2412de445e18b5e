#!/bin/sh
# packages: libonnx-testdata
# ONNX's own test suite: what is read must give the suite's numbers, and of no operator may fewer tests
# be read than docs/onnx.md says.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
data=/usr/share/libonnx-testdata/data

"$TOOLS/onnx_backend" $data/node/* $data/pytorch-converted/* $data/pytorch-operator/* $data/simple/* > results
sed -n 's/^passed \([^ ]*\) \([^ ]*\).*/ok \1 \2/p; s/^wrong \(.*\)/failed \1/p' results

# rows "| `Operator` ... | number |" of the page
sed -n 's/^| `\([A-Za-z]*\)`.* | \([0-9][0-9]*\) |$/\1 \2/p' "$here/../../docs/onnx.md" > promised
[ "$(wc -l < promised)" -gt 20 ]
while read -r op number; do
    passed=$(grep -c "^passed $op " results) || true
    check "$op: $number tests" [ "$passed" -ge "$number" ]
done < promised
