#!/usr/bin/env python3
"""Writes qat.safetensors beside this file: what PyTorch says of learned ranges and of batch normalisation in fine-tuning.

lsq.CASE, pact   a fake quantization whose scale is a parameter, by autograd with the straight-through estimator written as
                 v + (round(v) - v).detach(). Parts: x, scale, zero, ends (qmin, qmax), weights (L = sum(weights y)), y, dx,
                 dscale; pact: alpha, dalpha, and decay in L.
running          torch.nn.intrinsic.qat.ConvBn2d in training, weights of 4 bits per channel.
batch            a convolution folded with its batch's statistics as constants, weights of 4 bits, bias rounded to S_x S_w.
                 Parts of both: x, weight, bias, gamma, beta, mean, var; y, d of each, mean_after, var_after; sx.

Learned ranges are computed in double, the modules in float32. Needs Debian's python3-torch (1.13).
"""
import json
import pathlib
import struct

import torch
import torch.nn.functional as F
from torch.ao.quantization import FakeQuantize, MovingAveragePerChannelMinMaxObserver, QConfig
from torch.nn.intrinsic.qat import ConvBn2d

TENSORS = {}
EPS, MOMENTUM = 1e-5, 0.1


def rounded(x):
    return x.float().double()


def through(x, y):
    """y, with the derivative of x."""
    return x + (y - x).detach()


def keep(case, **parts):
    for name, value in parts.items():
        TENSORS[f"{case}/{name}"] = torch.as_tensor(value).detach()


def lsq(case, x, scale, zero, qmin, qmax, ste):
    """scale: one, or one for each row of x."""
    x = rounded(x).requires_grad_()
    scale = rounded(torch.tensor(scale)).requires_grad_()
    zero = torch.tensor(zero, dtype=torch.float64)
    column = [-1] + [1] * (x.dim() - 1)
    s, z = scale.reshape(column), zero.reshape(column)
    reach = torch.maximum(qmax - z, z - qmin)
    gain = 1 / (x.numel() / scale.numel() * reach).sqrt()
    s = through(gain * s, s)
    v = x / s
    if ste == "range":
        v = torch.minimum(torch.maximum(v, qmin - z), qmax - z)
        q = through(v, v.round())
    else:
        q = through(v, v.round())
        clamped = torch.clamp(q + z, qmin, qmax) - z
        q = clamped if ste == "code" else through(q, clamped)
    y = q * s
    weights = rounded(torch.randn(x.shape))
    (weights * y).sum().backward()
    keep(f"lsq.{case}.{ste}", x=x, scale=scale, zero=zero, ends=[float(qmin), float(qmax)], weights=weights, y=y, dx=x.grad,
         dscale=scale.grad)


def pact(bits, alpha, decay):
    levels = 2**bits - 1
    x = rounded(torch.randn(3, 40))
    x[0, 0] = alpha
    x.requires_grad_()
    alpha = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
    y = torch.where(x >= alpha, alpha, x.clamp(min=0))
    y = through(y, (y * (levels / alpha)).round() * (alpha / levels))
    weights = rounded(torch.randn(x.shape))
    ((weights * y).sum() + decay / 2 * alpha**2).backward()
    keep("pact", x=x, alpha=alpha, ends=[0.0, float(levels)], weights=weights, y=y, dx=x.grad, dalpha=alpha.grad, decay=decay)


def conv_values():
    gamma = torch.tensor([1.2, -0.7, 0.05, 0.4])
    return {"x": torch.randn(3, 2, 6, 6), "weight": torch.randn(4, 2, 3, 3) / 3, "bias": torch.randn(4) / 2, "gamma": gamma,
            "beta": torch.randn(4), "mean": torch.randn(4) / 2, "var": torch.rand(4) + 0.5}


def keep_conv(case, values, y, leaves, mean, var, weights):
    (weights * y).sum().backward()
    keep(case, y=y, weights=weights, mean_after=mean, var_after=var, **values,
         **{f"d{name}": leaf.grad for name, leaf in leaves.items()})


def running():
    values = conv_values()
    weight = FakeQuantize.with_args(observer=MovingAveragePerChannelMinMaxObserver, quant_min=-7, quant_max=7,
                                    dtype=torch.qint8, qscheme=torch.per_channel_symmetric, ch_axis=0)
    module = ConvBn2d(2, 4, 3, bias=True, eps=EPS, momentum=MOMENTUM, qconfig=QConfig(torch.nn.Identity, weight))
    module.train()
    leaves = {"weight": module.weight, "bias": module.bias, "gamma": module.bn.weight, "beta": module.bn.bias}
    for name, leaf in leaves.items():
        leaf.data.copy_(values[name])
    module.bn.running_mean.copy_(values["mean"])
    module.bn.running_var.copy_(values["var"])
    leaves["x"] = values["x"].clone().requires_grad_()
    y = module(leaves["x"])
    keep_conv("running", values, y, leaves, module.bn.running_mean, module.bn.running_var, torch.randn(y.shape))


def batch(sx):
    values = conv_values()
    leaves = {name: values[name].clone().requires_grad_() for name in ["x", "weight", "bias", "gamma", "beta"]}
    x, weight, bias, gamma, beta = leaves.values()
    seen = F.conv2d(x, weight, bias).detach().transpose(0, 1).flatten(1)
    mean, var = seen.mean(1), seen.var(1)
    s = gamma / (var + EPS).sqrt()
    folded = weight * s.reshape(-1, 1, 1, 1)
    scale = folded.detach().abs().flatten(1).amax(1) / 7
    steps = scale.reshape(-1, 1, 1, 1)
    folded = through(folded, (folded / steps).round() * steps)
    b = s * (bias - mean) + beta
    b = through(b, (b / (sx * scale)).round() * (sx * scale))
    y = F.conv2d(x, folded, b)
    keep_conv("batch", values, y, leaves, values["mean"] + MOMENTUM * (mean - values["mean"]),
              values["var"] + MOMENTUM * (var - values["var"]), torch.randn(y.shape))
    keep("batch", sx=sx)


def write(path):
    header, data = {"__metadata__": {"made_by": "tests/golden/make_qat.py"}}, b""
    for name, tensor in TENSORS.items():
        values = tensor.flatten().tolist()
        part = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


torch.manual_seed(0)
for ste in ["code", "range", "none"]:
    lsq("relu4", torch.randn(2, 5, 8).abs(), [0.09], [0], 0, 15, ste)
    lsq("affine3", torch.randn(4, 30), [0.4], [3], 0, 7, ste)
    lsq("weight2", torch.randn(3, 25), [0.7, 1.3, 0.4], [0, 0, 0], -1, 1, ste)
    lsq("weight8", torch.randn(2, 40), [0.02, 0.015], [0, 0], -127, 127, ste)
pact(4, 1.875, 1e-4)
running()
batch(1 / 64)
write(pathlib.Path(__file__).with_name("qat.safetensors"))
