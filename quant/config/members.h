/* Reading JSON objects strictly: a table says which members an object may have, how each is read
 * and where it goes. Any other member and any other type is refused, by name. */
#pragma once

#include <jansson.h>

#include "autograd/error.h"

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
