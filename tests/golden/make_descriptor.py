"""Writes tests/golden/descriptor.h: tensors quantized by the formula of NVIDIA's pytorch-quantization, in PyTorch.

    python3 tests/golden/make_descriptor.py > tests/golden/descriptor.h
"""
import torch

torch.manual_seed(12345)
SEED_X = torch.rand(10)  # the values that the toolkit's documentation shows


def quantize(x, bits, axes, unsigned, narrow, fake, scale_amax):
    dims = [d for d in range(x.dim()) if d not in [a % x.dim() for a in axes]]
    amax = x.abs().amax(dim=dims, keepdim=True) if dims else x.abs()
    if scale_amax:
        amax = amax * torch.tensor(scale_amax, dtype=torch.float32)
    bound = float(2 ** (bits - 1 + unsigned) - 1)
    least = 0.0 if unsigned else -bound if narrow else -bound - 1
    times = torch.tensor(bound) / amax  # two tensors: a true division
    code = torch.clamp(torch.round(x * times), least, bound)
    zero = (amax <= 2.0 ** -24).expand_as(x)
    y = torch.where(zero, torch.zeros_like(x), code / times if fake else code)
    return y


def numbers(t):
    return ", ".join("%.9gf" % v if v != int(v) else "%d" % v for v in t.flatten().tolist())


print("/* clang-format off */\n/* Made by tests/golden/make_descriptor.py with PyTorch %s: x[2][3][4] and what "
      "descriptors make of it. */\n#pragma once\n" % torch.__version__.split("a")[0])
print("static const float golden_seed[10] = {%s};" % numbers(SEED_X))
x = torch.randn(2, 3, 4)
x[1, 2, 3] = 0
x[0, 1] = 0
print("static const float golden_x[24] = {%s};" % numbers(x))
print("static const struct {\n    const char *json;\n    float y[24];\n} golden_descriptor[] = {")
for bits in (2, 4, 8, 12, 16):
    for axes in ([], [0], [1], [-1], [0, 2], [0, 1]):
        k = bits + len(axes)
        for unsigned, narrow, fake, scale in ((0, k % 2, 1, 0), (0, 0, 0, 0.75 if bits != 2 else 0), (1, 0, k % 2, 0)):
            source = x.abs() if unsigned else x
            y = quantize(source, bits, axes, unsigned, narrow, fake, scale)
            axis = "null" if not axes else "[%s]" % ",".join(map(str, axes)) if len(axes) > 1 else axes[0]
            flag = lambda b: "true" if b else "false"
            print('    {"{\\"num_bits\\":%d,\\"axis\\":%s,\\"unsigned\\":%s,\\"narrow_range\\":%s,\\"fake_quant\\":%s,\\"scale_amax\\":%s}",'
                  % (bits, axis, flag(unsigned), flag(narrow), flag(fake), scale or "null"))
            print("     {%s}}," % numbers(y))
print("};")
