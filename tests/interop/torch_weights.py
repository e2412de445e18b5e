#!/usr/bin/env python3
"""Weights both ways between PyTorch and stair: the same predictions on all test images, logits within
1e-4 (sums of a thousand float32 products in another order).

PyTorch -> stair: nets trained in PyTorch, saved by docs/save_from_pytorch.py, `stair import`ed.
stair -> PyTorch: `stair train`ed nets, read by docs/load_in_pytorch.py.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import torch_nets as nets  # noqa: E402
from load_in_pytorch import read  # noqa: E402
from save_from_pytorch import save  # noqa: E402

STAIR = pathlib.Path(os.environ.get("STAIR", nets.ROOT / "build/stair")).resolve()
TOLERANCE = 1e-4


def stair(*words):
    subprocess.run([STAIR, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def compare(what, logits, csv):
    predicted, theirs = nets.logits_in(csv)
    differ = int((logits.argmax(1) != predicted).sum())
    most = float((logits - theirs).abs().max())
    print(f"{what:24} {len(predicted)} images: {differ} predictions differ, logits by at most {most:.1e}")
    return len(predicted) == 10000 and differ == 0 and most <= TOLERANCE


def main():
    torch.set_num_threads(1)
    ok = True
    images, labels = nets.read_idx("train")
    test, _ = nets.read_idx("t10k")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in nets.NETS:
            net = nets.trained(name, images, labels)
            save(net.state_dict(), "torch.safetensors")
            stair("import", "torch.safetensors", "--model", name, "--normalize",
                  f"{nets.MEAN},{nets.STD}", "-o", "in.safetensors")
            stair("eval", "in.safetensors", "--predictions", "in.csv")
            ok &= compare(f"{name}: PyTorch -> stair", nets.logits_of(net, test), "in.csv")

            stair("train", "--model", name, "--epochs", "1", "--limit", "6400", "-q", "-o", "out.safetensors")
            stair("eval", "out.safetensors", "--predictions", "out.csv")
            tensors, metadata = read("out.safetensors")
            net = nets.NETS[name]().eval()
            net.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("optimizer.")})
            pixels = json.loads(metadata["stair.input"])
            x = (((test * nets.STD + nets.MEAN) * 255).round() / 255 - pixels["mean"][0]) / pixels["std"][0]
            ok &= compare(f"{name}: stair -> PyTorch", nets.logits_of(net, x), "out.csv")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
