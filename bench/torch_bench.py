#!/usr/bin/env python3
"""What `stair bench` measures, in PyTorch: netbn, images per second, the median of several timed
runs after a warm-up, on random images that lie in memory (here normalised already; stair does that
within the time). Prints one JSON object, as stair does.

    python3 bench/torch_bench.py train|finetune|infer|infer-int8 [--batch N] [--threads N]
    python3 bench/torch_bench.py --version

finetune is eager quantization-aware training as PyTorch's documentation has it: conv, BN and relu
fused, prepare_qat with the qnnpack configuration; infer-int8 is that net converted, on qnnpack.
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.ao import quantization as ao

RUNS, RUN_SECONDS, IMAGES = 5, 0.2, 1024


class NetBN(nn.Module):
    """The net of nn/zoo.c. The stubs do nothing until it is quantized."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant = ao.QuantStub(), ao.DeQuantStub()
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(1, 40, 3), nn.BatchNorm2d(40), nn.ReLU()
        self.conv2, self.bn2, self.relu2 = nn.Conv2d(40, 40, 3), nn.BatchNorm2d(40), nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(1000, 10)

    def forward(self, x):
        x = self.pool(self.relu1(self.bn1(self.conv1(self.quant(x)))))
        x = self.pool(self.relu2(self.bn2(self.conv2(x))))
        return self.dequant(self.fc(x.flatten(1)))


def qat_net():
    torch.backends.quantized.engine = "qnnpack"
    net = ao.fuse_modules_qat(NetBN().train(), [[f"conv{i}", f"bn{i}", f"relu{i}"] for i in (1, 2)])
    net.qconfig = ao.get_default_qat_qconfig("qnnpack")
    return ao.prepare_qat(net)


def training(net):
    """A function of one step on images and labels."""
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)

    def step(x, labels):
        optimizer.zero_grad()
        F.cross_entropy(net(x), labels).backward()
        optimizer.step()
    return step


def inference(net):
    net.eval()

    def run(x, _):
        with torch.inference_mode():
            net(x)
    return run


def converted(x):
    """The integer net, its ranges known from a few steps."""
    net = qat_net()
    step = training(net)
    for _ in range(3):
        step(x[:64], torch.zeros(64, dtype=torch.int64))
    return ao.convert(net.eval())


def timed(once, batches, count):
    start = time.perf_counter()
    for i in range(count):
        once(*batches[i % len(batches)])
    return time.perf_counter() - start


def measure(what, batch):
    """(median, all) images per second."""
    x = torch.randn(max(IMAGES // batch, 1) * batch, 1, 28, 28)
    labels = torch.zeros(len(x), dtype=torch.int64)
    once = {"train": lambda: training(NetBN()), "finetune": lambda: training(qat_net()),
            "infer": lambda: inference(NetBN()),
            "infer-int8": lambda: inference(converted(x))}[what]()
    batches = list(zip(x.split(batch), labels.split(batch)))
    count, seconds = 1, 0
    while seconds < RUN_SECONDS:  # the warm-up finds the length
        count *= 2
        seconds = timed(once, batches, count)
    count = max(1, int(count * RUN_SECONDS / seconds))
    runs = [count * batch / timed(once, batches, count) for _ in range(RUNS)]
    return statistics.median(runs), runs


def main():
    parser = argparse.ArgumentParser(description="the speed of netbn in PyTorch")
    parser.add_argument("what", nargs="?", choices=["train", "finetune", "infer", "infer-int8"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--version", action="version", version=f"PyTorch {torch.__version__}")
    arguments = parser.parse_args()
    if not arguments.what:
        parser.error("what to measure?")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    median, runs = measure(arguments.what, arguments.batch)
    print(json.dumps({"what": arguments.what, "batch": arguments.batch,
                      "threads": arguments.threads, "images_per_second": median, "runs": runs}))


if __name__ == "__main__":
    main()
