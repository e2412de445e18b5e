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

# integers FILE NAME IMAGES PREDICTIONS: of all codes of 500 images, each layer's made of the
# program's, at most 1 in 10,000 differs, by 1; of the results of all images so many predictions.
integers() {
    mkdir -p "$2/codes" "$2/output"
    "$STAIR" export onnx -q "$1" -o "$2/int.onnx"
    "$TOOLS/onnx_values" "$1" 500 "$2/codes"
    "$TOOLS/onnx_values" "$1" "$3" "$2/output" output
    check "$2 checker" $python "$here/onnx_check.py" "$2/int.onnx" "$2/codes"
    for mode in plain exact; do
        compare "$2 $mode codes" "$2/codes/cut.onnx" "$2/codes" --mode $mode --share 1
        compare "$2 $mode predictions" "$2/int.onnx" "$2/output" --mode $mode --predictions "$4"
    done
    rm -r "$2/codes" "$2/output"
}

# resnet8 learns little from so few images: its logits lie a step or two apart, and in nine layers a
# code that differs becomes several.
for net in mlp lenet5 netbn resnet8; do
    case $net in resnet8) predictions=20 ;; *) predictions=3 ;; esac
    file=$(frozen $net 8)
    float "$NETS/$net.st" $net 10000
    integers "$file" $net 10000 $predictions
done
integers "$(frozen lenet5 4)" lenet5.4bit 10000 3

# Every layer. The runtime's tanh is an approximation, whose error decides how a table's entry near
# a tie is rounded: no codes are compared.
sed 's/tanh/sigmoid/' "$here/kinds.net" > kinds_int.net
"$STAIR" train -q --model "$here/kinds.net" --epochs 1 --limit 1000 -o kinds.st
"$STAIR" train -q --model kinds_int.net --epochs 1 --limit 1000 -o kinds_int.st
"$STAIR" calibrate -q kinds_int.st --images 256 -o calibrated.st
"$STAIR" freeze -q calibrated.st -o frozen.st
float kinds.st kinds 1000
integers frozen.st kinds 1000 3

# Recurrent layers: float, with two layers and two directions, and where each ends.
cat > recurrent.net << 'NET'
x = input shape=1x28x28
rows = reshape x shape=28x28
l = lstm rows hidden=12 layers=2 bidirectional=true
g = gru l hidden=10 bidirectional=true output=last
fc = linear g out=10
NET
"$STAIR" train -q --model recurrent.net --epochs 1 --limit 300 -o recurrent.st
float recurrent.st recurrent 500
