/* The toolkit's layers as operators of ONNX: one table for both directions. A writer finds the row
 * of a layer, a reader the rows of an operator.
 *
 * To add a layer: one row in ops.c. The tests loop over the layers: none may lack its row. */
#pragma once

#include "nn/graph.h"
#include "quant/onnx/message.h"

/* How a value stands in an attribute. */
typedef struct OnnxForm {
    Onnx__AttributeProto__AttributeType type;
    int each; /* INTS: how many for each spatial dimension */
    void (*write)(Arena *arena, int spatial, const void *place, Onnx__AttributeProto *to);
    /* The other way; false if the attribute is nothing that the form can hold. */
    bool (*read)(int spatial, const Onnx__AttributeProto *from, void *place);
} OnnxForm;

extern const OnnxForm onnx_int;   /* an int */
extern const OnnxForm onnx_float; /* a float */
extern const OnnxForm onnx_sizes; /* int[SPATIAL]: one number for each spatial dimension */
extern const OnnxForm onnx_bool;  /* a bool as an int */
extern const OnnxForm onnx_pads;  /* Window's padding: all the beginnings, then all the ends */
extern const OnnxForm onnx_rest;  /* a float x, written as 1 - x */

/* An attribute holds a field of the layer's spec, or a constant. */
typedef struct OnnxAttribute {
    const char *name;
    const OnnxForm *form;
    const char *field; /* NULL: the layer knows one value only ... */
    int value;         /* ... which is this */
    double absent; /* what it means in a file that the attribute is not there; NAN: it must be, or
                      follows from the weights. A constant that is this is not written. */
} OnnxAttribute;

enum { ONNX_ATTRIBUTES = 8, ONNX_PARAMS = 5 };

typedef struct OnnxOp {
    const char *layer;
    const char *op_type;                      /* NULL: no operator, the value is the input's */
    OnnxAttribute attribute[ONNX_ATTRIBUTES]; /* ends with a NULL name */
    const char
        *param[ONNX_PARAMS]; /* the layer's arrays, in the order of the operator's inputs behind
                                the values; NULL-terminated; a last "bias" may be missing */
    const Field *fields;     /* that the attributes name; NULL: the layer's own */
    /* What a plain node cannot say; NULL: nothing. The values in[node->inputs] become `out`. */
    void (*write)(const OnnxGraph *graph, const Node *node, const char *const in[],
                  const char *out);
} OnnxOp;

extern const OnnxOp onnx_ops[]; /* ends with a NULL layer */

const OnnxOp *onnx_op_of(const Layer *layer); /* NULL: a layer that has no row */

/* Gives `to` the attributes of the node. */
void onnx_attributes(const OnnxGraph *graph, const OnnxOp *op, const Node *node,
                     Onnx__NodeProto *to);
