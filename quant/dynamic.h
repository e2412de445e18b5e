/* Dynamic quantization: weights become integers once, from a float net, without data; the ranges of
 * values are found while running. It is for layers that are products with matrices (linear, lstm,
 * gru: Param.matrix); all others stay float.
 *
 *     q_w = N1 on symmetric codes of 8 bits, S_w[o] by N3 from the weights of output o
 *     q_x = N1 on bytes, S_x and Z_x by N3 from the least and largest value of the row x
 *     y[o] = b[o] + (S_x S_w[o]) sum over k of (q_x[k] - Z_x) q_w[o][k]        the sum exact in
 * int32
 *
 * A row is one sample's input of a linear layer, one step's x_t or h_(t-1) of a recurrent one. Its
 * range is its own: no result depends on what else is in the batch. */
#pragma once

#include "nn/graph.h"
#include "quant/kernels/qgemm.h"
#include "quant/qparams.h"

/* A parameter in integers, and what multiplies in its place. */
typedef struct DynamicMatrix {
    Multiply multiply; /* first: the layers hold a pointer to it */
    const Node *node;
    Param *param;
    int outputs, depth;
    int8_t *weight; /* [outputs][depth], -127 .. 127 */
    QParams grid;   /* 1 or `outputs` scales */
    int32_t *sum;   /* [outputs] sum over k of q_w */
    QGemm gemm;     /* for the integer kernels */
    float *codes;   /* [outputs][depth] for the simulation: q_w as floats */
} DynamicMatrix;

typedef struct Dynamic {
    Graph *graph;
    bool per_channel;
    int matrices;
    DynamicMatrix *matrix;
    Arena *arena;
} Dynamic;

/* Room for the integers of a graph, to be filled by dynamic_quantize or a loader. Owned by the
 * caller: dynamic_free, before the graph. NULL and ERROR_INPUT if no layer has a matrix. */
Dynamic *dynamic_new(Graph *graph, bool per_channel, Error *error);
void dynamic_free(Dynamic *dynamic); /* NULL is fine */
/* The matrix of a parameter that is one. */
DynamicMatrix *dynamic_matrix(const Dynamic *dynamic, const Param *param);

/* Codes and scales from the graph's weights; ERROR_INPUT for NaN. */
bool dynamic_quantize(Dynamic *dynamic, Error *error);
/* Once codes and scales are there: proves that no sum overflows (ERROR_INPUT, naming the node) and
 * makes the rest. */
bool dynamic_complete(Dynamic *dynamic, Error *error);

/* From here on graph_forward computes with integers; or simulates them, exactly, by float BLAS. A
 * result that is NaN or infinite is an error that names its layer. */
void dynamic_integers(Dynamic *dynamic);
void dynamic_simulate(Dynamic *dynamic);
