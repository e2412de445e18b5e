/* Program: the frozen net as a flat list of integer instructions. Only integers inside: pixels
 * become codes through a table, codes become codes, and the last codes become floats through a
 * scale. Immutable once built, free of positions: any number of threads run it at once, each with
 * its own scratch.
 *
 * Codes are bytes u = q - qmin (quant/kernels/qgemm.h). A value lies as [positions][channels],
 * channels last: a patch of an image is then a few long runs of bytes. */
#pragma once

#include "autograd/normalize.h"
#include "quant/quantnet.h"

typedef struct Program Program;
typedef struct Instr Instr;

/* One intermediate result. */
typedef struct Value {
    const char *name;        /* of the graph's node */
    Shape shape;             /* of one sample, channels first, as the graph has it */
    int channels, positions; /* positions: product of the spatial sizes, 1 if there are none */
    size_t bytes;            /* channels * positions, one sample */
    size_t offset; /* where it lies in the scratch of one sample; values that never live at the same
                      time share memory */
    float scale;   /* r = scale * (u - zero) */
    int32_t zero, top; /* zero point and largest code, as bytes */
} Value;

/* What an instruction runs on: `samples` values of each input, one after the other. */
typedef struct Call {
    int samples;
    const uint8_t *in[LAYER_MAX_INPUTS];
    uint8_t *out;
    void *scratch; /* InstrKind.scratch bytes, aligned to 64 */
} Call;

/* The const row of one kind of instruction.
 * To add one: quant/int8/NAME.c with `const InstrKind NAME_instr`, and INSTR(NAME) in
 * quant/instrs.def. */
typedef struct InstrKind {
    const char *name, *summary;
    const char *const *lowers; /* the layers it computes, NULL-terminated; NULL: see rule */
    const char *rule;          /* or every layer of this quantization rule */
    /* What it needs to run, from a frozen node; owned by the arena (the program's). NULL on error.
     */
    const void *(*lower)(const QNode *q, Arena *arena, Error *error);
    /* True where the result is the input's bytes: no instruction is made. NULL: never. */
    bool (*identity)(const QNode *q);
    /* Makes *instr compute what it and then `next` compute, if it can: changes its kind and args,
     * with memory of the arena. NULL: never. */
    bool (*fuse)(Instr *instr, const Instr *next, Arena *arena);
    size_t (*scratch)(const Instr *instr); /* for one call; NULL: none */
    void (*run)(const Instr *instr, const Call *call);
    /* Its constants in a few words; NULL: none. */
    void (*print)(const Instr *instr, char *text, size_t size);
} InstrKind;

struct Instr {
    const InstrKind *kind;
    const char *name; /* of the graph's node */
    int inputs;
    int in[LAYER_MAX_INPUTS], out; /* indices of values */
    const Value *value;            /* the program's values */
    const void *args;              /* what lower made */
};

struct Program {
    Arena *arena;
    int instrs, values;
    Instr *instr;
    Value *value;                     /* value[0] is the input */
    int output;                       /* index of the last value */
    size_t bytes_per_sample, scratch; /* see program_scratch */
};

extern const InstrKind *const instr_list[]; /* ends with NULL */

/* The program of a net that quant_freeze has passed. The caller owns it: program_free. NULL and
 * ERROR_INPUT, naming the node, for a layer that has no instruction. The graph is not needed
 * afterwards. */
Program *program_build(const QuantNet *net, const Normalization *pixels, Error *error);
void program_free(Program *program); /* NULL is fine */

/* Joins neighbours where one instruction can do the work of two. The outputs keep every bit; values
 * in between are no longer made, and no tap sees them. */
void program_fuse(Program *program);

/* Scratch memory, aligned to 64, that a run of `samples` samples needs. */
size_t program_scratch(const Program *program, int samples);

/* Sees each value as it is made: bytes[samples][positions][channels]. */
typedef void ProgramTap(void *context, const Value *value, int samples, const uint8_t *bytes);

/* pixels[samples][C][H][W] -> outputs[samples][...], dequantized, in the graph's order. tap may be
 * NULL. */
void program_run(const Program *program, int samples, const uint8_t *pixels, float *outputs,
                 void *scratch, ProgramTap *tap, void *context);

/* The listing: one instruction a line with its shapes and constants. Owned by the arena. */
char *program_text(const Program *program, Arena *arena);
