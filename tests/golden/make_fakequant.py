#!/usr/bin/env python3
"""Writes fakequant.txt beside this file: fake quantization and one fine-tuning step of a quantized block, by PyTorch 1.13.

PyTorch multiplies by 1 / S where stair divides by S. So all scales here are powers of two, and all other numbers have few
bits: then every result is exact, whatever the order, and both must agree to the last bit."""
import pathlib

import torch

torch.manual_seed(5)
OUT = []


def table(name, what, rows):
    OUT.append(f"\n{name} {what}\n" + "".join(" ".join(f"{v:.9g}" for v in row) + "\n" for row in rows))


def array(name, values):
    values = torch.as_tensor(values)
    shape = "x".join(map(str, values.shape))
    table(name, f"{values.numel()} numbers: {shape}", values.reshape(-1, values.shape[-1]).tolist())


def dyadic(shape, most, unit):
    """Random multiples of `unit` up to `most`."""
    steps = int(most / unit)
    return torch.randint(-steps, steps + 1, shape).float() * unit


# --- values on and around each edge of the grid: sixteenths of a step, so that ties and both their sides are there
ROWS = []
for zero, qmin, qmax in [(0, -127, 127), (3, 0, 15), (0, 0, 3), (-2, -2, 1), (255, 0, 255), (64, 0, 255)]:
    scale = 0.125
    at = torch.cat([torch.arange(-16, 17) / 16 + q - zero for q in (qmin, zero, qmax)] + [torch.tensor([-1e6, 1e6])])
    x = (at * scale).requires_grad_()
    y = torch.fake_quantize_per_tensor_affine(x, scale, zero, qmin, qmax)
    y.sum().backward()
    ROWS += [(x[i].item(), scale, zero, qmin, qmax, y[i].item(), int(x.grad[i])) for i in range(len(x))]
table("edges", f"{len(ROWS)} cases: x scale zero qmin qmax -> y passes", ROWS)

# --- per channel along the first dimension, a grid too narrow for the weights: many saturate
w = dyadic((3, 2, 2, 2), 4, 2**-8).requires_grad_()
scale = torch.tensor([2.0**-6, 2.0**-5, 2.0**-4])
up = dyadic((3, 2, 2, 2), 2, 2**-3)
y = torch.fake_quantize_per_channel_affine(w, scale, torch.zeros(3, dtype=torch.int32), 0, -127, 127)
y.backward(up)
for name, t in [("x", w.detach()), ("scale", scale), ("up", up), ("y", y.detach()), ("dx", w.grad)]:
    array(f"channels.{name}", t)


# --- conv + batchnorm + relu: one step with everything rounded
class RoundBias(torch.autograd.Function):
    @staticmethod
    def forward(ctx, b, step):
        return torch.round(b / step) * step

    @staticmethod
    def backward(ctx, dy):
        return dy, None


EPS = 2.0**-7
x = dyadic((2, 2, 4, 4), 3, 2**-8).requires_grad_()
w = dyadic((3, 2, 3, 3), 0.9, 2**-9)
w[:, 0, 0, 0] = torch.tensor([1.0, -1.0, 1.0]) * 127 / 128  # the largest of its channel: scales are powers of two
w[0, 1, 1, 1] = -127 / 128  # and the other end
b = dyadic((3,), 1, 2**-12)
gamma = torch.tensor([0.5, -1.0, 2.0])
beta = dyadic((3,), 1, 2**-12)
mean = dyadic((3,), 1, 2**-6)
var = torch.tensor([0.25, 1.0, 4.0]) - EPS
for t in (w, b, gamma, beta):
    t.requires_grad_()
input_scale, input_zero, output_scale = 2.0**-6, 100, 2.0**-6

inverse = 1 / torch.sqrt(var + EPS)
s = gamma * inverse
folded = s[:, None, None, None] * w
bias = s * (b - mean) + beta
step = folded.detach().abs().amax((1, 2, 3)) / 127
assert all(float(v).hex().startswith("0x1.0000000000000p") for v in step)
qw = torch.fake_quantize_per_channel_affine(folded, step, torch.zeros(3, dtype=torch.int32), 0, -127, 127)
qb = RoundBias.apply(bias, step * input_scale)
qx = torch.fake_quantize_per_tensor_affine(x, input_scale, input_zero, 0, 255)
y = torch.fake_quantize_per_tensor_affine(torch.relu(torch.conv2d(qx, qw, qb, padding=1)), output_scale, 0, 0, 255)
up = dyadic(tuple(y.shape), 1, 2**-2)
y.backward(up)
assert (y == 255 * output_scale).any() and (y == 0).any() and (x.grad == 0).any()
for name, t in [("x", x), ("w", w), ("b", b), ("gamma", gamma), ("beta", beta)]:
    array(f"block.{name}", t.detach())
    array(f"block.d{name}", t.grad)
for name, t in [("mean", mean), ("var", var), ("up", up), ("y", y.detach())]:
    array(f"block.{name}", t)
table("block.grids", "3 numbers: input_scale input_zero output_scale", [(input_scale, input_zero, output_scale)])

path = pathlib.Path(__file__).with_name("fakequant.txt")
path.write_text("# Made by tests/golden/make_fakequant.py with PyTorch " + torch.__version__.split("a")[0] + ".\n" +
                "".join(OUT))
