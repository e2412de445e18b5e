/* Model: what a file holds. A net, its parameters, how pixels become its input, and from
 * calibration on its quantization. One safetensors file, PyTorch's state_dict names and layouts;
 * metadata carries the .net text, the stage and everything else, so that a file needs no words
 * beside it.
 *
 * A model is in exactly one stage:  float -> calibrated -> qat -> frozen;  dynamic quantization
 * goes from float to frozen. */
#pragma once

#include "autograd/normalize.h"
#include "nn/safetensors.h"
#include "quant/dynamic.h"
#include "quant/program.h"
#include "quant/quantnet.h"

#define STAGE_LIST(X)                                                                              \
    X(FLOAT, "float", "float")                                                                     \
    X(CALIBRATED, "calibrated", "fake-quant")                                                      \
    X(QAT, "qat", "fake-quant")                                                                    \
    X(FROZEN, "frozen", "integer")

typedef enum Stage {
#define X(id, name, engine) STAGE_##id,
    STAGE_LIST(X)
#undef X
        STAGE_COUNT
} Stage;
const char *stage_name(Stage stage);
const char *stage_engine(Stage stage); /* the engine that evaluates a model of this stage */

typedef struct Model {
    Arena *arena;
    Graph *graph;
    Stage stage;
    Normalization pixels;
    QuantNet *quant;      /* NULL in stage float, and of a net that was quantized dynamically */
    Dynamic *dynamic;     /* such a net's, in stage frozen; NULL */
    json_t *training;     /* the run that made it: options and position; NULL: none is known */
    const SafeFile *file; /* what it was loaded from; NULL: nothing */
    Arena *kept;          /* the file's memory */
} Model;

/* The metadata that says how pixels become the net's input, and its JSON: {"mean":[...],
 * "std":[...]}. Formats for others carry it under the same key. The text is owned by the arena;
 * `path` stands in messages. */
#define MODEL_INPUT "stair.input"
char *model_input_text(const Model *model, Arena *arena);
bool model_input_parse(Model *model, const char *text, const char *path, Error *error);

/* A model in stage float around a graph, which it owns from now on; mean 0 and std 1. The caller
 * owns it: model_free. NULL and ERROR_INPUT, the graph freed, if its input has more channels than
 * pixels may have. */
Model *model_new(Graph *graph, Error *error);
void model_free(Model *model); /* NULL is fine */

/* Loads and proves a file: every missing, extra, misshapen or mistyped tensor is listed at once;
 * NaN, scales that are no scales and codes outside of their range are refused. ERROR_IO or
 * ERROR_INPUT. */
Model *model_load(const char *path, Error *error);

/* Fills a model in stage float with the arrays of a file that has its names and layouts and nothing
 * else, with the same proofs; the file may be freed then. ERROR_INPUT, and the model half filled.
 */
bool model_fill(Model *model, const SafeFile *file, const char *path, Error *error);

/* An array that a run keeps beside the model (an optimizer's memory). */
typedef struct ModelArray {
    const char *name; /* begins with "optimizer." */
    Shape shape;
    float *data;
} ModelArray;

/* Saves the model and `count` arrays, crash-safe. A frozen model keeps integers only. */
bool model_save(const Model *model, const char *path, int count, const ModelArray array[],
                Error *error);

/* Fills array->data from the file that the model was loaded from. ERROR_INPUT if it is not there as
 * described. */
bool model_fetch(const Model *model, const ModelArray *array, Error *error);

/* The way forward; refused, with the stage and what to do first, where it makes no sense
 * (ERROR_INPUT). quantize: float -> calibrated, ranges unknown yet. freeze: calibrated or qat ->
 * frozen. */
bool model_quantize(Model *model, const QuantConfig *config, Error *error);
bool model_freeze(Model *model, Error *error);
/* float -> frozen, with weights as integers and ranges found while running: quant/dynamic.h. */
bool model_freeze_dynamic(Model *model, bool per_channel, Error *error);
/* ERROR_INPUT, naming `path`, unless the stage is among `stages`, a set of 1 << Stage; `hint` says
 * what to do. */
bool model_expect(const Model *model, const char *path, unsigned stages, const char *hint,
                  Error *error);
/* ERROR_INPUT, naming `name`, for a model that is quantized dynamically: there is no program to
 * show or export. */
bool model_has_grids(const Model *model, const char *name, Error *error);

/* The program of a model that is quantized with ranges; the caller owns it. Freezes (the integers,
 * not the stage) if that is still to be done. */
Program *model_program(Model *model, Error *error);
