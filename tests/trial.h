/* One net on its way through everything: the exact walk (integers carried by floats), the integer
 * program, plain and fused, and the naive loops of tests/naive_integers.h. What differs fails the
 * test, with the net's number and text. */
#pragma once

#include "quant/program.h"
#include "tests/random_net.h"

enum { TRIAL_SAMPLES = 9 /* more than one chunk */ };

typedef struct Trial {
    uint64_t number;
    Rng rng;
    char text[RANDOM_NET_TEXT];
    Graph *graph;
    QuantNet *net;
    Normalization pixels;
    Arena *arena;
    size_t count;   /* pixels of an image */
    uint8_t *image; /* [TRIAL_SAMPLES][count] */
    float *x;       /* the same as the net reads them */
    Program *program;
    void *scratch;
} Trial;

/* Begins with number, rng and perhaps text; parameters, pixels and their normalisation are drawn
 * from the rng. end frees all but the struct. */
void trial_begin(Trial *t, const char *text, const QuantConfig *config);
void trial_end(Trial *t);
void trial_fails(const Trial *t, const char *what);
/* x is made anew of image. */
void trial_images_changed(Trial *t);

/* Integers and program, of ranges that are known. False if the net is one that integers cannot
 * hold, which must be said with the name of a node. */
bool trial_freeze(Trial *t);
/* Every code of both engines, on these images and on others. */
void trial_engines(Trial *t);
/* The program on all samples at once with a tap, then one by one, without, then with neighbours
 * fused: the same outputs, and in each value what the naive loops have. */
void trial_program(Trial *t);
