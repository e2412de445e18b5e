#!/usr/bin/env python3
"""Writes a netbn of stair as the ONNX file that ONNX Runtime runs fastest.

    python3 bench/onnx_netbn.py float.safetensors float.onnx     # a trained net
    python3 bench/onnx_netbn.py int8.safetensors int8.onnx       # a frozen one: QuantizeLinear and
                                                                 # DequantizeLinear around each layer
    python3 bench/onnx_netbn.py --version

The integers of a frozen file stay what they are: int8 weights with a scale per output channel,
int32 biases of scale S_x S_w, uint8 activations. Zero points are written even where they are 0,
and a pool has its input's scale on both sides: without either ONNX Runtime leaves floats between
its integer kernels.
"""
import json
import pathlib
import struct
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DTYPES = {"F32": np.float32, "I64": np.int64, "I32": np.int32, "I8": np.int8}


def read(path):
    """(arrays by name, metadata) of a safetensors file: u64 length, JSON header, raw data."""
    data = pathlib.Path(path).read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        arrays[name] = np.frombuffer(data[start + begin:start + end],
                                     DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays, metadata


class Writer:
    def __init__(self, arrays):
        self.arrays, self.nodes, self.constants = arrays, [], []

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def dequantized(self, name, codes, scale, zero, **attributes):
        inputs = [codes, self.constant(name + ".scale", scale), self.constant(name + ".zero", zero)]
        return self.node("DequantizeLinear", inputs, name, **attributes)


class FloatWriter(Writer):
    """Each layer as it is; ONNX Runtime folds the batch normalisation itself."""

    def weighted(self, kind, name, x, **attributes):
        weights = [self.constant(f"{name}.{p}", self.arrays[f"{name}.{p}"])
                   for p in ("weight", "bias")]
        return self.node(kind, [x] + weights, name + ".out", **attributes)

    def batchnorm(self, name, x):
        names = ("weight", "bias", "running_mean", "running_var")
        constants = [self.constant(f"{name}.{p}", self.arrays[f"{name}.{p}"]) for p in names]
        return self.node("BatchNormalization", [x] + constants, name + ".out")

    def rounded(self, name, x, grid=None):
        return x


class IntegerWriter(Writer):
    def __init__(self, arrays):
        super().__init__(arrays)
        self.grid = None  # of the value that the next layer reads

    def weighted(self, kind, name, x, **attributes):
        scale = self.arrays[f"{name}.weight_fake_quant.scale"]
        zeros = np.zeros(scale.shape)
        weight = self.constant(f"{name}.weight", self.arrays[f"{name}.weight"])
        bias = self.constant(f"{name}.bias", self.arrays[f"{name}.bias"])
        in_scale = self.arrays[f"{self.grid}.activation_post_process.scale"][0]
        inputs = [x, self.dequantized(f"{name}.w", weight, scale, zeros.astype(np.int8), axis=0),
                  self.dequantized(f"{name}.b", bias, in_scale * scale, zeros.astype(np.int32),
                                   axis=0)]
        return self.node(kind, inputs, name + ".out", **attributes)

    def batchnorm(self, name, x):
        return x  # it is in the convolution

    def rounded(self, name, x, grid=None):
        """x on the grid of node `grid`, the last one's when it is None."""
        self.grid = grid or self.grid
        scale = self.arrays[f"{self.grid}.activation_post_process.scale"][0]
        zero = self.arrays[f"{self.grid}.activation_post_process.zero_point"][0].astype(np.uint8)
        constants = [self.constant(f"{name}.{p}", v) for p, v in (("s", scale), ("z", zero))]
        codes = self.node("QuantizeLinear", [x] + constants, name + ".codes")
        return self.dequantized(name + ".rounded", codes, scale, zero)


def model(arrays, frozen):
    w = IntegerWriter(arrays) if frozen else FloatWriter(arrays)
    x = w.rounded("x", "pixels", "x")
    for i in "12":
        x = w.batchnorm(f"bn{i}", w.weighted("Conv", f"conv{i}", x))
        x = w.rounded(f"relu{i}", w.node("Relu", [x], f"relu{i}.out"), f"conv{i}")
        x = w.node("MaxPool", [x], f"pool{i}.out", kernel_shape=[2, 2], strides=[2, 2])
        x = w.rounded(f"pool{i}", x)
    x = w.rounded("flat", w.node("Flatten", [x], "flat.out"))
    x = w.rounded("fc", w.weighted("Gemm", "fc", x, transB=1), "fc")
    graph = helper.make_graph(
        w.nodes, "netbn",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["N", 10])], w.constants)
    result = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    result.ir_version = 8
    onnx.checker.check_model(result)
    return result


def main():
    if sys.argv[1:] == ["--version"]:
        print(f"onnx {onnx.__version__}")
        return
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    arrays, metadata = read(sys.argv[1])
    stage = metadata["stair.stage"]
    if stage not in ("float", "frozen") or metadata["stair.name"] != "netbn":
        raise SystemExit(f"{sys.argv[1]}: expected a netbn in stage float or frozen")
    onnx.save(model(arrays, stage == "frozen"), sys.argv[2])


if __name__ == "__main__":
    main()
