#!/usr/bin/env python3
"""Writes ops.safetensors beside this file: what PyTorch says each op of autograd/ops.def computes.

Names are OP/CASE/PART. Parts:
  in0, in1, ...      the inputs in the order of the op's function; an absent bias is missing
  out                the output
  weights            L = sum(weights * out)
  grad0, grad1, ...  dL/d in0, ...
  spec               I64: windows are kernel, stride, padding, dilation, each D H W; conv adds
                     groups, conv_transpose groups and output padding; reshape: the new shape;
                     view: rank, first element, sizes and steps of a sample;
                     cross_entropy: the labels; batchnorm: 1 if training; pointwise: which line of
                     autograd/pointwise.def; recurrent: which line of autograd/cells.def, 1 if
                     reverse, 1 if last
  real               batchnorm: momentum, eps; pointwise: the function's parameter
  mean, var          batchnorm: running statistics before, and mean_after, var_after

Everything is computed in double from float32 inputs and rounded once, at the end: what a float32
implementation differs by is its own rounding. Needs Debian's python3-torch (1.13).
"""
import json
import pathlib
import struct

import torch
import torch.nn.functional as F

TENSORS = {}


def normal(*shape):
    """Float32 values, held as double."""
    return torch.randn(shape).double()


def rounded(x):
    """x as float32 holds it."""
    return x.float().double()


def add_case(name, function, inputs, spec=None):
    """Runs function(*inputs), an input may be None, and stores everything it needs and gives."""
    leaves = [rounded(x).requires_grad_() if x is not None else None for x in inputs]
    out = function(*leaves)
    weights = normal(*out.shape)
    (weights * out).sum().backward()
    parts = {"out": out, "weights": weights}
    for i, leaf in enumerate(leaves):
        if leaf is not None:
            parts[f"in{i}"], parts[f"grad{i}"] = leaf, leaf.grad
    if spec is not None:
        parts["spec"] = torch.tensor(spec, dtype=torch.int64)
    for part, tensor in parts.items():
        TENSORS[f"{name}/{part}"] = tensor.detach()


def right(values, rank, missing):
    """One number per spatial dimension, as D H W with the missing leading ones filled in."""
    values = [values] * rank if isinstance(values, int) else list(values)
    return [missing] * (3 - rank) + values


def window(rank, kernel, stride=1, padding=0, dilation=1):
    return (right(kernel, rank, 1) + right(stride, rank, 1) + right(padding, rank, 0)
            + right(dilation, rank, 1))


