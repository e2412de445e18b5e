/* What is to be quantized and how, for a whole net: defaults for activations and weights, what
 * differs for one kind of layer, what differs for one node. A value: copied, compared and stored as
 * JSON.
 *
 *     {"preset": "qnnpack",
 *      "activation": {"bits": 8},                          of every value
 *      "weight": {"bits": 4, "per_channel": true},         of every layer with weights
 *      "layers": {"linear": {"weight": {"bits": 8}}},      of every node of this kind
 *      "overrides": {"conv1": {"weight": {"bits": 8}},     of one node
 *                    "fc": null}}                          null: stays float
 *
 * A node has the nearest word said about each field: its own, its kind's, the default's. */
#pragma once

#include <jansson.h>

#include "nn/graph.h"
#include "quant/fakequant.h"
#include "quant/learn.h"
#include "quant/method.h"
#include "quant/qparams.h"

typedef struct BnMode BnMode; /* quant/bn.h */

/* Some fields of a QuantSpec: bit i of `given` is field i of the list in
 * quant/config/config_json.c. */
typedef struct SpecPatch {
    unsigned given;
    QuantSpec spec;
} SpecPatch;

typedef struct LayerConfig {
    char name[NODE_NAME]; /* of a kind of layer or of a node */
    bool is_float;
    SpecPatch activation, weight;
} LayerConfig;

enum { CONFIG_KINDS = 64 };

typedef struct QuantConfig {
    QuantSpec activation; /* N4: 8 bits, unsigned, affine, per tensor */
    QuantSpec weight;     /* N4: 8 bits, signed, symmetric, per channel */
    int edge_bits; /* of the net's input and output, whatever activation.bits says: pixels are
                      bytes, and the logits of few bits would tie; a layer's own word goes before it
                    */
    const Method *method; /* how the ranges of activations are chosen */
    double percentile;    /* of the method of that name */
    bool portable;        /* scales with which float32 runtimes round alike (quant/portable.h) */
    /* of fine-tuning: */
    Ste ste;
    const Learn *learn; /* which ranges are parameters */
    const BnMode *bn;   /* what batch normalisation does */
    int kinds, nodes;
    LayerConfig kind[CONFIG_KINDS],
        node[GRAPH_MAX_NODES]; /* [kinds], [nodes], in the order they were said */
} QuantConfig;

QuantConfig quant_config_default(void);
/* default, qnnpack, fbgemm (quant/config/presets.c). False if there is none of that name. */
bool quant_config_preset(const char *name, QuantConfig *config);
const char *preset_name(int index); /* by number, NULL past the last */

/* The entry of a kind or node, made if there is none: for programs that write configurations. */
LayerConfig *quant_config_kind(QuantConfig *config, const char *kind);
LayerConfig *quant_config_node(QuantConfig *config, const char *node);
/* Says the bits of it. */
void patch_bits(SpecPatch *patch, int bits);

/* {"activation": {"bits": 8, ...}, "weight": {...}, ...}. to_json gives a new reference. from_json:
 * fields that are missing keep the preset's or the default; unknown ones, wrong types and kinds
 * that do not exist are refused, naming them: ERROR_INPUT. A spec may be a descriptor
 * (quant/config/descriptor.h): {"descriptor": {...}}, or a predefined one's name. */
json_t *quant_config_to_json(const QuantConfig *config);
/* From a file of that JSON. ERROR_IO or ERROR_INPUT, with the file's name and the place. */
bool quant_config_read(const char *path, QuantConfig *config, Error *error);
bool quant_config_from_json(const json_t *json, QuantConfig *config, Error *error);

/* What holds for one node. */
typedef struct NodeConfig {
    QuantSpec activation, weight;
    bool is_float;
} NodeConfig;
/* `edge`: the node makes the net's input or output. ERROR_INPUT, naming it, if its words contradict
 * each other. */
bool quant_config_resolve(const QuantConfig *config, const Node *node, bool edge,
                          NodeConfig *resolved, Error *error);

/* Does any range go by this method: of the values in general, or by the word of a kind or node? */
bool quant_config_uses(const QuantConfig *config, const Method *method);

/* Can such a spec be had? ERROR_INPUT: why not. */
bool activation_check(const QuantSpec *spec, Error *error);
bool weight_check(const QuantSpec *spec, Error *error);
/* The fields that the patch gives, over those of *spec. */
void patch_apply(const SpecPatch *patch, QuantSpec *spec);
