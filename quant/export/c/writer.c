#include "quant/export/c/writer.h"

#include <stdarg.h>
#include <string.h>

#include "quant/int8/pool.h"

static const struct Piece {
    const char *name, *text;
} pieces[] = {
#define PIECE(name, text) {#name, text},
#include "quant/export/c/runtime.inc"
#undef PIECE
};
enum { PIECES = sizeof pieces / sizeof *pieces };
_Static_assert((int)PIECES <= (int)C_PIECES, "CWriter.used is too small");

int c_print(FILE *section, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int count = vfprintf(section, format, args);
    va_end(args);
    return count;
}

static int find_piece(const char *name) {
    int i = 0;
    while (i < PIECES && strcmp(pieces[i].name, name) != 0) i++;
    CHECK(i < PIECES, "no piece %s", name);
    return i;
}

const char *c_piece(const char *name) {
    return pieces[find_piece(name)].text;
}

void c_use(CWriter *c, const char *name) {
    int i = find_piece(name);
    if (!c->used[i]) c_print(c->runtime, "%s\n", pieces[i].text);
    c->used[i] = true;
}

bool emitter_always(const QNode *q) {
    return (void)q, true;
}

bool emitter_unpadded(const QNode *q) {
    PoolArgs pool = pool_args(q);
    return !window_padded(&pool.window);
}

void c_call(CWriter *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    c_print(c->body, "    P_");
    vfprintf(c->body, format, args);
    c_print(c->body, ";\n");
    va_end(args);
}

/* --- tables --- */

static const struct {
    const char *name;
    size_t bytes;
} types[] = {[C_INT8] = {"int8_t", 1}, [C_UINT8] = {"uint8_t", 1}, [C_INT32] = {"int32_t", 4}};

void c_array_open(CWriter *c, CType type, const char *id, const char *name, size_t count) {
    c_print(c->tables, "static const %s P_%s_%s[%zu] = {", types[type].name, id, name, count);
    c->flash += types[type].bytes * count;
    c->column = 100;
}

void c_array_put(CWriter *c, long value) {
    if (c->column > 88) {
        c_print(c->tables, "\n    ");
        c->column = 4;
    }
    c->column += c_print(c->tables, "%ld,", value);
}

void c_array_close(CWriter *c) {
    c_print(c->tables, "\n};\n");
}

void c_struct(CWriter *c, const char *type, const char *id, int words, const char *format, ...) {
    va_list args;
    va_start(args, format);
    c_print(c->tables, "static const P_%s P_%s_layer = ", type, id);
    vfprintf(c->tables, format, args);
    c_print(c->tables, ";\n");
    c->flash += 4 * (size_t)words;
    va_end(args);
}

static void add_triple(CText *t, const int v[SPATIAL], const char *end) {
    size_t used = strlen(t->text);
    snprintf(t->text + used, sizeof t->text - used, "{%d, %d, %d}%s", v[0], v[1], v[2], end);
}

CText c_window(const Window *w, const int in[SPATIAL], const int out[SPATIAL]) {
    CText t = {"{"};
    add_triple(&t, in, ", ");
    add_triple(&t, out, ", ");
    add_triple(&t, w->kernel, ", ");
    add_triple(&t, w->stride, ", ");
    add_triple(&t, w->padding, ", ");
    add_triple(&t, w->dilation, "}");
    return t;
}

CText c_scale(const QNode *q, Multiplier multiplier) {
    CText t;
    Bounds bounds = rule_bounds(q);
    snprintf(t.text, sizeof t.text, "{%d, %d, %d, %d, %d}", multiplier.m0, multiplier.shift,
             quantizer_zero(q->out), bounds.lo, bounds.hi);
    return t;
}