def conv(case, x, out, kernel, bias=True, groups=1, **geometry):
    """x: N C and 1 to 3 sizes."""
    rank = len(x) - 2
    size = [kernel] * rank if isinstance(kernel, int) else kernel
    function = [F.conv1d, F.conv2d, F.conv3d][rank - 1]
    inputs = [normal(*x), normal(out, x[1] // groups, *size), normal(out) if bias else None]
    add_case(f"conv/{case}", lambda x, w, b: function(x, w, b, groups=groups, **geometry), inputs,
             window(rank, kernel, **geometry) + [groups])


def conv_transpose(case, x, out, kernel, bias=True, groups=1, output_padding=0, **geometry):
    """x: N C and 1 to 3 sizes."""
    rank = len(x) - 2
    size = [kernel] * rank if isinstance(kernel, int) else kernel
    function = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][rank - 1]
    inputs = [normal(*x), normal(x[1], out // groups, *size), normal(out) if bias else None]
    add_case(f"conv_transpose/{case}",
             lambda x, w, b: function(x, w, b, groups=groups, output_padding=output_padding,
                                      **geometry),
             inputs, window(rank, kernel, **geometry) + [groups] + right(output_padding, rank, 0))


def pool(op, case, x, kernel, **geometry):
    """x: a shape, or the tensor."""
    x = x if torch.is_tensor(x) else normal(*x)
    rank = x.dim() - 2
    function = {"maxpool": [F.max_pool1d, F.max_pool2d, F.max_pool3d],
                "avgpool": [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d]}[op][rank - 1]
    add_case(f"{op}/{case}", lambda x: function(x, kernel, **geometry), [x],
             window(rank, kernel, **geometry))


def batchnorm(case, shape, training, momentum=0.1, eps=1e-5):
    channels = shape[1]
    mean, var = normal(channels), rounded(torch.rand(channels) + 0.5)
    real = rounded(torch.tensor([momentum, eps]))
    name = f"batchnorm/{case}"
    TENSORS[f"{name}/mean"], TENSORS[f"{name}/var"] = mean.clone(), var.clone()
    add_case(name, lambda x, g, b: F.batch_norm(x, mean, var, g, b, training, *real.tolist()),
             [3 * normal(*shape) + 2, normal(channels), normal(channels)], [int(training)])
    TENSORS[f"{name}/mean_after"], TENSORS[f"{name}/var_after"] = mean, var
    TENSORS[f"{name}/real"] = real


def pointwise(line, name, function, a):
    """Line `line` of autograd/pointwise.def, with its parameter."""
    kinks = torch.tensor([-200, -9, -6, -3, 0, 3, 6, 9, 200]).double()
    for case, x in [("normal", 3 * normal(2, 3, 4, 5)), ("kinks", kinks)]:
        add_case(f"pointwise/{name}_{case}", function, [x], [line])
        TENSORS[f"pointwise/{name}_{case}/real"] = torch.tensor([float(a)])


def recurrent(case, cell, x, hidden, bias=True, reverse=False, last=False):
    """x: N T F. One direction of nn.LSTM or nn.GRU, through the function that both call; what runs
    backwards is that on the reversed x."""
    gates = [4, 3][cell] * hidden

    def function(x, *parameters):
        zeros = torch.zeros(1, x.shape[0], hidden).double()
        options = [p for p in parameters if p is not None], bias, 1, 0.0, False, False, True
        x = x.flip(1) if reverse else x
        h = (torch._VF.gru(x, zeros, *options) if cell else
             torch._VF.lstm(x, (zeros, zeros), *options))[0]
        return h[:, -1] if last else h.flip(1) if reverse else h

    biases = [normal(gates), normal(gates)] if bias else [None, None]
    add_case(f"recurrent/{case}", function,
             [normal(*x), normal(gates, x[2]), normal(gates, hidden) / 2, *biases],
             [cell, int(reverse), int(last)])


def gru_before(case, x, hidden, bias=True, reverse=False, last=False):
    """The GRU that PyTorch does not have, step by step: n = tanh(W_in x + b_in + W_hn (r h) + b_hn),
    as ONNX defines linear_before_reset=0."""
    def function(x, w_ih, w_hh, *biases):
        b_ih, b_hh = biases if bias else (torch.zeros(3 * hidden).double(),) * 2
        parts = [part.split(hidden) for part in (w_ih, w_hh, b_ih, b_hh)]
        (w_ir, w_iz, w_in), (w_hr, w_hz, w_hn), (b_ir, b_iz, b_in), (b_hr, b_hz, b_hn) = parts
        h, every = torch.zeros(x.shape[0], hidden).double(), []
        for x_t in (x.flip(1) if reverse else x).unbind(1):
            r = torch.sigmoid(x_t @ w_ir.T + b_ir + h @ w_hr.T + b_hr)
            z = torch.sigmoid(x_t @ w_iz.T + b_iz + h @ w_hz.T + b_hz)
            n = torch.tanh(x_t @ w_in.T + b_in + (r * h) @ w_hn.T + b_hn)
            h = (1 - z) * n + z * h
            every.append(h)
        every = torch.stack(every, 1)
        return h if last else every.flip(1) if reverse else every

    biases = [normal(3 * hidden), normal(3 * hidden)] if bias else [None, None]
    add_case(f"recurrent/{case}", function,
             [normal(*x), normal(3 * hidden, x[2]), normal(3 * hidden, hidden) / 2, *biases],
             [2, int(reverse), int(last)])


def view(case, shape, function):
    """What PyTorch makes a view of, told by its strides and where it begins."""
    x = normal(*shape)
    y = function(x)
    rank = len(shape) - 1
    add_case(f"view/{case}", function, [x],
             [rank, y.storage_offset(), *y.shape[1:], *y.stride()[1:]])


def make_cases():
    add_case("add/matrix", torch.add, [normal(3, 5), normal(3, 5)])
    add_case("add/image", torch.add, [normal(2, 3, 4, 5), normal(2, 3, 4, 5)])
    add_case("mul/vector", torch.mul, [normal(7), normal(7)])
    add_case("mul/image", torch.mul, [normal(2, 3, 4, 5), normal(2, 3, 4, 5)])
    with_zeros = normal(2, 3, 4, 4)
    with_zeros[:, :, ::2, ::3] = 0
    add_case("relu/zeros", F.relu, [with_zeros])
    add_case("relu/matrix", F.relu, [normal(4, 9)])
    add_case("reshape/flatten", lambda x: x.reshape(2, 24), [normal(2, 3, 2, 4)], [2, 24])
    add_case("reshape/unflatten", lambda x: x.reshape(2, 2, 3, 2), [normal(4, 6)], [2, 2, 3, 2])
    add_case("dropout/none", lambda x: F.dropout(x, 0.0, True), [normal(3, 11)])

    add_case("linear/bias", F.linear, [normal(5, 7), normal(4, 7), normal(4)])
    add_case("linear/no_bias", F.linear, [normal(3, 10), normal(6, 10), None])
    add_case("linear/one_sample", F.linear, [normal(1, 20), normal(3, 20), normal(3)])
    add_case("linear/several_chunks", F.linear, [normal(19, 3), normal(2, 3), normal(2)])

    conv("2d", [2, 3, 6, 5], 4, 3)
    conv("2d_no_bias", [2, 2, 5, 5], 3, 2, bias=False)
    conv("2d_pointwise", [2, 4, 3, 3], 5, 1)
    conv("2d_stride", [2, 2, 7, 8], 3, 3, stride=[2, 3])
    conv("2d_padding", [1, 2, 4, 5], 3, [3, 5], padding=[1, 2])
    conv("2d_dilation", [1, 2, 8, 7], 2, 3, dilation=[2, 3])
    conv("2d_groups", [2, 4, 5, 5], 6, 3, groups=2, padding=1)
    conv("2d_depthwise", [2, 3, 5, 6], 3, 3, groups=3, padding=1)
    conv("2d_depthwise_stride_2", [1, 3, 7, 7], 6, 3, groups=3, padding=1, stride=2)
    conv("2d_everything", [3, 4, 9, 8], 4, [3, 2], groups=2, stride=2, padding=[2, 1], dilation=2)
    conv("2d_several_chunks", [17, 1, 3, 4], 2, 2)
    conv("1d", [2, 3, 9], 4, 3, stride=2, padding=1)
    conv("1d_dilation", [1, 2, 12], 2, 4, dilation=3, bias=False)
    conv("1d_depthwise", [2, 4, 8], 4, 3, groups=4)
    conv("3d", [1, 2, 4, 5, 4], 3, [2, 3, 2])
    conv("3d_everything", [2, 2, 5, 4, 6], 4, [3, 1, 2], groups=2, stride=[2, 1, 2],
         padding=[1, 0, 1], dilation=[1, 1, 2])

    pool("maxpool", "2d", [2, 3, 6, 6], 2, stride=2)
    pool("maxpool", "2d_overlap", [2, 2, 7, 6], 3, stride=[2, 1], padding=1)
    pool("maxpool", "2d_ties", torch.randint(-1, 2, (2, 2, 6, 6)).double(), 3, stride=1, padding=1)
    pool("maxpool", "2d_negative", -normal(1, 2, 5, 5).abs() - 1, 3, stride=2, padding=1)
    pool("maxpool", "2d_dilation", [1, 2, 7, 7], [2, 3], stride=1, dilation=2)
    pool("maxpool", "2d_global", [2, 3, 4, 5], [4, 5], stride=1)
    pool("maxpool", "1d", [2, 3, 9], 3, stride=2, padding=1)
    pool("maxpool", "3d", [1, 2, 4, 5, 4], 2, stride=[2, 1, 2], padding=[1, 0, 1])
    pool("avgpool", "2d", [2, 3, 6, 6], 2, stride=2)
    pool("avgpool", "2d_padding", [2, 2, 7, 6], 3, stride=[2, 1], padding=1)
    pool("avgpool", "2d_global", [2, 3, 4, 5], [4, 5], stride=1)
    pool("avgpool", "1d", [2, 3, 9], 3, stride=2, padding=1)
    pool("avgpool", "3d", [1, 2, 4, 5, 4], 2, stride=[2, 1, 2], padding=[1, 0, 1])

    for training in (True, False):
        mode = "training" if training else "eval"
        batchnorm(f"{mode}_matrix", [6, 3], training)
        batchnorm(f"{mode}_1d", [3, 4, 5], training)
        batchnorm(f"{mode}_2d", [4, 3, 5, 7], training, momentum=0.01, eps=1e-3)
        batchnorm(f"{mode}_3d", [2, 2, 3, 2, 3], training)

    for name, logits, labels in [("ten_classes", normal(6, 10), [3, 0, 9, 9, 1, 5]),
                                 ("large_logits", 100 * normal(4, 5), [0, 1, 2, 4]),
                                 ("one_sample", normal(1, 3), [2])]:
        add_case(f"cross_entropy/{name}",
                 lambda x, y=labels: F.cross_entropy(x, torch.tensor(y)), [logits], labels)

    conv_transpose("2d", [2, 3, 4, 5], 4, 3)
    conv_transpose("2d_no_bias", [2, 2, 3, 3], 3, 2, bias=False)
    conv_transpose("2d_pointwise", [2, 4, 3, 3], 5, 1)
    conv_transpose("2d_double", [2, 4, 3, 4], 3, 2, stride=2)
    conv_transpose("2d_stride_padding", [2, 2, 4, 3], 3, [3, 4], stride=[2, 3], padding=[1, 2])
    conv_transpose("2d_output_padding", [1, 2, 3, 4], 3, 3, stride=[2, 3], padding=1,
                   output_padding=[1, 2])
    conv_transpose("2d_dilation", [1, 2, 4, 3], 2, [3, 2], dilation=[2, 3])
    conv_transpose("2d_output_padding_past_stride", [1, 2, 3, 3], 2, 2, dilation=3,
                   output_padding=2)
    conv_transpose("2d_groups", [2, 4, 3, 3], 6, 3, groups=2, padding=1)
    conv_transpose("2d_depthwise", [2, 3, 4, 4], 3, 3, groups=3, stride=2, padding=1,
                   output_padding=1)
    conv_transpose("2d_everything", [3, 4, 3, 4], 6, [3, 2], groups=2, stride=[2, 3],
                   padding=[2, 1], dilation=[2, 1], output_padding=[1, 0])
    conv_transpose("2d_several_chunks", [17, 1, 2, 3], 2, 2, stride=2)
    conv_transpose("1d", [2, 3, 5], 4, 3, stride=2, padding=1, output_padding=1)
    conv_transpose("1d_dilation", [1, 2, 6], 2, 4, dilation=3, bias=False)
    conv_transpose("1d_groups", [2, 4, 4], 6, 3, groups=2)
    conv_transpose("1d_pointwise_output_padding", [2, 2, 3], 3, 1, dilation=2, output_padding=1)
    conv_transpose("3d", [1, 2, 2, 3, 2], 3, [2, 3, 2])
    conv_transpose("3d_everything", [2, 4, 2, 3, 2], 2, [3, 1, 2], groups=2, stride=[2, 1, 3],
                   padding=[1, 0, 1], dilation=[1, 2, 1], output_padding=[1, 0, 2])

    for line, (name, function, a) in enumerate([
            ("relu6", F.relu6, 0), ("leaky_relu", lambda x: F.leaky_relu(x, 0.125), 0.125),
            ("sigmoid", torch.sigmoid, 0), ("tanh", torch.tanh, 0), ("hardswish", F.hardswish, 0),
            ("elu", lambda x: F.elu(x, 0.75), 0.75)]):
        pointwise(line, name, function, a)
    add_case("concat/images", lambda *x: torch.cat(x, 1),
             [normal(2, c, 3, 4) for c in (1, 3, 2)])
    add_case("concat/rows", lambda *x: torch.cat(x, 1), [normal(9, 4), normal(9, 1)])
    add_case("softmax/rows", lambda x: F.softmax(x, 1), [3 * normal(9, 10)])
    add_case("softmax/images", lambda x: F.softmax(x, 1), [normal(2, 4, 3, 5)])
    add_case("softmax/large", lambda x: F.softmax(x, 1), [1000 * normal(3, 5)])
    add_case("mse_loss/rows", F.mse_loss, [normal(9, 4), normal(9, 4)])
    add_case("mse_loss/images", F.mse_loss, [100 * normal(2, 3, 4, 5), normal(2, 3, 4, 5)])

    for cell, name in enumerate(["lstm", "gru"]):
        recurrent(name, cell, [3, 5, 4], 6)
        recurrent(f"{name}_reverse", cell, [2, 4, 3], 5, reverse=True)
        recurrent(f"{name}_last", cell, [2, 5, 3], 4, last=True)
        recurrent(f"{name}_reverse_last", cell, [2, 3, 2], 3, reverse=True, last=True)
        recurrent(f"{name}_no_bias", cell, [2, 4, 3], 5, bias=False)
        recurrent(f"{name}_one_step", cell, [3, 1, 4], 3)
        recurrent(f"{name}_several_chunks", cell, [17, 3, 2], 2)
        recurrent(f"{name}_large", cell, [2, 6, 40], 3)
    # last: what was there before keeps its random numbers
    pointwise(6, "at_least", lambda x: F.hardtanh(x, -3, 1e9), -3)
    pointwise(7, "at_most", lambda x: F.hardtanh(x, -1e9, 3), 3)
    view("turned", [2, 2, 3, 4], lambda x: x.permute(0, 3, 2, 1))
    view("two_exchanged", [17, 3, 5], lambda x: x.permute(0, 2, 1))
    view("channels", [2, 6, 3, 2], lambda x: x[:, 1:6:2])
    view("columns", [3, 2, 2, 7], lambda x: x[..., 2:-1])
    gru_before("gru_before", [3, 5, 4], 6)
    gru_before("gru_before_reverse", [2, 4, 3], 5, reverse=True)
    gru_before("gru_before_last", [2, 5, 3], 4, last=True)
    gru_before("gru_before_no_bias", [2, 4, 3], 5, bias=False)
    gru_before("gru_before_one_step", [3, 1, 4], 3)
    gru_before("gru_before_several_chunks", [17, 3, 2], 2)


def write(path, tensors, metadata=None):
    header, payload = {"__metadata__": metadata} if metadata else {}, b""
    for name in sorted(tensors):
        values = tensors[name].reshape(-1).tolist()
        integer = not tensors[name].is_floating_point()
        data = struct.pack(f"<{len(values)}{'q' if integer else 'f'}", *values)
        header[name] = {"dtype": "I64" if integer else "F32", "shape": list(tensors[name].shape),
                        "data_offsets": [len(payload), len(payload) + len(data)]}
        payload += data
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + payload)


if __name__ == "__main__":
    torch.manual_seed(1)
    torch.set_num_threads(1)
    make_cases()
    write(pathlib.Path(__file__).with_name("ops.safetensors"), TENSORS)
