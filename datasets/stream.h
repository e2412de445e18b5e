/* Stream: a regular file read from its beginning to its end, inflated on the way when its first
 * bytes say gzip. The content decides, not the name: a plain file called x.gz reads as well as a
 * compressed one called x. gzip data is taken strictly, unlike gzread: it must be one whole member
 * with a right checksum and nothing behind it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autograd/error.h"

typedef struct Stream Stream;

/* Opens `path`, which must outlive the stream. The caller owns the result: stream_close.
 * NULL and ERROR_IO for a path that cannot be opened or is no regular file (a pipe is refused, not
 * waited for), ERROR_INPUT for an empty file. */
Stream *stream_open(const char *path, Error *error);
void stream_close(Stream *stream); /* NULL is fine */

/* Bytes in a plain file; 0 for gzip data, whose length is known only at its end. */
uint64_t stream_size(const Stream *stream);

/* Reads `count` bytes into `to`; *got is smaller only where the data ends. A read that meets the
 * end of gzip data has also checked its checksum. False: ERROR_IO, or ERROR_INPUT for broken gzip
 * data. */
bool stream_read(Stream *stream, void *to, size_t count, size_t *got, Error *error);

/* Reads at most `most` bytes into memory that grows as they arrive, so that a file which promises
 * more than it holds costs no more than it holds. *bytes is the caller's: free. NULL on failure, as
 * above. */
bool stream_take(Stream *stream, size_t most, uint8_t **bytes, size_t *count, Error *error);
