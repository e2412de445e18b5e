#include "quant/program.h"

#include <stdio.h>
#include <string.h>

#include "quant/int8/quantize.h"

static const InstrKind *kind_for(const Layer *layer) {
    for (int i = 0; instr_list[i]; i++) {
        const InstrKind *kind = instr_list[i];
        if (kind->rule && strcmp(kind->rule, layer->rule) == 0) return kind;
        for (int k = 0; kind->lowers && kind->lowers[k]; k++)
            if (strcmp(kind->lowers[k], layer->name) == 0) return kind;
    }
    return NULL;
}

/* --- building --- */

static int add_value(Program *program, const QNode *q) {
    const Shape *shape = &q->node->shape;
    size_t bytes = shape_count(shape);
    int channels = shape->rank ? shape->dim[0] : 1;
    program->value[program->values] = (Value){
        .name = arena_text(program->arena, "%s", q->node->name),
        .shape = *shape,
        .channels = channels,
        .positions = (int)(bytes / (size_t)channels),
        .bytes = bytes,
        .scale = q->out->q.scale[0],
        .zero = quantizer_zero(q->out),
        .top = quantizer_top(q->out),
    };
    return program->values++;
}

/* Lowers node i; of_node[i] becomes the value that holds its result. */
static bool lower_node(Program *program, const QNode *q, int of_node[], Error *error) {
    const Node *node = q->node;
    int first = node->inputs ? of_node[node->in[0]] : -1;
    if (q->into) {
        of_node[node->index] = first;
        return true;
    }
    const InstrKind *kind = kind_for(node->layer);
    if (!kind)
        return error_set(error, ERROR_INPUT, "%s: no integer instruction computes a %s", node->name,
                         node->layer->name);
    if (kind->identity && kind->identity(q)) {
        of_node[node->index] = first;
        return true;
    }
    const void *args = kind->lower(q, program->arena, error);
    if (!args) return false;
    Instr *instr = &program->instr[program->instrs++];
    *instr = (Instr){.kind = kind,
                     .name = arena_text(program->arena, "%s", node->name),
                     .inputs = node->inputs,
                     .value = program->value,
                     .args = args};
    for (int k = 0; k < node->inputs; k++) instr->in[k] = of_node[node->in[k]];
    instr->out = of_node[node->index] = add_value(program, q);
    return true;
}

/* The last instruction that reads each value. */
static void last_uses(const Program *program, int last[]) {
    for (int v = 0; v < program->values; v++) last[v] = -1;
    for (int i = 0; i < program->instrs; i++)
        for (int k = 0; k < program->instr[i].inputs; k++) last[program->instr[i].in[k]] = i;
    last[program->output] = program->instrs;
}

/* Gives each value the lowest offset where no value lies that lives while it does. Values come in
 * the order of their instructions: value v is made by instruction v. */
static void plan_memory(Program *program) {
    int last[GRAPH_MAX_NODES];
    last_uses(program, last);
    for (int v = 0; v < program->values; v++) {
        Value *value = &program->value[v];
        bool moved = true;
        while (moved) {
            moved = false;
            for (int u = 0; u < v; u++) {
                const Value *other = &program->value[u];
                bool together = last[u] >= v; /* u is read by instruction v or later */
                bool overlap = value->offset < other->offset + other->bytes &&
                               other->offset < value->offset + value->bytes;
                if (together && overlap) {
                    value->offset = other->offset + other->bytes;
                    moved = true;
                }
            }
        }
        size_t end = value->offset + value->bytes;
        if (end > program->bytes_per_sample) program->bytes_per_sample = end;
    }
}

Program *program_build(const QuantNet *net, const Normalization *pixels, Error *error) {
    Arena *arena = arena_new();
    Program *program = arena_zeros(arena, sizeof *program);
    const Graph *graph = net->graph;
    int of_node[GRAPH_MAX_NODES];
    program->arena = arena;
    program->instr = arena_zeros(arena, sizeof *program->instr * (size_t)graph->nodes);
    program->value = arena_zeros(arena, sizeof *program->value * (size_t)graph->nodes);
    for (int i = 0; i < graph->nodes; i++)
        if (!lower_node(program, &net->node[i], of_node, error)) {
            program_free(program);
            return NULL;
        }
    program->output = of_node[graph->nodes - 1];
    quantize_table(&program->instr[0], pixels, &net->node[0].out->q);
    plan_memory(program);
    for (int i = 0; i < program->instrs; i++) {
        const Instr *instr = &program->instr[i];
        size_t scratch = instr->kind->scratch ? instr->kind->scratch(instr) : 0;
        if (scratch > program->scratch) program->scratch = scratch;
    }
    return program;
}

void program_free(Program *program) {
    if (program) arena_free(program->arena);
}

/* --- running --- */

enum { LINE = 64 };
static size_t round_up(size_t bytes) {
    return (bytes + LINE - 1) / LINE * LINE;
}

size_t program_scratch(const Program *program, int samples) {
    return round_up(size_mul((size_t)samples, program->bytes_per_sample)) + program->scratch;
}

static void dequantize_output(const Value *value, int samples, const uint8_t *bytes,
                              float *outputs) {
    size_t channels = (size_t)value->channels, positions = (size_t)value->positions;
    for (int n = 0; n < samples; n++)
        for (size_t c = 0; c < channels; c++)
            for (size_t p = 0; p < positions; p++) {
                int32_t code = bytes[(size_t)n * value->bytes + p * channels + c];
                outputs[(size_t)n * value->bytes + c * positions + p] =
                    value->scale * (float)(code - value->zero);
            }
}

void program_run(const Program *program, int samples, const uint8_t *pixels, float *outputs,
                 void *scratch, ProgramTap *tap, void *context) {
    uint8_t *memory = scratch;
    size_t n = (size_t)samples;
    Call call = {.samples = samples};
    call.scratch = memory + round_up(n * program->bytes_per_sample);
    for (int i = 0; i < program->instrs; i++) {
        const Instr *instr = &program->instr[i];
        call.in[0] = pixels; /* of the first instruction, which has no inputs */
        for (int k = 0; k < instr->inputs; k++)
            call.in[k] = memory + n * program->value[instr->in[k]].offset;
        call.out = memory + n * program->value[instr->out].offset;
        instr->kind->run(instr, &call);
        if (tap) tap(context, &program->value[instr->out], samples, call.out);
    }
    const Value *last = &program->value[program->output];
    dequantize_output(last, samples, memory + n * last->offset, outputs);
}

/* --- listing --- */

char *program_text(const Program *program, Arena *arena) {
    char *text = arena_text(arena, "%-10s %-14s %-12s %-14s %-12s %5s  %s\n", "node", "instruction",
                            "reads", "result", "scale", "zero", "constants");
    for (int i = 0; i < program->instrs; i++) {
        const Instr *instr = &program->instr[i];
        const Value *out = &program->value[instr->out];
        char shape[SHAPE_TEXT], reads[256] = "pixels", constants[256] = "";
        for (int k = 0, used = 0; k < instr->inputs && used < (int)sizeof reads; k++)
            used += snprintf(reads + used, sizeof reads - (size_t)used, "%s%s", k ? " " : "",
                             program->value[instr->in[k]].name);
        if (instr->kind->print) instr->kind->print(instr, constants, sizeof constants);
        text = arena_text(arena, "%s%-10s %-14s %-12s %-14s %-12.6g %5d  %s\n", text, instr->name,
                          instr->kind->name, reads, shape_text(&out->shape, shape),
                          (double)out->scale, out->zero, constants);
    }
    return text;
}
