/* The arrays that a file of a model holds, by its stage: written when saving, held against the file
 * when loading. */
#pragma once

#include "quant/model.h"

/* Keys and words of the metadata that both ways know. */
#define MODEL_FORMAT  "1"
#define MODEL_DYNAMIC "stair.dynamic"
#define MODEL_PACKED  "stair.packed"
extern const char *const model_grids[2]; /* of MODEL_DYNAMIC: [true] a scale for each output */

/* An array in the file and where it lies in memory, in the file's element type. */
typedef struct Slot {
    char *name;
    Dtype dtype;
    Shape shape;
    void *data;
    bool (*sound)(const struct Slot *slot, size_t i); /* may element i be so? NULL: any */
    float *counter; /* the float in memory that an I64 in the file stands for; NULL: none */
    int bits;       /* of packed codes (quant/pack.h); 0: it holds none */
    Shape codes;    /* then the shape of these */
} Slot;

enum { SLOTS_MOST = GRAPH_MAX_NODES * (NODE_PARAMS + 12) };

typedef struct Slots {
    Arena *arena;
    int count;
    Slot slot[SLOTS_MOST];
} Slots;

/* Every array that a file of this model's stage holds, the optimizer's apart. The arena owns it. */
Slots *model_arrays(const Model *model, Arena *arena);

/* {"conv1.weight": {"bits": 4, "shape": [40, 1, 3, 3]}}: what the packed arrays hold; NULL: none
 * is packed. The caller owns it. */
json_t *slots_packed(const Slots *slots);
