/* One safetensors file: named arrays and a little text, the format of every stair checkpoint.
 *
 *   u64 little-endian N | N bytes of JSON, beginning with '{', padded with spaces | payload
 *   {"__metadata__": {"key": "value", ...},
 *    "name": {"dtype": "F32", "shape": [out, in], "data_offsets": [begin, end]}, ...}
 *
 * Offsets count from the payload's begin. The tensors cover the payload exactly: no hole, no
 * overlap, no byte left over. A file that breaks any rule is refused as a whole, before anything is
 * used. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autograd/arena.h"
#include "autograd/error.h"

/* The format's element types:  name, bits. stair computes with few of them and can carry all. */
#define DTYPE_LIST(X)                                                                              \
    X(F32, 32)                                                                                     \
    X(I64, 64)                                                                                     \
    X(I32, 32)                                                                                     \
    X(I8, 8)                                                                                       \
    X(U8, 8)                                                                                       \
    X(BOOL, 8)                                                                                     \
    X(I16, 16)                                                                                     \
    X(U16, 16)                                                                                     \
    X(U32, 32)                                                                                     \
    X(U64, 64)                                                                                     \
    X(F16, 16)                                                                                     \
    X(BF16, 16)                                                                                    \
    X(F64, 64)                                                                                     \
    X(C64, 64)                                                                                     \
    X(F8_E4M3, 8)                                                                                  \
    X(F8_E5M2, 8)                                                                                  \
    X(F8_E8M0, 8)                                                                                  \
    X(F6_E2M3, 6)                                                                                  \
    X(F6_E3M2, 6)                                                                                  \
    X(F4, 4)

typedef enum Dtype {
#define X(name, bits) DTYPE_##name,
    DTYPE_LIST(X)
#undef X
        DTYPE_COUNT
} Dtype;

const char *dtype_name(Dtype dtype); /* "F32" */
int dtype_bits(Dtype dtype);         /* of one element */

enum {
    SAFE_RANK = 8,        /* dimensions of a tensor */
    SAFE_NAME = 255,      /* bytes of a tensor's name, at least 1: UTF-8, no control characters */
    SAFE_TENSORS = 65536, /* of a file */
    SAFE_ELEMENTS = 1 << 28,  /* of a tensor, and the largest dimension */
    SAFE_HEADER = 16 << 20,   /* bytes of JSON */
    SAFE_SEPARATORS = 1 << 20 /* commas of the JSON: bounds the parser's memory */
};
#define SAFE_BYTES ((size_t)1 << 32) /* of a file */

typedef struct SafeTensor {
    const char *name;
    Dtype dtype;
    int rank;               /* 0 is a scalar */
    int64_t dim[SAFE_RANK]; /* a dimension may be 0 */
    const void *data;       /* row-major, little-endian, at any alignment: memcpy it out */
    size_t bytes;           /* the elements' bits / 8 */
} SafeTensor;

typedef struct SafeMeta {
    const char *key, *value; /* UTF-8 */
} SafeMeta;

typedef struct SafeFile {
    int count;
    const SafeTensor *tensor; /* [count] */
    int metas;
    const SafeMeta *meta; /* [metas] */
} SafeFile;

/* Reads and proves a file: tensors sorted by name, metadata by key (strcmp). All memory is the
 * arena's. NULL and ERROR_IO (cannot be read) or ERROR_INPUT (which rule is broken, and by which
 * tensor; a file of another tool is called by its name). Values are not looked at: NaN passes. */
const SafeFile *safetensors_read(Arena *arena, const char *path, Error *error);

/* In a file that safetensors_read gave: the tensor, the metadata's value; NULL if there is none. */
const SafeTensor *safetensors_find(const SafeFile *file, const char *name);
const char *safetensors_meta(const SafeFile *file, const char *key);

/* Saves a file that safetensors_read accepts, through a FileWriter: all of it or nothing. Its bytes
 * depend on the content only, not on the order given: tensors lie by element size, largest first,
 * then by name (so each is aligned), metadata by key. ERROR_INPUT if a name, key or value breaks a
 * rule; bytes that do not fit dtype and shape are the caller's mistake. */
bool safetensors_write(const char *path, const SafeFile *file, Error *error);
