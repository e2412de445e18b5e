#!/usr/bin/env python3
"""Loads a netbn that `stair train` wrote into PyTorch and classifies test images with it.

    stair train --model netbn --epochs 1 -o float.safetensors
    stair eval float.safetensors --predictions stair.csv
    python3 docs/load_in_pytorch.py float.safetensors --compare stair.csv

A float checkpoint is a state_dict under PyTorch's names: with the safetensors package, `read` is
`safetensors.torch.load_file`. Here it is by hand, to show that nothing is hidden in the file. Of a
frozen netbn the codes of its weights are told, unpacked where they have fewer than 8 bits.
"""
import argparse
import csv
import gzip
import json
import math
import pathlib
import struct

import torch
from torch import nn

FASHION_MNIST = "/usr/share/datasets/fashion-mnist"  # Debian's dataset-fashion-mnist


class NetBN(nn.Module):
    """The net of nn/zoo.c, its layers named as the nodes are."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 40, 3), nn.BatchNorm2d(40)
        self.conv2, self.bn2 = nn.Conv2d(40, 40, 3), nn.BatchNorm2d(40)
        self.fc = nn.Linear(1000, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 2)
        x = torch.max_pool2d(torch.relu(self.bn2(self.conv2(x))), 2)
        return self.fc(x.flatten(1))


def read(path):
    """(tensors by name, metadata) of a safetensors file: u64 length, JSON header, raw data."""
    data = pathlib.Path(path).read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    metadata = header.pop("__metadata__", {})
    dtypes = {"F32": torch.float32, "I64": torch.int64, "I32": torch.int32, "I8": torch.int8,
              "U8": torch.uint8}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        part = bytearray(data[start + begin:start + end])
        tensors[name] = torch.frombuffer(part, dtype=dtypes[entry["dtype"]]).reshape(entry["shape"])
    for name, packed in json.loads(metadata.get("stair.packed", "{}")).items():
        tensors[name] = unpack(tensors[name], **packed)
    return tensors, metadata


def unpack(rows, bits, shape):
    """The codes of a layer whose outputs are its weight's first dimension, a row of bytes each: b
    bits for a code, little end first, two's complement (quant/pack.h)."""
    codes = math.prod(shape) // len(rows)
    ones = rows[:, :, None].int() >> torch.arange(8) & 1
    ones = ones.flatten(1)[:, :codes * bits].unflatten(1, (codes, bits))
    unsigned = (ones << torch.arange(bits)).sum(2)
    return (unsigned - (unsigned >> bits - 1 << bits)).to(torch.int8).reshape(shape)


def read_images(folder, count):
    """Bytes [N, 1, 28, 28] of an IDX file."""
    with gzip.open(pathlib.Path(folder) / "t10k-images-idx3-ubyte.gz") as f:
        _, images, height, width = struct.unpack(">4I", f.read(16))
        count = min(count, images)
        return torch.frombuffer(bytearray(f.read(count * height * width)),
                                dtype=torch.uint8).reshape(count, 1, height, width)


def classify(path, images):
    """Logits [N, 10]."""
    tensors, metadata = read(path)
    if metadata["stair.stage"] != "float" or metadata["stair.name"] != "netbn":
        raise SystemExit(f"{path}: expected a netbn in stage float")
    net = NetBN().eval()
    # what the optimizer remembers lies beside the net
    net.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("optimizer.")})
    pixels = json.loads(metadata["stair.input"])  # how the net wants to see an image
    mean, std = (torch.tensor(pixels[k])[:, None, None] for k in ("mean", "std"))
    with torch.no_grad():
        return torch.cat([net((x / 255 - mean) / std) for x in images.split(500)])


def main():
    parser = argparse.ArgumentParser(description="classify Fashion-MNIST with a stair netbn")
    parser.add_argument("file")
    parser.add_argument("--data", default=FASHION_MNIST)
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--compare", metavar="CSV", help="what stair eval --predictions wrote")
    arguments = parser.parse_args()
    tensors, metadata = read(arguments.file)
    if metadata["stair.stage"] == "frozen":
        for name in (n for n in sorted(tensors) if n.endswith(".weight")):
            codes = tensors[name]
            print(f"{name} {list(codes.shape)}: codes {codes.min()} to {codes.max()}, "
                  f"their sum {codes.sum()}")
        return
    logits = classify(arguments.file, read_images(arguments.data, arguments.images))
    predicted = logits.argmax(1)
    if not arguments.compare:
        print("predicted:", *predicted[:20].tolist(), "...")
        return
    with open(arguments.compare, newline="") as f:
        rows = list(csv.DictReader(f))[:len(logits)]
    theirs = torch.tensor([[float(row[f"logit{i}"]) for i in range(10)] for row in rows])
    classes = torch.tensor([int(row["predicted"]) for row in rows])
    labels = torch.tensor([int(row["label"]) for row in rows])
    print(f"{len(rows)} images, {(predicted == labels).float().mean():.2%} correct, "
          f"{(predicted != classes).sum()} predictions differ, "
          f"logits by at most {(logits - theirs).abs().max():.1e}")


if __name__ == "__main__":
    main()
