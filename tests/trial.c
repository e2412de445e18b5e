#include "tests/trial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quant/compare.h"
#include "tests/naive_integers.h"

void trial_fails(const Trial *t, const char *what) {
    fail_msg("net %llu: %s\n%s", (unsigned long long)t->number, what, t->text);
}

void trial_images_changed(Trial *t) {
    normalized(&t->pixels, TRIAL_SAMPLES, t->count, t->image, t->x);
}

void trial_begin(Trial *t, const char *text, const QuantConfig *config) {
    Error error = {0};
    if (text != t->text) snprintf(t->text, sizeof t->text, "%s", text);
    t->arena = arena_new();
    t->graph = graph_parse(text, strlen(text), "test", &error);
    if (!t->graph) trial_fails(t, error.message);
    random_parameters(&t->rng, t->graph);
    t->net = quant_prepare(t->graph, config, &error);
    if (!t->net) trial_fails(t, error.message);
    const Shape *shape = &t->graph->node[0].shape;
    t->pixels = random_normalization(&t->rng, shape->dim[0]);
    t->count = shape_count(shape);
    t->image = arena_alloc(t->arena, TRIAL_SAMPLES * t->count);
    t->x = arena_alloc(t->arena, TRIAL_SAMPLES * t->count * sizeof *t->x);
    random_pixels(&t->rng, TRIAL_SAMPLES, t->count, t->image);
    trial_images_changed(t);
}

bool trial_freeze(Trial *t) {
    Error error = {0};
    if (!quant_freeze(t->net, &error)) {
        if (error.code != ERROR_INPUT || !strstr(error.message, ": "))
            trial_fails(t, error.message);
        return false;
    }
    quant_exact(t->net);
    t->program = program_build(t->net, &t->pixels, &error);
    if (!t->program) trial_fails(t, error.message);
    size_t bytes = program_scratch(t->program, TRIAL_SAMPLES);
    t->scratch = aligned_alloc(64, (bytes + 64) / 64 * 64);
    return true;
}

void trial_end(Trial *t) {
    program_free(t->program);
    free(t->scratch);
    quant_release(t->net);
    graph_free(t->graph);
    arena_free(t->arena);
}

void trial_engines(Trial *t) {
    Comparison *comparison = arena_alloc(t->arena, sizeof *comparison);
    Tape *tape = tape_new(false);
    Error error = {0};
    for (int round = 0; round < 2; round++) { /* what was calibrated on, then new images */
        compare_start(comparison, t->net, t->program);
        if (!compare_images(comparison, tape, TRIAL_SAMPLES, t->x, t->image, t->scratch, &error))
            trial_fails(t, error.message);
        for (int v = 0; v < t->program->values; v++) {
            const ValueComparison *value = &comparison->value[v];
            assert_int_equal(value->codes, TRIAL_SAMPLES * t->program->value[v].bytes);
            if (value->mismatched)
                fail_msg("net %llu: %s: %lld of %lld codes differ, by up to %d\n%s",
                         (unsigned long long)t->number, value->name, (long long)value->mismatched,
                         (long long)value->codes, value->max_difference, t->text);
        }
        if (comparison->argmax_differs) trial_fails(t, "predictions differ");
        random_pixels(&t->rng, TRIAL_SAMPLES, t->count, t->image);
        trial_images_changed(t);
    }
    tape_free(tape);
}

/* --- what a tap sees --- */

typedef struct Snapshots {
    Trial *trial;
    int64_t **naive; /* [samples][GRAPH_MAX_NODES]: the codes to be seen */
    int seen;
    const uint8_t *bytes[GRAPH_MAX_NODES];
    uint8_t *copy[GRAPH_MAX_NODES];
} Snapshots;

