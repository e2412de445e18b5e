#!/bin/sh
# packages: python3-onnx
# Exported ONNX under ONNX's checker and in ONNX Runtime: float nets, and quantized ones as floats
# (plain: no optimisation) and as the runtime's own integer operators (exact).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
python=/usr/bin/python3 # Debian's: it has the package
bench=$here/../../bench
command -v npm > /dev/null || "$here/../deps.sh" nodejs npm
[ -d "$bench/node_modules/onnxruntime-node" ] || npm ci --silent --ignore-scripts --prefix "$bench"

# compare NAME FILE.onnx FOLDER LIMITS...
compare() {
    name=$1; shift
    check "$name" node "$here/onnx_run.mjs" "$@"
}

# float FILE NAME IMAGES: the same predictions, logits within 1e-4.
float() {
    mkdir -p "$2/float"
    "$STAIR" export onnx -q "$1" -o "$2/float.onnx"
    check "$2 float checker" $python "$here/onnx_check.py" "$2/float.onnx"
    "$TOOLS/onnx_values" "$1" "$3" "$2/float"
    compare "$2 float" "$2/float.onnx" "$2/float" --logits 1e-4 --predictions 0
}

# integers FILE NAME IMAGES PLAIN: of all codes of 500 images, in exact arithmetic at most 1 in
# 10,000 differs, in floats at most PLAIN by one step each, and 3 predictions of all images.
integers() {
    mkdir -p "$2/codes" "$2/output"
    "$STAIR" export onnx -q "$1" -o "$2/int.onnx"
    check "$2 checker" $python "$here/onnx_check.py" "$2/int.onnx" "$2/codes.onnx"
    "$TOOLS/onnx_values" "$1" 500 "$2/codes"
    "$TOOLS/onnx_values" "$1" "$3" "$2/output" output
    compare "$2 plain codes" "$2/codes.onnx" "$2/codes" --mode plain --codes "$2/codes.onnx.txt" \
        --share "$4" --by "$5"
    compare "$2 exact codes" "$2/codes.onnx" "$2/codes" --mode exact --codes "$2/codes.onnx.txt" \
        --share 1 --by "$5"
    for mode in plain exact; do
        compare "$2 $mode predictions" "$2/int.onnx" "$2/output" --mode $mode --predictions 3
    done
    rm -r "$2/codes" "$2/output"
}

# A float sum that falls on the other side of a rounding moves one code by 1, and with it the sums of
# the layers behind it: nine deep (resnet8) there are more such codes, and some by more than 1.
for net in mlp lenet5 netbn resnet8; do
    case $net in resnet8) share=5 by=4 ;; *) share=1 by=1 ;; esac
    file=$(frozen $net 8)
    float "$NETS/$net.st" $net 10000
    integers "$file" $net 10000 $share $by
done
integers "$(frozen lenet5 4)" lenet5.4bit 10000 1 1

# Every layer. The runtime's tanh is an approximation, whose error decides how a table's entry near
# a tie is rounded: its codes are not compared.
sed 's/tanh/sigmoid/' "$here/kinds.net" > kinds_int.net
"$STAIR" train -q --model "$here/kinds.net" --epochs 1 --limit 1000 -o kinds.st
"$STAIR" train -q --model kinds_int.net --epochs 1 --limit 1000 -o kinds_int.st
"$STAIR" calibrate -q kinds_int.st --images 256 -o calibrated.st
"$STAIR" freeze -q calibrated.st -o frozen.st
float kinds.st kinds 1000
integers frozen.st kinds 1000 1 2
