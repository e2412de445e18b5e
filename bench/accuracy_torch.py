#!/usr/bin/env python3
"""The accuracy to compare with: netbn trained by PyTorch with the recipe of

    stair train --model netbn --epochs 10 --batch 64 --lr 0.05

SGD with momentum 0.9, a cosine from the learning rate to 0, pixels normalised by the mean and
deviation of the training images, no augmentation. Prints a JSON object for each epoch.
"""
import argparse
import gzip
import json
import math
import pathlib
import struct

import torch
import torch.nn.functional as F

from torch_bench import NetBN

FASHION_MNIST = "/usr/share/datasets/fashion-mnist"  # Debian's dataset-fashion-mnist


def read_idx(path):
    with gzip.open(path) as f:
        rank = f.read(4)[3]
        shape = struct.unpack(f">{rank}I", f.read(4 * rank))
        return torch.frombuffer(bytearray(f.read()), dtype=torch.uint8).reshape(shape)


def read_split(folder, split):
    """(images [N, 1, 28, 28] in 0..1, labels [N])"""
    images, labels = (read_idx(pathlib.Path(folder) / f"{split}-{kind}-ubyte.gz")
                      for kind in ("images-idx3", "labels-idx1"))
    return images[:, None] / 255, labels.long()


def train_epoch(net, optimizer, schedule, images, labels, batch):
    net.train()
    total = 0
    for index in torch.randperm(len(images)).split(batch):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images[index]), labels[index])
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item() * len(index)
    return total / len(images)


def accuracy(net, images, labels):
    net.eval()
    with torch.inference_mode():
        predicted = torch.cat([net(x).argmax(1) for x in images.split(500)])
    return (predicted == labels).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description="train netbn with PyTorch")
    parser.add_argument("--data", default=FASHION_MNIST)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=60000, help="use the first N images only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)

    images, labels = (t[:arguments.limit] for t in read_split(arguments.data, "train"))
    test_images, test_labels = read_split(arguments.data, "t10k")
    mean, std = images.mean(), images.std()
    images, test_images = (images - mean) / std, (test_images - mean) / std

    net = NetBN()
    optimizer = torch.optim.SGD(net.parameters(), lr=arguments.lr, momentum=0.9)
    steps = arguments.epochs * math.ceil(len(images) / arguments.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2)
    for epoch in range(arguments.epochs):
        loss = train_epoch(net, optimizer, schedule, images, labels, arguments.batch)
        print(json.dumps({"epoch": epoch + 1, "loss": loss,
                          "test_accuracy": accuracy(net, test_images, test_labels)}), flush=True)


if __name__ == "__main__":
    main()
