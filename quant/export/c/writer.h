/* What the C source of a program is written with: three sections, filled in one walk over the
 * instructions.
 *
 *   runtime  small static functions, each a file of runtime/, taken over as it stands there
 *   tables   constants of the instructions
 *   body     of P_run, a call an instruction
 *
 * All text says P_ where the user's prefix comes. */
#pragma once

#include <stdio.h>

#include "quant/fixedpoint.h"
#include "quant/program.h"

enum { C_IDENTIFIER = NODE_NAME + GRAPH_MAX_NODES, C_PIECES = 64 };

typedef struct CWriter {
    FILE *runtime, *tables, *body;
    bool used[C_PIECES]; /* pieces that are in `runtime` */
    size_t flash;        /* bytes of all tables, pointers and numbers of structs at 4 bytes */
    size_t weights;      /* of them, of weights */
    const Normalization *pixels; /* what image bytes are normalised with */
    int column;                  /* of the array being written */
} CWriter;

/* An instruction as it is written. */
typedef struct CCall {
    const Instr *instr;
    const QNode *q;                         /* the frozen node that it computes */
    char id[C_IDENTIFIER];                  /* the node's name as an identifier, unique */
    char in[LAYER_MAX_INPUTS][32], out[32]; /* expressions: where values lie */
} CCall;

/* The const row of one instruction's C. To add one: quant/export/c/NAME.c with
 * `const CEmitter NAME_emitter`, EMITTER(NAME) in emitters.def, and what it calls in runtime/. */
typedef struct CEmitter {
    const char *instr;          /* the instruction's name */
    const char *const *runtime; /* the pieces that it needs, in order; NULL-terminated */
    /* May the result lie where an input lay that nobody reads any more? NULL: no. */
    bool (*in_place)(const QNode *q);
    void (*emit)(CWriter *c, const CCall *call);
} CEmitter;

extern const CEmitter *const emitter_list[]; /* ends with NULL */
bool emitter_always(const QNode *q);         /* in_place of what goes from one code to the next */
bool emitter_unpadded(const QNode *q);       /* of pools: no place is read behind the one written */

/* Appends to a section; returns how many characters. */
int c_print(FILE *section, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds the piece of that name to the runtime, once. CHECKs that it exists. */
void c_use(CWriter *c, const char *piece);
const char *c_piece(const char *name); /* its text */
/* Calls of the body: `P_<function>(<format...>);`. */
void c_call(CWriter *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

typedef enum CType { C_INT8, C_UINT8, C_INT32 } CType;
/* static const TYPE P_<id>_<name>[count] = {...}; between open and close come `count` puts. */
void c_array_open(CWriter *c, CType type, const char *id, const char *name, size_t count);
void c_array_put(CWriter *c, long value);
void c_array_close(CWriter *c);
/* static const P_<type> P_<id>_layer = <format...>; of so many numbers and pointers. */
void c_struct(CWriter *c, const char *type, const char *id, int words, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Initialisers. */
enum { C_WINDOW_WORDS = 18, C_SCALE_WORDS = 5, C_TEXT = 6 * C_IDENTIFIER + 256 };
typedef struct CText {
    char text[C_TEXT];
} CText;
CText c_window(const Window *window, const int in[SPATIAL], const int out[SPATIAL]);
CText c_scale(const QNode *q, Multiplier multiplier); /* to the grid and bounds of q's value */

/* The tables of a weighted node: weights, 2 to 8 bits packed, biases, multipliers. order[k] is the
 * weight of an output that comes at place k; NULL: k. */
void c_weights(CWriter *c, const CCall *call, const int order[]);
/* The initialiser of its P_weights_t. */
enum { C_WEIGHTS_WORDS = 11 };
CText c_weights_text(const CCall *call);
/* Tables, struct and call of a convolution; function: "conv" or "conv_transpose". */
void c_conv(CWriter *c, const CCall *call, const char *function, const Window *window, int groups,
            int outputs);
