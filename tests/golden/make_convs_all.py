#!/usr/bin/env python3
"""Writes convs_all.safetensors beside this file: what PyTorch says of whole nets of convolutions of all ranks,
transposed ones too.

Metadata NET is the .net text. Tensors are NET/PART:
  x                 the input of a batch
  LAYER.PARAMETER   as in the net's state_dict, before the step
  train, eval       the output with batch statistics, and with the running statistics that follow from it
  weights           L = sum(weights * train)
  grad.LAYER.PARAMETER, grad.x
  fused.weight, fused.bias   nets whose t1 and b1 torch.nn.utils.fusion folds (running statistics before the step)
Computed in double and rounded once. Needs Debian's python3-torch (1.13).
"""
import pathlib

import torch
from torch import nn
from torch.nn.utils import fusion

from make_ops import normal, rounded, write

TENSORS, TEXTS = {}, {}


def net(name, text, shape, *layers):
    """`layers`: (name, module) in order; names are those of the text."""
    model = nn.Sequential()
    for layer, module in layers:
        model.add_module(layer, module.double())
    for module in model:
        if hasattr(module, "running_var"):
            module.weight.data = rounded(torch.randn_like(module.weight) * 0.3 + 1)
            module.bias.data = normal(*module.bias.shape)
            module.running_mean = normal(*module.running_mean.shape)
            module.running_var = rounded(torch.rand_like(module.running_var) + 0.5)
    for parameter in model.parameters():
        parameter.data = rounded(parameter.data)
    parts = {k: v.clone() for k, v in model.state_dict().items() if "num_batches" not in k}
    if hasattr(model, "t1") and model.t1.groups == 1:
        model.eval()
        fused = fusion.fuse_conv_bn_eval(model.t1, model.b1, transpose=True)
        parts["fused.weight"], parts["fused.bias"] = fused.weight, fused.bias
        model.train()
    x = normal(*shape).requires_grad_()
    out = model(x)
    weights = normal(*out.shape)
    (weights * out).sum().backward()
    parts.update({"x": x, "train": out, "weights": weights, "grad.x": x.grad})
    parts.update({f"grad.{k}": v.grad for k, v in model.named_parameters()})
    parts["eval"] = model.eval()(x)
    TENSORS.update({f"{name}/{k}": v.detach() for k, v in parts.items()})
    TEXTS[name] = text


def make_nets():
    net("1d", """
x = input shape=2x21
c1 = conv1d x out=4 kernel=3 stride=2 padding=1 groups=2
n1 = batchnorm c1
r1 = relu n1
p1 = maxpool r1 kernel=2
t1 = conv_transpose1d p1 out=3 kernel=4 stride=2 padding=1 dilation=3 output_padding=2
b1 = batchnorm t1
r2 = relu b1
p2 = avgpool r2 kernel=3 stride=2 padding=1
f = flatten p2
l = linear f out=5
""", [5, 2, 21],
        ("c1", nn.Conv1d(2, 4, 3, 2, 1, groups=2)), ("n1", nn.BatchNorm1d(4)), ("r1", nn.ReLU()),
        ("p1", nn.MaxPool1d(2)),
        ("t1", nn.ConvTranspose1d(4, 3, 4, 2, 1, 2, dilation=3)), ("b1", nn.BatchNorm1d(3)),
        ("r2", nn.ReLU()), ("p2", nn.AvgPool1d(3, 2, 1)), ("f", nn.Flatten()),
        ("l", nn.Linear(3 * 9, 5)))
    net("2d", """
x = input shape=3x5x4
t1 = conv_transpose2d x out=4 kernel=3x2 stride=2x1 padding=1x0 output_padding=1x0
b1 = batchnorm t1
r1 = relu b1
t2 = conv_transpose2d r1 out=6 kernel=2 stride=2 groups=2 bias=false
b2 = batchnorm t2
r2 = relu b2
g = globalavgpool r2
f = flatten g
""", [4, 3, 5, 4],
        ("t1", nn.ConvTranspose2d(3, 4, (3, 2), (2, 1), (1, 0), (1, 0))), ("b1", nn.BatchNorm2d(4)),
        ("r1", nn.ReLU()), ("t2", nn.ConvTranspose2d(4, 6, 2, 2, groups=2, bias=False)),
        ("b2", nn.BatchNorm2d(6)), ("r2", nn.ReLU()), ("g", nn.AdaptiveAvgPool2d(1)),
        ("f", nn.Flatten()))
    net("3d", """
x = input shape=1x4x6x5
c1 = conv3d x out=4 kernel=2x3x3 stride=1x2x1 padding=0x1x1
n1 = batchnorm c1
r1 = relu n1
t1 = conv_transpose3d r1 out=2 kernel=1x2x3 stride=1x2x1
b1 = batchnorm t1
r2 = relu b1
p1 = maxpool r2 kernel=1x2x2 stride=1x2x1 padding=0x1x0
f = flatten p1
l = linear f out=3
""", [3, 1, 4, 6, 5],
        ("c1", nn.Conv3d(1, 4, (2, 3, 3), (1, 2, 1), (0, 1, 1))), ("n1", nn.BatchNorm3d(4)),
        ("r1", nn.ReLU()), ("t1", nn.ConvTranspose3d(4, 2, (1, 2, 3), (1, 2, 1))),
        ("b1", nn.BatchNorm3d(2)), ("r2", nn.ReLU()),
        ("p1", nn.MaxPool3d((1, 2, 2), (1, 2, 1), (0, 1, 0))), ("f", nn.Flatten()),
        ("l", nn.Linear(2 * 3 * 4 * 6, 3)))


if __name__ == "__main__":
    torch.manual_seed(1)
    torch.set_num_threads(1)
    make_nets()
    write(pathlib.Path(__file__).with_name("convs_all.safetensors"), TENSORS, TEXTS)
