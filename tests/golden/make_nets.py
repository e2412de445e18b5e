#!/usr/bin/env python3
"""Writes nets.safetensors beside this file: what PyTorch says whole nets compute and learn.

The nets are those of nn/zoo.c at full size, one of odd convolutions and one of recurrent layers,
written as PyTorch modules with the same names. Inputs and parameters come from a hash of their names (`uniform`), which the
test computes too, so that the file holds results only:

  NET/salt            I64: part of every hash
  NET/logits          in evaluation mode, with all running statistics as the hash gave them
  NET/loss            in training mode, before the first step
  NET/grad/PARAM      its gradient, a sketch
  NET/step1/BUFFER    running statistics after one step, a sketch
  NET/heavy/NAME      parameters and running statistics after three steps of SGD with momentum and
  NET/nesterov/NAME   weight decay, plain and with Nesterov's momentum; sketches

A sketch is up to ELEMENTS evenly spread elements, and one sum over all elements with weights of
+-1 from the hash, divided by the root of their number: a wrong element shows even if it is not
among those spread.

Everything is computed in double. Where the graph of a function has a bend (relu at 0, the two
largest of a max-pool) float32 could take the other side; the salt is the first for which no value
is nearer to a bend than MARGIN. Needs Debian's python3-torch (1.13).
"""
import itertools
import math
import pathlib
import zlib

import torch
import torch.nn.functional as F
from torch import nn

from make_ops import write

BATCH, STEPS, ELEMENTS, MARGIN = 3, 3, 31, 3e-6
SGD = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}


class MLP(nn.Module):
    input = (1, 28, 28)

    def __init__(self):
        super().__init__()
        self.fc1, self.act1 = nn.Linear(784, 128), nn.ReLU()
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        return self.fc2(self.act1(self.fc1(x.flatten(1))))


class LeNet5(nn.Module):
    input = (1, 28, 28)

    def __init__(self):
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(1, 6, 5, padding=2), nn.ReLU()
        self.conv2, self.relu2 = nn.Conv2d(6, 16, 5), nn.ReLU()
        self.fc1, self.relu3 = nn.Linear(400, 120), nn.ReLU()
        self.fc2, self.relu4 = nn.Linear(120, 84), nn.ReLU()
        self.fc3 = nn.Linear(84, 10)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x):
        x = self.pool(self.relu1(self.conv1(x)))
        x = self.pool(self.relu2(self.conv2(x))).flatten(1)
        return self.fc3(self.relu4(self.fc2(self.relu3(self.fc1(x)))))


class NetBN(nn.Module):
    input = (1, 28, 28)

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(1, 40, 3), nn.BatchNorm2d(40), nn.ReLU()
        self.conv2, self.bn2, self.relu2 = nn.Conv2d(40, 40, 3), nn.BatchNorm2d(40), nn.ReLU()
        self.pool1, self.pool2 = nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.fc = nn.Linear(1000, 10)

    def forward(self, x):
        x = self.pool1(self.relu1(self.bn1(self.conv1(x))))
        x = self.pool2(self.relu2(self.bn2(self.conv2(x))))
        return self.fc(x.flatten(1))


class ResNet8(nn.Module):
    input = (1, 28, 28)

    def __init__(self):
        super().__init__()

        def conv(channels, out, kernel=3, stride=1):
            return nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)

        self.conv1, self.bn1 = conv(1, 16), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = conv(16, 16), nn.BatchNorm2d(16)
        self.conv3, self.bn3 = conv(16, 16), nn.BatchNorm2d(16)
        self.conv4, self.bn4 = conv(16, 32, stride=2), nn.BatchNorm2d(32)
        self.conv5, self.bn5 = conv(32, 32), nn.BatchNorm2d(32)
        self.short2, self.bns2 = conv(16, 32, 1, stride=2), nn.BatchNorm2d(32)
        self.conv6, self.bn6 = conv(32, 64, stride=2), nn.BatchNorm2d(64)
        self.conv7, self.bn7 = conv(64, 64), nn.BatchNorm2d(64)
        self.short3, self.bns3 = conv(32, 64, 1, stride=2), nn.BatchNorm2d(64)
        self.fc = nn.Linear(64, 10)
        self.relu = nn.ReLU()

    def forward(self, x):
        relu = self.relu
        x = relu(self.bn1(self.conv1(x)))
        y = relu(self.bn2(self.conv2(x)))
        x = relu(self.bn3(self.conv3(y)) + x)
        y = relu(self.bn4(self.conv4(x)))
        x = relu(self.bn5(self.conv5(y)) + self.bns2(self.short2(x)))
        y = relu(self.bn6(self.conv6(x)))
        x = relu(self.bn7(self.conv7(y)) + self.bns3(self.short3(x)))
        return self.fc(x.mean((2, 3)))


class Odd(nn.Module):
    """Groups, dilation, strides, rectangles, overlapping pools, a branch: see the test's text."""
    input = (4, 13, 11)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), groups=2, bias=False)
        self.bn1, self.relu1 = nn.BatchNorm2d(6, eps=1e-3, momentum=0.3), nn.ReLU()
        self.depth, self.relu2 = nn.Conv2d(6, 12, 3, padding=2, dilation=2, groups=6), nn.ReLU()
        self.pool1 = nn.MaxPool2d(3, 2, 1)
        self.left = nn.Conv2d(12, 12, 1)
        self.right, self.pool2 = nn.Conv2d(12, 12, 3, padding=1, groups=4), nn.AvgPool2d(3, 1, 1)
        self.relu3 = nn.ReLU()
        self.fc = nn.Linear(240, 10)

    def forward(self, x):
        x = self.relu2(self.depth(self.relu1(self.bn1(self.conv1(x)))))
        x = self.pool1(x)
        x = self.relu3(self.left(x) + self.pool2(self.right(x)) + x)
        return self.fc(x.flatten(1))


