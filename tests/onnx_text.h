/* What an ONNX graph says, as text, for the tests that read it. */
#pragma once

#include "quant/onnx/onnx.pb-c.h"
#include "quant/model.h"

/* One node a line: `y = Conv[group=1 pads=0,0](x, w)`. Owned by the arena. */
char *onnx_text(const Onnx__GraphProto *graph, Arena *arena);

const Onnx__NodeProto *onnx_find_node(const Onnx__GraphProto *graph, const char *output);
/* The initializer of that name; none fails the test. */
const Onnx__TensorProto *onnx_find_tensor(const Onnx__GraphProto *graph, const char *name);
/* It has this type, these dimensions ("4x1x3x3", "scalar") and these bytes. */
void assert_onnx_tensor(const Onnx__GraphProto *graph, const char *name,
                        Onnx__TensorProto__DataType type, const char *dims, const void *data,
                        size_t bytes);
