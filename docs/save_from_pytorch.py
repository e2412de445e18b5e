#!/usr/bin/env python3
"""Writes a PyTorch state_dict as a safetensors file, which `stair import` takes.

    torch.save(net.state_dict(), "net.pt")                          # in the training script
    python3 docs/save_from_pytorch.py net.pt net.safetensors
    stair import net.safetensors --model netbn --normalize 0.286,0.353 -o float.safetensors

The names are what counts: a module `self.conv1` gives conv1.weight, and the net that --model names
has a node conv1. With the safetensors package, `save` is `safetensors.torch.save_file`.

A net in quantization-aware training (torch.ao.quantization, eager) takes its grids along:

    net = fuse_modules_qat(net.train(), [["conv1", "bn1", "relu1"], ["conv2", "bn2", "relu2"]])
    net.qconfig = get_default_qat_qconfig("qnnpack")
    prepare_qat(net, inplace=True)
    ...                                                             # train
    torch.save(net.state_dict(), "net.pt")                          # before convert()

It becomes a calibrated model with exactly these scales and zero points: `stair freeze` makes it integers.
"""
import json
import struct
import sys

import torch

DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16",
          torch.int64: "I64", torch.int32: "I32", torch.int8: "I8", torch.uint8: "U8",
          torch.bool: "BOOL"}


def save(state_dict, path):
    """u64 length of the header, the header in JSON, the arrays one behind the other."""
    header, arrays, end = {}, [], 0
    for name, tensor in state_dict.items():
        tensor = tensor.detach().cpu().contiguous()
        array = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
        arrays.append(array.numpy().tobytes())
        begin, end = end, end + len(arrays[-1])
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(arrays))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: save_from_pytorch.py STATE_DICT.pt OUT.safetensors")
    save(torch.load(sys.argv[1], map_location="cpu"), sys.argv[2])
