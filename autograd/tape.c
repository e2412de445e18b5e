#include "autograd/tape.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/error.h"
#include "autograd/kernels/parallel.h"
#include "autograd/op.h"

Tape *tape_new(bool recording) {
    Arena *arena = arena_new();
    Tape *tape = malloc(sizeof *tape);
    if (!tape) {
        arena_exhausted(sizeof *tape);
        abort();
    }
    *tape = (Tape){.arena = arena, .recording = recording};
    return tape;
}

void tape_free(Tape *tape) {
    if (!tape) return;
    arena_free(tape->arena);
    free(tape);
}

void tape_reset(Tape *tape) {
    arena_reset(tape->arena);
    tape->entries = NULL;
    tape->count = tape->capacity = 0;
}

Tensor *tape_tensor(Tape *tape, Shape shape) {
    return tensor_new(tape->arena, shape);
}

static Entry *next_entry(Tape *tape) {
    if (tape->count == tape->capacity) {
        int capacity = tape->capacity ? 2 * tape->capacity : 64;
        Entry *entries = arena_alloc(tape->arena, sizeof *entries * (size_t)capacity);
        if (tape->count) memcpy(entries, tape->entries, sizeof *entries * (size_t)tape->count);
        tape->entries = entries;
        tape->capacity = capacity;
    }
    return &tape->entries[tape->count++];
}

bool tape_record(Tape *tape, const Op *op, Tensor *out, int inputs, Tensor *const in[],
                 void *saved) {
    CHECK(inputs <= OP_MAX_INPUTS, "%s: %d inputs", op->name, inputs);
    for (int i = 0; i < inputs; i++) out->needs_grad |= in[i] && in[i]->needs_grad;
    if (!out->needs_grad || !tape->recording) return false;
    Entry *entry = next_entry(tape);
    *entry = (Entry){.op = op, .tape = tape, .inputs = inputs, .out = out, .saved = saved};
    memcpy(entry->in, in, sizeof *in * (size_t)inputs);
    return true;
}

static void store_plane(void *context, size_t p, int worker) {
    (void)worker;
    const Tensor *t = context;
    size_t floats = t->count / (size_t)t->shape.dim[0] / (size_t)t->shape.dim[1];
    t->deferred->plane(t->deferred->context, p, t->grad + p * floats);
}

static float *gradient_memory(Tape *tape, Tensor *t) {
    return t->grad = arena_alloc(tape->arena, size_mul(t->count, sizeof(float)));
}

/* A tensor in two places gets the sum of both: neither may be filled. */
static bool alone(const Entry *entry, int k) {
    for (int i = 0; i < entry->inputs; i++)
        if (i != k && entry->in[i] == entry->in[k]) return false;
    return true;
}

/* Gradients that are still missing: zeros, or memory that the op fills. A deferred one that is not
 * the only one is stored after all. */
static void make_gradients(Tape *tape, Entry *entry) {
    for (int k = 0; k < entry->inputs; k++) {
        Tensor *in = entry->in[k];
        if (!in || !in->needs_grad || in->grad) continue;
        if (in->deferred) {
            gradient_memory(tape, in);
            parallel_planes(in->shape.dim[0], in->shape.dim[1], store_plane, in);
            in->deferred = NULL;
        } else if (entry->op->fills >> k & 1 && alone(entry, k)) {
            entry->fresh |= 1u << k;
            if (!in->defers || !(entry->op->defers >> k & 1)) gradient_memory(tape, in);
        } else {
            tensor_grad(tape->arena, in);
        }
    }
}

void tape_backward(Tape *tape, Tensor *loss) {
    CHECK(loss->count == 1, "the loss has %zu elements", loss->count);
    CHECK(tape->recording, "the tape recorded nothing");
    tensor_grad(tape->arena, loss)[0] = 1.0f; /* d loss / d loss */
    for (int i = tape->count - 1; i >= 0; i--) {
        Entry *entry = &tape->entries[i];
        if (!entry->out->grad && !entry->out->deferred)
            continue; /* the loss does not depend on this output */
        make_gradients(tape, entry);
        entry->op->backward(entry);
    }
}