class LSTM(nn.Module):
    input = (1, 28, 28)

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(28, 128, batch_first=True)
        self.fc = nn.Linear(128, 10)

    def forward(self, x):
        return self.fc(self.lstm(x.reshape(-1, 28, 28))[0][:, -1])


class Sequences(nn.Module):
    """Recurrent layers of several layers and both directions: see the test's text."""
    input = (1, 7, 5)

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(5, 4, 2, batch_first=True, bidirectional=True)
        self.lstm1 = nn.LSTM(8, 3, batch_first=True, bidirectional=True, bias=False)
        self.lstm2 = nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True)
        self.gru2 = nn.GRU(6, 3, batch_first=True)
        self.fc = nn.Linear(13, 10)

    def forward(self, x):
        x = self.lstm1(self.gru(x.reshape(-1, 7, 5))[0])[0]
        ends = self.lstm2(x)[1][0][-2:]  # h_n of the last layer, both directions
        return self.fc(torch.cat([*ends, self.gru2(x)[0][:, -1]], 1))


NETS = {"mlp": MLP, "lenet5": LeNet5, "netbn": NetBN, "resnet8": ResNet8, "odd": Odd, "lstm": LSTM,
        "sequences": Sequences}


# ---- numbers from names ----

def uniform(name, count, salt):
    """Multiples of 2^-23 in [-1, 1): MurmurHash3's finalizer of crc32("SALT NAME") + index."""
    h = (zlib.crc32(f"{salt} {name}".encode()) + torch.arange(count)) & 0xffffffff
    for shift, factor in (16, 0x85ebca6b), (13, 0xc2b2ae35), (16, 1):
        h = ((h ^ (h >> shift)) * factor) & 0xffffffff
    return (h >> 8).double() / 2**23 - 1


def value(name, shape, salt):
    """What a parameter or buffer starts as. The factors are powers of two: exact in float32."""
    u = uniform(name, math.prod(shape), salt).reshape(shape)
    kind = name.split(".")[-1]
    if kind == "num_batches_tracked":
        return torch.tensor(0)
    if kind == "weight" and len(shape) > 1:
        bound, fan_in = 1.0, math.prod(shape[1:])
        while bound * bound * fan_in > 6:  # near He's bound for ReLU, sqrt(6 / fan_in)
            bound /= 2
        return bound * u
    return 1 + u / 2 if kind in ("weight", "running_var") else u / 4


def batch(net, step, salt):
    x = uniform(f"input{step}", BATCH * math.prod(net.input), salt).reshape(BATCH, *net.input)
    return x, torch.tensor([(7 * i + step) % 10 for i in range(BATCH)])


def sketch(name, x, salt):
    x = x.detach().double().reshape(-1)
    spread = min(ELEMENTS, len(x))
    at = [k * (len(x) - 1) // max(spread - 1, 1) for k in range(spread)]
    signs = torch.where(uniform(name, len(x), salt) < 0, -1.0, 1.0).double()
    return torch.cat([x[at], (signs * x).sum()[None] / len(x) ** 0.5])


# ---- bends ----

class Margins:
    """Hooks that keep the least distance of a value to a bend."""

    def __init__(self, net):
        self.least = math.inf
        for module in net.modules():
            if isinstance(module, nn.ReLU):
                module.register_forward_pre_hook(lambda _, x: self.take(x[0].abs()))
            elif isinstance(module, nn.MaxPool2d):
                module.register_forward_pre_hook(self.pool)

    def take(self, distances):
        self.least = min(self.least, distances.min().item())

    def pool(self, module, x):
        """The pools follow a relu: padding is 0 there, and windows of zeros have no gradient."""
        windows = F.unfold(x[0].flatten(0, 1)[:, None], module.kernel_size, 1, module.padding,
                           module.stride)
        first, second = windows.topk(2, 1).values.unbind(1)
        self.take((first - second)[first > 0])


# ---- one net ----

def fresh(make, salt):
    net = make().double()
    net.load_state_dict({k: value(k, v.shape, salt) for k, v in net.state_dict().items()})
    return net


def run(make, salt):
    """All parts of a net's results by name, and the least margin."""
    parts = {"salt": torch.tensor([salt])}
    net = fresh(make, salt)
    least = Margins(net)
    parts["logits"] = net.eval()(batch(make, 0, salt)[0])
    margin = least.least
    for method in "heavy", "nesterov":
        net = fresh(make, salt).train()
        least = Margins(net)
        optimizer = torch.optim.SGD(net.parameters(), nesterov=method == "nesterov", **SGD)
        for step in range(STEPS):
            x, labels = batch(make, step, salt)
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), labels)
            loss.backward()
            if step == 0:
                parts["loss"] = loss
                for name, p in net.named_parameters():
                    parts[f"grad/{name}"] = sketch(name, p.grad, salt)
            optimizer.step()
            if step == 0:
                for name, b in net.named_buffers():
                    parts[f"step1/{name}"] = sketch(name, b, salt)
        for name, t in net.state_dict().items():
            parts[f"{method}/{name}"] = sketch(name, t, salt)
        margin = min(margin, least.least)
    return {name: t.detach() for name, t in parts.items()}, margin


if __name__ == "__main__":
    torch.set_num_threads(1)
    tensors = {}
    for name, make in NETS.items():
        for salt in itertools.count():
            parts, margin = run(make, salt)
            if margin > MARGIN:
                break
        print(f"{name}: salt {salt}, margin {margin:.1e}, loss {parts['loss'].item():.4f}")
        tensors.update({f"{name}/{part}": t for part, t in parts.items()})
    write(pathlib.Path(__file__).with_name("nets.safetensors"), tensors)
