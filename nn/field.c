#include "nn/field.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/error.h"
#include "autograd/tensor.h"
#include "autograd/window.h"

/* A whole decimal number without sign tricks or blanks; returns where it ends, NULL if there is
 * none. */
static const char *parse_whole(const char *text, double least, double most, int *value) {
    const char *digits = text + (*text == '-');
    if (*digits < '0' || *digits > '9') return NULL;
    errno = 0;
    char *end;
    long number = strtol(text, &end, 10);
    if (errno || (double)number < least || (double)number > most) return NULL;
    *value = (int)number;
    return end;
}

static bool parse_int(const Field *field, int spatial, const char *text, void *place) {
    (void)spatial;
    const char *end = parse_whole(text, field->least, field->most, place);
    return end && !*end;
}

static void print_int(const Field *field, int spatial, const void *place, char *text, size_t size) {
    (void)field, (void)spatial;
    snprintf(text, size, "%d", *(const int *)place);
}

static bool parse_float(const Field *field, int spatial, const char *text, void *place) {
    (void)spatial;
    if (!strchr("-.0123456789", *text)) return false; /* no blanks, no "inf", no "nan" */
    char *end;
    float value = strtof(text, &end);
    if (end == text || *end || !isfinite(value)) return false;
    /* the ends of the range as floats, which may lie outside of the doubles: 0.99f > 0.99 */
    if (value < (float)field->least || value > (float)field->most) return false;
    *(float *)place = value;
    return true;
}

static void print_float(const Field *field, int spatial, const void *place, char *text,
                        size_t size) {
    (void)field, (void)spatial;
    float value = *(const float *)place;
    for (int digits = 1; digits <= 9; digits++) { /* the shortest text that reads back the same */
        snprintf(text, size, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) return;
    }
}

static bool parse_bool(const Field *field, int spatial, const char *text, void *place) {
    (void)field, (void)spatial;
    bool yes = strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false") != 0) return false;
    *(bool *)place = yes;
    return true;
}

static void print_bool(const Field *field, int spatial, const void *place, char *text,
                       size_t size) {
    (void)field, (void)spatial;
    snprintf(text, size, "%s", *(const bool *)place ? "true" : "false");
}

static bool parse_choice(const Field *field, int spatial, const char *text, void *place) {
    (void)spatial;
    for (int i = 0; field->choices[i]; i++)
        if (strcmp(field->choices[i], text) == 0) {
            *(int *)place = i;
            return true;
        }
    return false;
}

static void print_choice(const Field *field, int spatial, const void *place, char *text,
                         size_t size) {
    (void)spatial;
    snprintf(text, size, "%s", field->choices[*(const int *)place]);
}

/* Reads numbers joined by 'x'; returns how many, 0 if the text is anything else or more than
 * `room`. */
static int parse_list(const char *text, double least, double most, int room, int *values) {
    int count = 0;
    while (count < room) {
        text = parse_whole(text, least, most, &values[count]);
        if (!text) return 0;
        count++;
        if (!*text) return count;
        if (*text++ != 'x') return 0;
    }
    return 0;
}

static bool parse_sizes(const Field *field, int spatial, const char *text, void *place) {
    int list[SPATIAL], *sizes = place;
    int count = parse_list(text, field->least, field->most, SPATIAL, list);
    if (count != 1 && count != spatial) return false;
    for (int d = 0; d < SPATIAL; d++) {
        int i = d - (SPATIAL - spatial);
        sizes[d] = i < 0 ? (int)field->least : list[count == 1 ? 0 : i];
    }
    return true;
}

static void print_sizes(const Field *field, int spatial, const void *place, char *text,
                        size_t size) {
    (void)field;
    const int *sizes = (const int *)place + (SPATIAL - spatial);
    bool same = true;
    for (int i = 1; i < spatial; i++) same &= sizes[i] == sizes[0];
    Shape shape = {.rank = same ? 1 : spatial};
    memcpy(shape.dim, sizes, sizeof(int) * (size_t)shape.rank);
    char buffer[SHAPE_TEXT];
    snprintf(text, size, "%s", shape_text(&shape, buffer));
}

