#!/bin/sh
# packages: python3-torch
# PyTorch and stair: weights both ways, and the ONNX files that PyTorch writes; its fake-quantized net in
# ONNX Runtime, too, whose codes are within 1 of the integers that stair makes of the same file.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
python=/usr/bin/python3 # Debian's: it has the package
install_onnxruntime

check weights $python "$here/torch_weights.py"
check "ONNX files" $python "$here/torch_onnx.py" .
for kind in channel tensor; do
    "$STAIR" import -q qat_$kind.onnx --normalize 0.286,0.353 -o qat.st
    "$STAIR" freeze -q qat.st -o frozen.st
    mkdir -p $kind
    "$TOOLS/onnx_values" frozen.st 10000 $kind output
    # a step of the output's grid, and what float32 leaves of it
    step=$($python -c "print(float(open('qat_$kind.scale').read()) * 1.001)")
    check "QAT per $kind in ONNX Runtime" node "$here/onnx_run.mjs" qat_$kind.onnx $kind --mode plain --logits "$step"
    rm -r $kind
done