static void compare_naive(const Snapshots *s, const Value *value, int samples,
                          const uint8_t *bytes) {
    const Node *node = graph_find(s->trial->graph, value->name);
    int qmin = s->trial->net->node[node->index].out->q.qmin;
    for (int n = 0; n < samples; n++)
        for (size_t i = 0; i < value->bytes; i++) {
            size_t c = i % (size_t)value->channels, p = i / (size_t)value->channels;
            int64_t code =
                s->naive[n * GRAPH_MAX_NODES + node->index][c * (size_t)value->positions + p];
            if (code - qmin != bytes[(size_t)n * value->bytes + i])
                fail_msg(
                    "net %llu: %s, image %d, channel %zu, position %zu: code %d, naively %lld\n%s",
                    (unsigned long long)s->trial->number, value->name, n, c, p,
                    bytes[(size_t)n * value->bytes + i] + qmin, (long long)code, s->trial->text);
        }
}

/* Is value v read by an instruction behind the one that made value `now`? */
static bool still_read(const Program *program, int v, int now) {
    if (v == program->output) return true;
    for (int i = now + 1; i < program->instrs; i++)
        for (int k = 0; k < program->instr[i].inputs; k++)
            if (program->instr[i].in[k] == v) return true;
    return false;
}

/* Each value is as the naive loops say, and no instruction has touched a value that is still to be
 * read. */
static void tap(void *context, const Value *value, int samples, const uint8_t *bytes) {
    Snapshots *s = context;
    const Program *program = s->trial->program;
    int now = s->seen++;
    assert_ptr_equal(value, &program->value[now]);
    size_t size = (size_t)samples * value->bytes;
    s->bytes[now] = bytes;
    s->copy[now] = arena_alloc(s->trial->arena, size);
    memcpy(s->copy[now], bytes, size);
    for (int v = 0; v < now; v++)
        if (still_read(program, v, now) &&
            memcmp(s->bytes[v], s->copy[v], (size_t)samples * program->value[v].bytes) != 0)
            trial_fails(s->trial, "a value was overwritten before it was read");
    compare_naive(s, value, samples, bytes);
}

/* What a fused program still makes is what it was. */
static void fused_tap(void *context, const Value *value, int samples, const uint8_t *bytes) {
    const Snapshots *s = context;
    long v = value - s->trial->program->value;
    if (memcmp(s->copy[v], bytes, (size_t)samples * value->bytes) != 0)
        trial_fails(s->trial, "a fused program has other codes");
}

/* The same outputs and values with neighbours fused; s, batch: those of the program as it was. */
static void run_fused(Trial *t, Snapshots *s, const float *batch) {
    size_t size = TRIAL_SAMPLES * t->program->value[t->program->output].bytes * sizeof *batch;
    float *outputs = arena_alloc(t->arena, size);
    program_fuse(t->program);
    void *scratch = arena_alloc(t->arena, program_scratch(t->program, TRIAL_SAMPLES));
    program_run(t->program, TRIAL_SAMPLES, t->image, outputs, scratch, fused_tap, s);
    if (memcmp(outputs, batch, size) != 0) trial_fails(t, "a fused program has other outputs");
}

void trial_program(Trial *t) {
    const Value *last = &t->program->value[t->program->output];
    float *batch = arena_alloc(t->arena, TRIAL_SAMPLES * last->bytes * sizeof *batch);
    float *single = arena_alloc(t->arena, last->bytes * sizeof *single);
    Snapshots s = {.trial = t};
    s.naive = arena_alloc(t->arena, TRIAL_SAMPLES * GRAPH_MAX_NODES * sizeof *s.naive);
    for (int n = 0; n < TRIAL_SAMPLES; n++)
        naive_codes(t->net, &t->pixels, t->image + (size_t)n * t->count, t->arena,
                    s.naive + n * GRAPH_MAX_NODES);
    program_run(t->program, TRIAL_SAMPLES, t->image, batch, t->scratch, tap, &s);
    assert_int_equal(s.seen, t->program->values);
    assert_int_equal(s.seen, t->program->instrs);
    for (int n = 0; n < TRIAL_SAMPLES; n++) {
        memset(t->scratch, 0xa5, program_scratch(t->program, 1)); /* nothing is left from before */
        program_run(t->program, 1, t->image + (size_t)n * t->count, single, t->scratch, NULL, NULL);
        if (memcmp(single, batch + (size_t)n * last->bytes, last->bytes * sizeof *single) != 0)
            trial_fails(t, "a sample alone differs from the sample in a batch");
    }
    run_fused(t, &s, batch);
}
