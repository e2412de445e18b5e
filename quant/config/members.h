/* Reading JSON objects strictly: a table says which members an object may have, how each is read
 * and where it goes. Any other member and any other type is refused, by name. */
#pragma once

#include <jansson.h>

#include "autograd/error.h"

/* The JSON of a file of at most so many bytes, a new reference; an object that has a member twice
 * is refused. NULL and ERROR_IO, or ERROR_INPUT with the file's name and the place, in *error. */
json_t *json_read(const char *path, size_t most, Error *error);

typedef struct Member {
    const char *name;
    /* Reads the value into *place; on no: what was expected, in *error (ERROR_INPUT). */
    bool (*read)(const json_t *value, void *place, Error *error);
    void *place;
} Member;

/* Reads every member of `object` that is there; `members` ends with a NULL name. ERROR_INPUT,
 * "what.member: reason". */
bool members_read(const json_t *object, const char *what, const Member *members, Error *error);

bool member_bool(const json_t *value, void *place, Error *error); /* bool * */
bool member_bits(const json_t *value, void *place, Error *error); /* int *, 2 to 16 */
bool member_positive(const json_t *value, void *place,
                     Error *error); /* float *, > 0; null gives 0 */
