"""ONNX's own checker and strict shape inference on FILE; with OUT, a copy of the model that gives the codes of
every value as outputs, and a list of them, OUT.txt: the program's name of the value, and the tensor's.

    python3 onnx_check.py FILE [OUT]
"""
import sys

import onnx

model = onnx.load(sys.argv[1])
onnx.checker.check_model(model, full_check=True)
inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
assert inferred.graph.output == model.graph.output, "the output's shape is not what follows from the net"
assert model.producer_name == "stair" and model.opset_import[0].version == 13

if len(sys.argv) > 2:
    graph = model.graph
    maker = {node.output[0]: node for node in graph.node}
    reader = {name: node for node in graph.node for name in node.input}
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    lines = []
    for node in graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        codes = reader[node.output[0]]  # a Clip keeps them to fewer bits
        tensor = codes.output[0] if codes.op_type == "Clip" else node.output[0]
        first = maker.get(node.input[0])
        while first is not None and first.op_type in ("Relu", "Clip"):  # a chain has its first node's name
            first = maker[first.input[0]] if "Dequantize" not in first.input[0] else None
        name = first.name if first is not None else graph.input[0].name
        graph.output.append(onnx.helper.make_tensor_value_info(tensor, types[node.input[2]], None))
        lines.append(f"{name} {tensor}\n")
    onnx.save(model, sys.argv[2])
    open(sys.argv[2] + ".txt", "w").writelines(lines)
