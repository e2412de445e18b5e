/* Reading an ONNX graph as a net: one walk over its nodes, each by the row of its operator
 * (read_ops.c). What cannot be read is noted and the walk goes on, so that all of it is told at
 * once.
 *
 * The first dimension of every value is the batch; it is never looked at. */
#pragma once

#include "quant/given.h"
#include "quant/onnx/ops.h"
#include "quant/onnx/parse.h"

/* A name of the graph: an initializer, the input, or what a node makes. */
typedef struct OnnxValue {
    const char *name;
    const Onnx__TensorProto *tensor; /* of an initializer; decoded when first asked for */
    OnnxConstant *constant;          /* known before the net runs; NULL: not */
    int node;                        /* of the net, whose value it is; -1: none */
    const char *axes; /* it is that value with its axes in this order (read_recurrent.c), or, "N",
                         of one number a sample without them; NULL: as the net has it */
    const GivenGrid *codes;              /* it is that value as codes on this grid */
    int before[SPATIAL], after[SPATIAL]; /* it is that value with zeros around it */
    int maker;                           /* the ONNX node that makes it; -1: none does */
    int readers;                         /* nodes that matter and read it, the graph's output too */
    int reader;                          /* one of them */
} OnnxValue;

/* The batch dimension where dimensions are numbers (Shape). */
#define ONNX_BATCH INT64_MIN

typedef struct OnnxReader {
    Arena *arena; /* of all that is not the net */
    const Onnx__GraphProto *proto;
    int64_t opset;
    int64_t batch;    /* the declared size of the batch; 0: any */
    bool steps_first; /* the input is [T,N,F], and what the net gives may be [T,N,...] in the file:
                         the net itself has the batch first */
    const OnnxValue *output;
    const char *output_axes; /* of the output in the file; NULL: as the net has it */
    Graph *net;
    int values;
    OnnxValue *value; /* [values] */
    void *names;      /* how onnx_value_named finds them */
    const char *axes; /* of all that the node at hand reads, which does not ask (OnnxReading.each);
                         what it makes has them too. NULL: as the net has it */
    bool *matters;    /* [n_node] the output depends on it */
    bool *done;       /* [n_node] read together with another */
    Given given;      /* grids that values and weights are rounded to */
    char *faults;     /* lines, each beginning with a newline */
    int fault_count;
} OnnxReader;

/* The net of a graph that onnx_check has proved, its weights filled; owned by the caller, as
 * `reader`'s arena is. `output` names the value that is the net's; NULL: the graph's only output.
 * NULL and ERROR_INPUT, every fault listed, without the file's name. */
Graph *onnx_read_graph(OnnxReader *reader, const Onnx__ModelProto *model, int64_t opset,
                       const char *output, Arena *arena, Error *error);

/* A model of it: float, or calibrated with the grids of the file if there are any. */
Model *onnx_read_model(const Onnx__ModelProto *model, int64_t opset, const char *output,
                       Error *error);

/* Are values of the graph rounded? */
bool onnx_quantized(const OnnxReader *reader);

/* --- for the rows --- */

/* One way to read an operator. */
typedef struct OnnxReading {
    const char *op_type;
    int inputs, most; /* how many it has */
    /* Makes what the node computes; a fault is noted. */
    void (*read)(OnnxReader *reader, const Onnx__NodeProto *node);
    bool each; /* of each number by itself: it does not ask what the axes of a value are */
} OnnxReading;

const OnnxReading *onnx_reading(const char *op_type); /* NULL: not known */

