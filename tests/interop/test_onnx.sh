#!/bin/sh
# packages: python3-onnx
# Exported ONNX under ONNX's checker and in ONNX Runtime: float nets, and quantized ones as floats
# (plain: no optimisation) and as the runtime's own integer operators (exact).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
python=/usr/bin/python3 # Debian's: it has the package
install_onnxruntime

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

# integers FILE NAME IMAGES PREDICTIONS LIMITS...: of all codes of $codes images, each layer's made of
# the program's, at most 1 in 10,000 differs, by 1; of the net as it runs the limits say how many; of
# the results of all images so many predictions.
codes=${STAIR_ONNX_CODES:-500}
integers() {
    file=$1 net=$2 images=$3 predictions=$4
    shift 4
    mkdir -p "$net/codes" "$net/output"
    "$STAIR" export onnx -q "$file" -o "$net/int.onnx"
    "$TOOLS/onnx_values" "$file" "$codes" "$net/codes"
    "$TOOLS/onnx_values" "$file" "$images" "$net/output" output
    check "$net checker" $python "$here/onnx_check.py" "$net/int.onnx" "$net/codes"
    for mode in plain exact; do
        compare "$net $mode codes" "$net/codes/cut.onnx" "$net/codes" --mode $mode --share 1
        compare "$net $mode whole net" "$net/codes/whole.onnx" "$net/codes" --mode $mode "$@"
        compare "$net $mode predictions" "$net/int.onnx" "$net/output" --mode $mode --predictions "$predictions"
    done
    rm -r "$net/codes" "$net/output"
}

# resnet8 learns little from so few images: its logits lie a step or two apart, and in nine layers a
# code that differs becomes several hundred (docs/onnx.md).
for net in mlp lenet5 netbn resnet8; do
    case $net in
    resnet8) predictions=20 limits='--share 10' ;;
    *) predictions=3 limits='--share 1 --by 1' ;;
    esac
    file=$(frozen $net 8)
    float "$NETS/$net.st" $net 10000
    # shellcheck disable=SC2086  # one word an option
    integers "$file" $net 10000 $predictions $limits
done
integers "$(frozen lenet5 4)" lenet5.4bit 10000 3 --share 1 --by 1
echo '{"weight": {"symmetric": false}}' > affine.json
"$STAIR" calibrate -q "$NETS/lenet5.st" --config affine.json -o calibrated.st
"$STAIR" freeze -q calibrated.st -o affine.st
integers affine.st lenet5.affine 10000 3 --share 1 --by 1

# Portable scales: no code differs, in any of the nets.
for net in mlp lenet5 netbn resnet8; do
    "$STAIR" calibrate -q "$NETS/$net.st" --portable -o calibrated.st
    "$STAIR" freeze -q calibrated.st -o portable.st
    integers portable.st $net.portable 10000 0 --share 0 --by 0
done

# Every layer. The runtime's tanh is an approximation, whose error decides how a table's entry near
# a tie is rounded: no codes are compared. In a net so deep one that differs moves others by more.
sed 's/= tanh/= sigmoid/' "$here/kinds.net" > kinds_int.net
"$STAIR" train -q --model "$here/kinds.net" --epochs 1 --limit 1000 -o kinds.st
"$STAIR" train -q --model kinds_int.net --epochs 1 --limit 1000 -o kinds_int.st
"$STAIR" calibrate -q kinds_int.st --images 256 -o calibrated.st
"$STAIR" freeze -q calibrated.st -o frozen.st
float kinds.st kinds 1000
integers frozen.st kinds 1000 3 --share 1
"$STAIR" calibrate -q kinds_int.st --images 256 --portable -o calibrated.st
"$STAIR" freeze -q calibrated.st -o frozen.st
integers frozen.st kinds.portable 1000 3 --share 1 --by 1 # sigmoid and softmax are approximations

# Recurrent layers: float, with two layers and two directions, the reset gate in both places, and
# where each direction ends.
cat > recurrent.net << 'NET'
x = input shape=1x28x28
rows = reshape x shape=28x28
l = lstm rows hidden=12 layers=2 bidirectional=true
b = gru l hidden=11 reset=before
g = gru b hidden=10 bidirectional=true output=last
fc = linear g out=10
NET
"$STAIR" train -q --model recurrent.net --epochs 1 --limit 300 -o recurrent.st
float recurrent.st recurrent 500
