"""The nets of nn/zoo.c as PyTorch modules, their layers named as the nodes are, and data to train them with."""
import gzip
import pathlib
import struct
import sys

import torch
from torch import nn
from torch.nn import functional as F

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))
from load_in_pytorch import FASHION_MNIST, NetBN  # noqa: E402

MEAN, STD = 0.286, 0.353  # of Fashion-MNIST, roughly: any will do


class LeNet5(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.avg_pool2d(torch.relu(self.conv1(x)), 2)
        x = F.avg_pool2d(torch.relu(self.conv2(x)), 2)
        x = torch.relu(self.fc1(x.flatten(1)))
        return self.fc3(torch.relu(self.fc2(x)))


class ResNet8(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = {"conv1": (1, 16, 3, 1), "conv2": (16, 16, 3, 1), "conv3": (16, 16, 3, 1),
                 "conv4": (16, 32, 3, 2), "conv5": (32, 32, 3, 1), "short2": (16, 32, 1, 2),
                 "conv6": (32, 64, 3, 2), "conv7": (64, 64, 3, 1), "short3": (32, 64, 1, 2)}
        for name, (i, o, k, stride) in sizes.items():
            setattr(self, name, nn.Conv2d(i, o, k, stride, k // 2, bias=False))
            setattr(self, name.replace("conv", "bn").replace("short", "bns"), nn.BatchNorm2d(o))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(x)))))
        x = torch.relu(y + x)
        y = self.bn5(self.conv5(torch.relu(self.bn4(self.conv4(x)))))
        x = torch.relu(y + self.bns2(self.short2(x)))
        y = self.bn7(self.conv7(torch.relu(self.bn6(self.conv6(x)))))
        x = torch.relu(y + self.bns3(self.short3(x)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


NETS = {"netbn": NetBN, "lenet5": LeNet5, "resnet8": ResNet8}


def read_idx(part):
    """(images [N, 1, 28, 28] as the nets want them, labels [N])"""
    arrays = []
    for name, header in ((f"{part}-images-idx3-ubyte.gz", 16), (f"{part}-labels-idx1-ubyte.gz", 8)):
        with gzip.open(pathlib.Path(FASHION_MNIST) / name) as f:
            arrays.append(torch.frombuffer(bytearray(f.read()[header:]), dtype=torch.uint8))
    images, labels = arrays
    images = images.reshape(-1, 1, 28, 28).to(torch.float32)
    return (images / 255 - MEAN) / STD, labels.to(torch.int64)


def trained(name, images, labels, steps=200, batch=64):
    """The net after a few steps of SGD: weights and running statistics that are no longer fresh."""
    torch.manual_seed(0)
    net = NETS[name]().train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for step in range(steps):
        at = slice(step * batch, (step + 1) * batch)
        optimizer.zero_grad()
        F.cross_entropy(net(images[at]), labels[at]).backward()
        optimizer.step()
    return net.eval()


def logits_of(net, images):
    with torch.no_grad():
        return torch.cat([net(part) for part in images.split(500)])


def logits_in(path):
    """(predictions [N], logits [N, 10]) of a file that `stair eval --predictions` wrote."""
    rows = [line.split(",") for line in pathlib.Path(path).read_text().splitlines()[1:]]
    predicted = torch.tensor([int(row[2]) for row in rows])
    return predicted, torch.tensor([[float(x) for x in row[3:]] for row in rows])