/* Notes that a node cannot be read, and why. */
void onnx_fault(OnnxReader *reader, const Onnx__NodeProto *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What messages call a node: its name, or that of its first result. read_names.c */
const char *onnx_label(const Onnx__NodeProto *node);
/* `from` as a .net text may have it. */
void onnx_legal_name(const char *from, char name[NODE_NAME]);
/* The name, with a number behind it if a node of the net has it already. */
void onnx_unique_name(Graph *net, char name[NODE_NAME]);
/* A name that no node of the net has yet. */
void onnx_name_node(OnnxReader *reader, const Onnx__NodeProto *node, char name[NODE_NAME]);

/* The value of input k; NULL if there is none. */
OnnxValue *onnx_value(const OnnxReader *reader, const Onnx__NodeProto *node, size_t k);
OnnxValue *onnx_value_named(const OnnxReader *reader, const char *name);
/* The value of output k, if anybody reads it; else NULL. */
OnnxValue *onnx_wanted(const OnnxReader *reader, const Onnx__NodeProto *node, size_t k);
/* The numbers of input k if they are known, else NULL. */
const OnnxConstant *onnx_known(OnnxReader *reader, const Onnx__NodeProto *node, size_t k);
/* The net's node whose value input k is. -1, the fault noted, if it is none: it is known, in codes,
 * or could not be read (which is noted already). */
int onnx_real(OnnxReader *reader, const Onnx__NodeProto *node, size_t k);
/* The same for input 0 of a node that takes in zeros around it. */
int onnx_padded(OnnxReader *reader, const Onnx__NodeProto *node);

const Onnx__AttributeProto *onnx_attribute_find(const Onnx__NodeProto *node, const char *name);
bool onnx_says(const Onnx__AttributeProto *a, const char *word); /* a is that text */
int64_t onnx_int_of(const Onnx__NodeProto *node, const char *name, int64_t absent);
float onnx_float_of(const Onnx__NodeProto *node, const char *name, float absent);
/* The numbers of an attribute of whole numbers (older opsets) or of input k; NULL: neither. */
const OnnxConstant *onnx_ints(OnnxReader *reader, const Onnx__NodeProto *node, const char *name,
                              size_t k);
/* Whole numbers in one dimension, or one number alone, as input k; a fault if they are not known.
 */
const OnnxConstant *onnx_known_ints(OnnxReader *reader, const Onnx__NodeProto *node, size_t k);
OnnxConstant *onnx_new_ints(OnnxReader *reader, int count);

/* What the node makes (its first output) is the value of the net's node, or is known. */
void onnx_makes(OnnxReader *reader, const Onnx__NodeProto *node, int index);
void onnx_makes_known(OnnxReader *reader, const Onnx__NodeProto *node, OnnxConstant *constant);
/* The same of a value of one number a sample, in whatever shape, that in the file has the batch as
 * its only dimension. */
void onnx_makes_single(OnnxReader *reader, const Onnx__NodeProto *node, int index);
bool onnx_is_single(const OnnxValue *value);
/* What it makes is what its input is. */
void onnx_passes(OnnxReader *reader, const Onnx__NodeProto *node, size_t k);

/* Adds a node to the net, called after the ONNX node, and makes it what that makes. NULL: the net
 * refuses it, the fault is noted. */
Node *onnx_add(OnnxReader *reader, const Onnx__NodeProto *node, const Layer *layer,
               const void *spec, int inputs, const int in[]);
/* Reads the attributes of `node` that the row names into the spec, which holds its defaults. */
bool onnx_read_attributes(OnnxReader *reader, const Onnx__NodeProto *node, const OnnxOp *op,
                          int spatial, void *spec);
/* auto_pad, and the zeros of a Pad before the node, become the window's padding. */
typedef enum OnnxAutoPad {
    AUTO_PAD_NOT,
    AUTO_PAD_VALID,
    AUTO_PAD_UPPER,
    AUTO_PAD_LOWER,
    AUTO_PAD_UNKNOWN
} OnnxAutoPad;
enum { ONNX_PADDING = 127 }; /* that a layer may have on one side */

OnnxAutoPad onnx_auto_pad_of(const Onnx__NodeProto *node);
bool onnx_auto_pad(OnnxReader *reader, const Onnx__NodeProto *node, int in, Window *window);
void onnx_take_padding(const OnnxValue *value, Window *window);
bool onnx_is_padded(const OnnxValue *value);
/* `total` zeros on the two sides of dimension d, an odd one at the end (upper) or the beginning; a
 * fault if they are too many. */
bool onnx_pad_sides(OnnxReader *reader, const Onnx__NodeProto *node, Window *window, int d,
                    int total, bool upper);
/* A layer's spec with its defaults; `spatial` as of the layer's input. */
void *onnx_spec(OnnxReader *reader, const Layer *layer, int spatial);
/* The row of the operator for so many spatial dimensions; NULL: there is none. */
const OnnxOp *onnx_op_for(const char *op_type, int spatial);

/* --- the rows' functions, by file --- */

void onnx_read_layer(OnnxReader *reader, const Onnx__NodeProto *node);  /* read_layers.c */
void onnx_read_window(OnnxReader *reader, const Onnx__NodeProto *node); /* pools */
/* read_patterns.c */
void onnx_read_clip(OnnxReader *reader, const Onnx__NodeProto *node);
void onnx_read_dropout(OnnxReader *reader, const Onnx__NodeProto *node);
void onnx_read_hardsigmoid(OnnxReader *reader, const Onnx__NodeProto *node);
void onnx_read_pad(OnnxReader *reader, const Onnx__NodeProto *node);
void onnx_read_reducemean(OnnxReader *reader, const Onnx__NodeProto *node);
void onnx_read_pair(OnnxReader *reader, const Onnx__NodeProto *node);     /* read_affine.c */
void onnx_read_weighted(OnnxReader *reader, const Onnx__NodeProto *node); /* read_weighted.c */
void onnx_read_linear(OnnxReader *reader, const Onnx__NodeProto *node);
void onnx_read_batchnorm(OnnxReader *reader, const Onnx__NodeProto *node);
void onnx_read_quantize(OnnxReader *reader, const Onnx__NodeProto *node); /* read_quantized.c */
void onnx_read_dequantize(OnnxReader *reader, const Onnx__NodeProto *node);
void onnx_clip_codes(OnnxReader *reader, const Onnx__NodeProto *node);
void onnx_read_shape(OnnxReader *reader, const Onnx__NodeProto *node); /* read_shapes.c */
void onnx_read_squeeze(OnnxReader *reader, const Onnx__NodeProto *node);
void onnx_read_concat(OnnxReader *reader, const Onnx__NodeProto *node);
void onnx_read_reshape(OnnxReader *reader, const Onnx__NodeProto *node);
void onnx_read_flatten(OnnxReader *reader, const Onnx__NodeProto *node);
void onnx_read_constantofshape(OnnxReader *reader, const Onnx__NodeProto *node);
void onnx_read_softmax(OnnxReader *reader, const Onnx__NodeProto *node); /* read_axes.c */
void onnx_read_transpose(OnnxReader *reader, const Onnx__NodeProto *node);
void onnx_join_values(OnnxReader *reader, const Onnx__NodeProto *node); /* Concat */
void onnx_read_slice(OnnxReader *reader, const Onnx__NodeProto *node);  /* read_parts.c */
void onnx_read_gather(OnnxReader *reader, const Onnx__NodeProto *node);

/* read_recurrent.c. The first four take Transpose, Squeeze, Reshape and Gather where they move the
 * axes of sequences; false: they do something else there. */
bool onnx_turn(OnnxReader *reader, const Onnx__NodeProto *node);
bool onnx_drop_direction(OnnxReader *reader, const Onnx__NodeProto *node);
bool onnx_join_directions(OnnxReader *reader, const Onnx__NodeProto *node);
bool onnx_take_last(OnnxReader *reader, const Onnx__NodeProto *node);
/* The sizes of input 0 if its axes have another order than the net's, and how many; 0: they have
 * not. */
int onnx_named_sizes(const OnnxReader *reader, const Onnx__NodeProto *node, int64_t size[MAX_RANK]);
/* Do a value's numbers come in the net's order, under whatever shape? */
bool onnx_axes_in_order(const char *axes);
void onnx_read_recurrent(OnnxReader *reader, const Onnx__NodeProto *node);
