"""ONNX's own checker and strict shape inference on FILE. With FOLDER, where onnx_values has written a quantized model's
codes, also two copies of the graph that give these codes as outputs. FOLDER/whole.onnx is else the graph as it is;
FOLDER/cut.onnx is cut at each value: the codes that readers get are an input, so that each layer is computed from the
program's own. FOLDER/cut.txt lists the value's name, output, input, element type and the shape of a sample.

    python3 onnx_check.py FILE [FOLDER]
"""
import os
import sys

import onnx

model = onnx.load(sys.argv[1])
onnx.checker.check_model(model, full_check=True)
inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
assert inferred.graph.output == model.graph.output, "the output's shape is not what follows from the net"
assert model.producer_name == "stair" and model.opset_import[0].version == 13


def first_of_chain(graph, node):
    """The name of the program's value: that of the node behind which relus were absorbed."""
    maker = {made.output[0]: made for made in graph.node}
    node = maker.get(node.input[0])
    while node is not None and node.op_type in ("Relu", "Clip") and node.input[0] in maker:
        before = maker[node.input[0]]
        if before.op_type == "DequantizeLinear":
            break
        node = before
    return node.name if node is not None else graph.input[0].name


def cut(graph, folder):
    """Gives the codes as outputs; returns how to cut the graph there."""
    reader = {name: node for node in graph.node for name in node.input}
    kind = {tensor.name: tensor.data_type for tensor in graph.initializer}
    shape = {value.name: value.type.tensor_type.shape for value in inferred.graph.value_info}
    lines, cuts = [], []
    for node in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        name, codes = first_of_chain(graph, node), node.output[0]
        if not os.path.exists(f"{folder}/{name}.u8"):
            continue  # its bytes are its input's: it is no value of the program
        if reader[codes].op_type == "Clip":  # to fewer bits
            codes = reader[codes].output[0]
        element = kind[node.input[2]]
        given = codes + "_given"
        graph.output.append(onnx.helper.make_tensor_value_info(codes, element, None))
        cuts.append((reader[codes], onnx.helper.make_tensor_value_info(given, element, None)))
        sizes = ",".join(str(dim.dim_value) for dim in shape[codes].dim[1:])
        lines.append(f"{name} {codes} {given} {onnx.TensorProto.DataType.Name(element).lower()} {sizes}\n")
    open(f"{folder}/cut.txt", "w").writelines(lines)
    return cuts


if len(sys.argv) > 2:
    cuts = cut(model.graph, sys.argv[2])
    onnx.save(model, f"{sys.argv[2]}/whole.onnx")
    for node, given in cuts:
        node.input[0] = given.name
        model.graph.input.append(given)
    onnx.save(model, f"{sys.argv[2]}/cut.onnx")
