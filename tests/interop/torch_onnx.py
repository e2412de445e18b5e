#!/usr/bin/env python3
"""ONNX files that PyTorch writes, through `stair import`.

float  netbn, lenet5 and resnet8 as torch.onnx.export gives them, with batch normalisation folded and
       kept: the same predictions on all test images, logits within 1e-4.
       So do LSTM and GRU, of one and two layers, one way and both, and nets that compute along other
       dimensions than the channels.
QAT    netbn fake-quantized by PyTorch, with scales per channel and per tensor: after `stair freeze`
       the integers give the classes' codes that PyTorch's own forward gives, within 1. That is what
       float sums before a rounding leave open. So does its state_dict, and lenet5's, whose relus and means
       PyTorch does not observe, with the codes from 0 to 127 of its default for x86.

torch_onnx.py FOLDER leaves the QAT models, images and codes in FOLDER for other runtimes.
"""
import os
import pathlib
import sys
import tempfile

import torch
import torch.ao.quantization as Q
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import torch_nets as nets  # noqa: E402
from save_from_pytorch import save  # noqa: E402
from torch_weights import compare, stair  # noqa: E402

NORMALIZE = ("--normalize", f"{nets.MEAN},{nets.STD}")
TRAINING = torch.onnx.TrainingMode


def export(net, path, **options):
    torch.onnx.export(net, torch.zeros(1, 1, 28, 28), path, input_names=["x"],
                      dynamic_axes={"x": {0: "n"}}, **options)


def check_float(name, images, labels, test):
    net = nets.trained(name, images, labels)
    want, ok = nets.logits_of(net, test), True
    kinds = {"folded": {}, "kept": {"training": TRAINING.PRESERVE, "do_constant_folding": False}}
    if name == "netbn":
        kinds |= {"opset 9": {"opset_version": 9}, "opset 16": {"opset_version": 16}}
    for kind, options in kinds.items():
        export(net, "float.onnx", **options)
        stair("import", "float.onnx", *NORMALIZE, "-o", "float.st")
        stair("eval", "float.st", "--predictions", "float.csv")
        ok &= compare(f"{name}, {kind}", want, "float.csv")
    return ok


class Sequence(nn.Module):
    """An image as a sequence of its rows; what the layer gives at every step, or at the last one."""

    def __init__(self, kind, layers, both):
        super().__init__()
        self.layer = getattr(nn, kind)(28, 16, layers, batch_first=True, bidirectional=both)
        self.every = both
        self.fc = nn.Linear(28 * 32 if both else 16, 10)

    def forward(self, x):
        y, _ = self.layer(x[:, 0])
        return self.fc(y.flatten(1) if self.every else y[:, -1])


def check_sequences(test):
    ok = True
    torch.manual_seed(0)
    for kind in ("LSTM", "GRU"):
        for layers, both in ((1, False), (2, False), (1, True), (2, True)):
            net = Sequence(kind, layers, both).eval()
            for weights in net.parameters():
                weights.data *= 2  # away from the middle of sigmoid and tanh
            export(net, "sequence.onnx")
            stair("import", "sequence.onnx", *NORMALIZE, "-o", "sequence.st")
            stair("eval", "sequence.st", "--predictions", "sequence.csv")
            what = f"{kind}, {layers} layers{', both ways' if both else ''}"
            ok &= compare(what, nets.logits_of(net, test), "sequence.csv")
    return ok


class Columns(nn.Module):
    """A convolution's columns as a sequence, the steps first; every step and the last one are used."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.lstm, self.drop, self.gru = nn.LSTM(84, 12, bidirectional=True), nn.Dropout(0.1), nn.GRU(24, 10)
        self.fc = nn.Linear(10, 10)

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.norm(self.conv(x))), 2).flatten(1, 2).permute(2, 0, 1)
        x = self.drop(self.lstm(x)[0])
        x = self.gru(x)[0].permute(1, 0, 2)
        return self.fc(x).mean(1) + x[:, -1]


class Tokens(nn.Module):
    """Patches as a sequence with positions: gates, means, parts and differences along its dimensions."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate, self.fc = nn.Conv2d(1, 8, 4, stride=4), nn.Linear(8, 8), nn.Linear(56, 10)
        self.position = nn.Parameter(torch.randn(49, 8))

    def forward(self, x):
        x = self.conv(x).flatten(2).transpose(1, 2) + self.position
        x = x * torch.softmax(self.gate(x), -1)
        x = x.view(x.size(0), 7, 7, 8).mean(2)
        x = torch.cat([x[:, 3:], x[:, :3]], 1)
        a, b = x[..., :4], x[..., 4:]
        return self.fc(F.hardsigmoid(torch.cat([b - a, a], -1)).flatten(1))


def check_dimensions(test):
    ok = True
    torch.manual_seed(0)
    for net in (Columns().eval(), Tokens().eval()):
        for opset in (11, 13):
            export(net, "dimensions.onnx", opset_version=opset)
            stair("import", "dimensions.onnx", *NORMALIZE, "-o", "dimensions.st")
            stair("eval", "dimensions.st", "--predictions", "dimensions.csv")
            ok &= compare(f"{type(net).__name__}, opset {opset}", nets.logits_of(net, test), "dimensions.csv")
    return ok


