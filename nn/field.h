/* Field: what a layer's spec struct contains, as data. One table over the struct gives the text
 * form of a net, its validation, the printed table, and the attributes of other formats. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct Field Field;

/* How one kind of value is read and written. `spatial` is the number of spatial dimensions of the
 * layer. */
typedef struct FieldType {
    const char *expects; /* for messages: "a whole number" */
    bool (*parse)(const Field *field, int spatial, const char *text, void *place);
    void (*print)(const Field *field, int spatial, const void *place, char *text, size_t size);
} FieldType;

struct Field {
    const char *name;
    const FieldType *type;
    size_t offset;      /* in the spec struct */
    double least, most; /* inclusive range of a number, or of each of several */
    const char
        *fallback; /* default as text; "@kernel": the value of that field; NULL: must be given */
    const char *const *choices; /* of a field_choice, NULL-terminated */
};

extern const FieldType field_int;    /* int */
extern const FieldType field_float;  /* float, finite */
extern const FieldType field_bool;   /* bool: true or false */
extern const FieldType field_choice; /* int: the index of a word in `choices` */
extern const FieldType
    field_sizes; /* int[SPATIAL] D H W: "3" for all dimensions or "3x5", one each; the
                    unused leading ones hold 0 for padding, else 1 (the field's least) */
extern const FieldType
    field_padding; /* Window, its padding: "1" or "1x2" as sizes, the same on both sides; "0:1" or
                      "0x1:1x1" where the beginning and the end differ */
extern const FieldType field_shape; /* Shape: "1x28x28" */

/* Longest text of a field's value. */
enum { FIELD_TEXT = 128 };

/* The field of that name in a table that ends with a NULL name; NULL if there is none. */
const Field *field_find(const Field *fields, const char *name);

/* The default of each field that has one. */
void fields_default(const Field *fields, int spatial, void *spec);
/* What "@name" fields become once the others are known; `given[i]` tells which fields were set. */
void fields_follow(const Field *fields, int spatial, const bool *given, void *spec);
