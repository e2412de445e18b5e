/* ONNX graphs made by hand, as other tools would write them, and what becomes of them. */
#pragma once

#include "quant/onnx/read.h"

typedef struct File {
    Arena *arena; /* owns the data; the caller's to free */
    size_t size;
    uint8_t *data;
} File;

File onnx_pack(const Onnx__ModelProto *proto, Arena *arena);

/* A model of the bytes, its output the value of that name (NULL: the only one); NULL and the
 * reason. The last fails the test then. */
Model *onnx_import_value(const uint8_t *data, size_t size, const char *output, Error *error);
Model *onnx_import(const uint8_t *data, size_t size, Error *error);
Model *onnx_imported(const File *file);
/* Was it read? If not, it is a bad file, not a fault. */
bool onnx_survives(const uint8_t *data, size_t size);

/* A model under construction around "x", [N, 2, 4, 4], opset 13. */
typedef struct Build {
    OnnxGraph graph;
    Onnx__ModelProto model;
    Onnx__OperatorSetIdProto opset, *opsets[1];
} Build;

Build *onnx_build(void);
/* Appends a node of inputs "a b c" (- for none); its name is its output's. */
Onnx__NodeProto *build_node(Build *b, const char *op, const char *inputs, const char *out);
void set_int(Build *b, Onnx__NodeProto *to, const char *name, int64_t value);
void set_word(Build *b, Onnx__NodeProto *to, const char *name, const char *word);
void set_words(Build *b, Onnx__NodeProto *to, const char *name, int count,
               const char *const *words);
void set_ints(Build *b, Onnx__NodeProto *to, const char *name, int count, const int64_t *values);
#define INTS(b, to, name, ...)                                                                     \
    set_ints(b, to, name, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),               \
             (int64_t[]){__VA_ARGS__})

/* Initializers: floats that count from `first` in steps of 1/8; whole numbers; one float. */
void add_floats(Build *b, const char *name, Shape shape, float first);
void add_longs(Build *b, const char *name, int count, const int64_t *values);
void add_float(Build *b, const char *name, float value);
void add_byte(Build *b, const char *name, Onnx__TensorProto__DataType type, int value);

/* Finishes the graph with the output `out`; it gives this net, or is refused with this fragment. */
void gives_net(Build *b, const char *out, const char *net);
void is_refused(Build *b, const char *out, const char *fragment);
/* The graph as it is, asked for this value; NULL: for none. */
void value_gives_net(Build *b, const char *value, const char *net);
void value_is_refused(Build *b, const char *value, const char *fragment);
/* What the net of output `out` makes of x, [2][2 4 4] that counts from -8 in steps of 1/4, of a
 * shape that is told; owned by the build's arena, as the build itself is. */
const float *gives_values(Build *b, const char *out, Shape *shape);