class QatNetBN(nets.NetBN):
    """NetBN with modules where PyTorch's quantization needs them."""

    def __init__(self):
        super().__init__()
        self.relu1, self.relu2, self.quant = nn.ReLU(), nn.ReLU(), Q.QuantStub()

    def forward(self, x):
        x = torch.max_pool2d(self.relu1(self.bn1(self.conv1(self.quant(x)))), 2)
        x = torch.max_pool2d(self.relu2(self.bn2(self.conv2(x))), 2)
        return self.fc(x.flatten(1))


class QatLeNet5(nets.LeNet5):
    """A mean's value is rounded to the grid of its input: in PyTorch by integer kernels, not in training."""

    def __init__(self):
        super().__init__()
        self.quant = Q.QuantStub()

    def forward(self, x):
        x = self.pool(self.conv1, self.quant(x))
        x = self.pool(self.conv2, x)
        x = torch.relu(self.fc1(x.flatten(1)))
        return self.fc3(torch.relu(self.fc2(x)))

    @staticmethod
    def pool(conv, x):
        """On one grid a mean of four is a quarter of a step: halves are many, and stair rounds them up (N6)."""
        x, scale = F.avg_pool2d(torch.relu(conv(x)), 2), conv.activation_post_process.scale
        return ((x / scale * 4).round() / 4 + 0.5).floor() * scale if not conv.training else x


def fake_quantized(net, qconfig, images, labels):
    """A QAT net whose ranges no longer move."""
    net.qconfig = qconfig
    Q.prepare_qat(net, inplace=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001)
    for at in range(0, 1920, 64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[at:at + 64]), labels[at:at + 64]).backward()
        optimizer.step()
    return net.eval().apply(Q.disable_observer)


def check_codes(what, want, scale, csv, limit=1):
    """Logits are codes times the scale of the net's output."""
    _, have = nets.logits_in(csv)
    off = ((have - want) / scale).round().abs()
    most, some = int(off.max()), float((off > 0).float().mean())
    print(f"{what:24} {len(want)} images: codes differ by at most {most}, {some:.3%} of them")
    return len(want) == 10000 and most <= limit


def qat_netbn(weights, images, labels):
    net = QatNetBN().train()
    net.load_state_dict(nets.trained("netbn", images, labels).state_dict())
    net = Q.fuse_modules_qat(net, [["conv1", "bn1", "relu1"], ["conv2", "bn2", "relu2"]])
    activation = Q.FakeQuantize.with_args(observer=Q.MovingAverageMinMaxObserver, quant_min=0, quant_max=255,
                                          reduce_range=False)
    return fake_quantized(net, Q.QConfig(weight=weights, activation=activation), images, labels)


def check_dict(name, what, net, test, limit=1):
    """The net's state_dict, imported and frozen, gives the codes of its own forward."""
    save(net.state_dict(), "qat.safetensors")
    stair("import", "qat.safetensors", "--model", name, *NORMALIZE, "-o", "qat.st")
    stair("freeze", "qat.st", "-o", "frozen.st")
    stair("eval", "frozen.st", "--predictions", "dict.csv")
    last = net.fc if name == "netbn" else net.fc3
    return check_codes(what, nets.logits_of(net, test), float(last.activation_post_process.scale), "dict.csv",
                       limit)


def check_qat(kind, weights, images, labels, test):
    net = qat_netbn(weights, images, labels)
    export(net, f"qat_{kind}.onnx", opset_version=13)
    want = nets.logits_of(net, test)
    scale = float(net.fc.activation_post_process.scale)
    stair("import", f"qat_{kind}.onnx", *NORMALIZE, "-o", "qat.st")
    stair("freeze", "qat.st", "-o", "frozen.st")
    stair("eval", "frozen.st", "--predictions", f"qat_{kind}.csv")
    pathlib.Path(f"qat_{kind}.scale").write_text(repr(scale))
    ok = check_codes(f"netbn, QAT {kind}", want, scale, f"qat_{kind}.csv")
    return check_dict("netbn", f"netbn, state_dict {kind}", net, test) and ok


def check_lenet5(images, labels, test):
    net = QatLeNet5().train()
    net.load_state_dict(nets.trained("lenet5", images, labels).state_dict())
    net = fake_quantized(net, Q.get_default_qat_qconfig("fbgemm"), images, labels)
    return check_dict("lenet5", "lenet5, state_dict", net, test, 2)  # one that differs moves those behind it


def main():
    torch.set_num_threads(1)
    images, labels = nets.read_idx("train")
    test, _ = nets.read_idx("t10k")
    folder = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()
    os.chdir(folder)
    test.numpy().tofile("images.f32")
    ok = True
    for name in nets.NETS:
        ok &= check_float(name, images, labels, test)
    ok &= check_sequences(test)
    ok &= check_dimensions(test)
    for kind, weights in (("channel", Q.default_per_channel_weight_fake_quant),
                          ("tensor", Q.default_weight_fake_quant)):
        ok &= check_qat(kind, weights, images, labels, test)
    ok &= check_lenet5(images, labels, test)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
