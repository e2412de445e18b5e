#!/bin/sh
# The whole way once, on Fashion-MNIST: train in float, calibrate, fine-tune, freeze, run with integers, verify.
set -eu
stair=${STAIR:-build/stair}
out=${OUT:-build/demo}
mkdir -p "$out"

step() { printf '\n$ stair %s\n' "$*"; "$stair" "$@"; }

step train --model netbn --epochs 2 --batch 64 --lr 0.05 -o "$out/float.safetensors"
step calibrate "$out/float.safetensors" -o "$out/calibrated.safetensors"
step finetune "$out/calibrated.safetensors" --epochs 0.5 -o "$out/qat.safetensors"
step freeze "$out/qat.safetensors" -o "$out/frozen.safetensors"
step verify "$out/qat.safetensors"

member() { printf '%s\n' "$2" | sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p"; }
printf '\n%-11s %-11s %9s %11s %10s\n' stage engine accuracy 'file bytes' 'images/s'
for stage in float calibrated qat frozen; do
    json=$("$stair" eval "$out/$stage.safetensors" --json)
    printf '%-11s %-11s %9.4f %11d %10.0f\n' "$(member stage "$json")" "$(member engine "$json")" \
        "$(member accuracy "$json")" "$(wc -c < "$out/$stage.safetensors")" "$(member images_per_second "$json")"
done
