#!/usr/bin/env python3
"""netbn in QDQ form as one would write it by hand for ONNX Runtime: what is fused there to QLinearConv,
MaxPool and QGemm of bytes. The yardstick of the files that `stair export onnx` writes.

    python3 bench/hand_qdq.py OUT.onnx
    python3 bench/hand_qdq.py --version

Activations are unsigned bytes, weights int8 with a scale per channel, biases int32 behind
DequantizeLinear. A ReLU is no node: its codes begin at the zero point 0, where QuantizeLinear
saturates. The weights are random: the speed does not depend on them.
"""
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13
STEP = numpy.float32(0.02)  # the scale of every activation


class Writer:
    def __init__(self):
        self.nodes, self.initializers = [], []
        self.random = numpy.random.default_rng(0)

    def constant(self, name, values):
        self.initializers.append(numpy_helper.from_array(numpy.asarray(values), name))
        return name

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def rounded(self, value, zero=0):
        """QuantizeLinear and DequantizeLinear of an activation."""
        grid = [self.constant(f"{value}_scale", STEP),
                self.constant(f"{value}_zero_point", numpy.uint8(zero))]
        codes = self.node("QuantizeLinear", [value, *grid], f"{value}_codes")
        return self.node("DequantizeLinear", [codes, *grid], f"{value}_rounded")

    def parameter(self, name, codes, scale):
        """DequantizeLinear of a constant with a scale for each index of its first dimension."""
        parts = [self.constant(f"{name}_codes", codes), self.constant(f"{name}_scale", scale),
                 self.constant(f"{name}_zero_point", numpy.zeros(len(scale), codes.dtype))]
        return self.node("DequantizeLinear", parts, name, axis=0)

    def weighted(self, kind, value, name, shape, **attributes):
        """A convolution or a linear layer and the rounding of its result."""
        scale = self.random.uniform(0.001, 0.003, shape[0]).astype(numpy.float32)
        weight = self.random.integers(-127, 128, shape).astype(numpy.int8)
        bias = self.random.integers(-1000, 1000, shape[0]).astype(numpy.int32)
        inputs = [value, self.parameter(f"{name}_weight", weight, scale),
                  self.parameter(f"{name}_bias", bias, STEP * scale)]
        return self.rounded(self.node(kind, inputs, name, **attributes))


def netbn():
    w = Writer()
    value = w.rounded("x", zero=128)
    for name, channels in ("conv1", 1), ("conv2", 40):
        value = w.weighted("Conv", value, name, [40, channels, 3, 3], kernel_shape=[3, 3])
        value = w.rounded(w.node("MaxPool", [value], f"{name}_pool", kernel_shape=[2, 2], strides=[2, 2]))
    value = w.rounded(w.node("Flatten", [value], "flat", axis=1))
    result = w.weighted("Gemm", value, "fc", [10, 1000], transB=1)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 28, 28])]
    outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, ["N", 10])]
    graph = helper.make_graph(w.nodes, "netbn", inputs, outputs, w.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 7  # of ONNX 1.8, the first with opset 13
    onnx.checker.check_model(model)
    return model


def main():
    if sys.argv[1:] == ["--version"]:
        print(f"onnx {onnx.__version__}")
    elif len(sys.argv) == 2:
        onnx.save(netbn(), sys.argv[1])
    else:
        sys.exit("usage: hand_qdq.py OUT.onnx | --version")


if __name__ == "__main__":
    main()