/* BEGIN or BEGIN:END. */
static bool parse_padding(const Field *field, int spatial, const char *text, void *place) {
    Window *window = place;
    const char *colon = strchr(text, ':');
    char begin[FIELD_TEXT];
    int end[SPATIAL];
    size_t length = colon ? (size_t)(colon - text) : strlen(text);
    if (length >= sizeof begin) return false;
    memcpy(begin, text, length);
    begin[length] = 0;
    if (!parse_sizes(field, spatial, begin, window->padding) ||
        !parse_sizes(field, spatial, colon ? colon + 1 : begin, end))
        return false;
    for (int d = 0; d < SPATIAL; d++) window->uneven[d] = end[d] - window->padding[d];
    return true;
}

static void print_padding(const Field *field, int spatial, const void *place, char *text,
                          size_t size) {
    const Window *window = place;
    int end[SPATIAL];
    bool same = true;
    for (int d = 0; d < SPATIAL; d++) {
        end[d] = window_padding_end(window, d);
        same &= window->uneven[d] == 0;
    }
    print_sizes(field, spatial, window->padding, text, size);
    size_t used = strlen(text);
    if (same || used + 1 >= size) return;
    text[used] = ':';
    print_sizes(field, spatial, end, text + used + 1, size - used - 1);
}

static bool parse_shape(const Field *field, int spatial, const char *text, void *place) {
    (void)spatial;
    Shape shape = {0};
    shape.rank = parse_list(text, field->least, field->most, MAX_RANK - 1, shape.dim);
    if (!shape.rank) return false;
    double count = 1; /* the product is checked before anyone computes it in integers */
    for (int i = 0; i < shape.rank; i++) count *= shape.dim[i];
    if (count > 0x1p28) return false;
    *(Shape *)place = shape;
    return true;
}

static void print_shape(const Field *field, int spatial, const void *place, char *text,
                        size_t size) {
    (void)field, (void)spatial;
    char buffer[SHAPE_TEXT];
    snprintf(text, size, "%s", shape_text(place, buffer));
}

const FieldType field_int = {"a whole number", parse_int, print_int};
const FieldType field_float = {"a number", parse_float, print_float};
const FieldType field_bool = {"true or false", parse_bool, print_bool};
const FieldType field_choice = {"one of its words", parse_choice, print_choice};
const FieldType field_sizes = {"a whole number, or one for each dimension (3x5)", parse_sizes,
                               print_sizes};
const FieldType field_padding = {
    "a whole number, one for each dimension (1x2), or begin and end (0:1)", parse_padding,
    print_padding};
const FieldType field_shape = {"a shape (1x28x28)", parse_shape, print_shape};

const Field *field_find(const Field *fields, const char *name) {
    for (const Field *f = fields; f && f->name; f++)
        if (strcmp(f->name, name) == 0) return f;
    return NULL;
}

void fields_default(const Field *fields, int spatial, void *spec) {
    for (const Field *f = fields; f && f->name; f++) {
        if (!f->fallback || f->fallback[0] == '@') continue;
        bool ok = f->type->parse(f, spatial, f->fallback, (char *)spec + f->offset);
        CHECK(ok, "default %s of field %s", f->fallback, f->name);
    }
}

void fields_follow(const Field *fields, int spatial, const bool *given, void *spec) {
    for (int i = 0; fields && fields[i].name; i++) {
        const Field *f = &fields[i];
        if (given[i] || !f->fallback || f->fallback[0] != '@') continue;
        const Field *source = field_find(fields, f->fallback + 1);
        CHECK(source, "field %s follows unknown field %s", f->name, f->fallback + 1);
        char text[FIELD_TEXT];
        source->type->print(source, spatial, (char *)spec + source->offset, text, sizeof text);
        bool ok = f->type->parse(f, spatial, text, (char *)spec + f->offset);
        CHECK(ok, "field %s cannot be %s", f->name, text);
    }
}
