/* For tests that write files: a folder of their own, and bytes to put into it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "autograd/error.h"

/* Group setup and teardown: makes the folder, removes it with all that is in it. */
int scratch_make(void **state);
int scratch_remove(void **state);

/* The path of `name` in the folder ("" for the folder itself), valid until the fourth call from
 * then. */
const char *scratch_path(const char *name);

typedef struct Bytes {
    size_t count;
    uint8_t data[8192];
} Bytes;

void bytes_add(Bytes *bytes, const void *data, size_t count);
void bytes_text(Bytes *bytes, const char *text);
void bytes_u32(Bytes *bytes, uint32_t value); /* big-endian */

/* The same bytes as one gzip member, and as a zlib stream. */
Bytes bytes_gzip(const Bytes *bytes);
Bytes bytes_zlib(const Bytes *bytes);

/* Writes the bytes, or the text, to scratch_path(name), making the folders in between. */
void scratch_write(const char *name, const Bytes *bytes);
void scratch_text(const char *name, const char *text);
void scratch_delete(const char *name);

/* The error has this code, and its message this fragment. */
void assert_error(const Error *error, ErrorCode code, const char *fragment);
