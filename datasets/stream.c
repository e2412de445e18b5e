#include "datasets/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { BUFFER = 1 << 16, FIRST_ROOM = 1 << 16 };

struct Stream {
    const char *path;
    int file;
    bool gzip, gzip_ended;
    uint64_t size;     /* of the file on disk */
    uint64_t consumed; /* bytes of the file that have passed through the buffer */
    z_stream inflater; /* its next_in and avail_in are the unread part of buffer, gzip or not */
    uint8_t buffer[BUFFER];
};

/* Puts more of the file into an empty buffer; avail_in stays 0 at the end of the file. */
static bool refill(Stream *stream, Error *error) {
    ssize_t got;
    do got = read(stream->file, stream->buffer, BUFFER);
    while (got < 0 && errno == EINTR);
    if (got < 0) return error_set(error, ERROR_IO, "%s: %s", stream->path, strerror(errno));
    stream->inflater.next_in = stream->buffer;
    stream->inflater.avail_in = (uInt)got;
    stream->consumed += (uint64_t)got;
    return true;
}

static bool open_regular(Stream *stream, Error *error) {
    const char *path = stream->path;
    /* O_NONBLOCK: opening a pipe that nobody writes to would wait for ever */
    stream->file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat status;
    if (stream->file < 0 || fstat(stream->file, &status) != 0)
        return error_set(error, ERROR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return error_set(error, ERROR_IO, "%s: is a %s, expected a regular file", path,
                         S_ISDIR(status.st_mode) ? "folder" : "pipe or device");
    if (status.st_size == 0) return error_set(error, ERROR_INPUT, "%s: is empty", path);
    stream->size = (uint64_t)status.st_size;
    return refill(stream, error);
}

static bool start_inflater(Stream *stream, Error *error) {
    z_stream *z = &stream->inflater;
    stream->gzip = z->avail_in >= 2 && z->next_in[0] == 0x1f && z->next_in[1] == 0x8b;
    /* 15: the largest window; +16: a gzip header and trailer around the data, no other */
    if (stream->gzip && inflateInit2(z, 15 + 16) != Z_OK)
        return error_set(error, ERROR_IO, "%s: no memory to inflate it", stream->path);
    return true;
}

Stream *stream_open(const char *path, Error *error) {
    Stream *stream = calloc(1, sizeof *stream);
    if (!stream) return error_set(error, ERROR_IO, "%s: no memory to read it", path), NULL;
    stream->path = path;
    if (open_regular(stream, error) && start_inflater(stream, error)) return stream;
    stream_close(stream);
    return NULL;
}

void stream_close(Stream *stream) {
    if (!stream) return;
    if (stream->gzip) inflateEnd(&stream->inflater);
    if (stream->file >= 0) close(stream->file);
    free(stream);
}

uint64_t stream_size(const Stream *stream) {
    return stream->gzip ? 0 : stream->size;
}

static bool read_plain(Stream *stream, uint8_t *to, size_t count, size_t *got, Error *error) {
    z_stream *z = &stream->inflater;
    while (*got < count) {
        if (z->avail_in == 0 && !refill(stream, error)) return false;
        if (z->avail_in == 0) return true;
        size_t n = count - *got < z->avail_in ? count - *got : z->avail_in;
        memcpy(to + *got, z->next_in, n);
        z->next_in += n;
        z->avail_in -= (uInt)n;
        *got += n;
    }
    return true;
}

/* Behind a gzip member gzip allows more members, and gzread hides anything else: here it is an
 * error. */
static bool check_nothing_left(Stream *stream, Error *error) {
    z_stream *z = &stream->inflater;
    if (z->avail_in == 0 && !refill(stream, error)) return false;
    if (z->avail_in == 0) return true;
    bool member = z->avail_in >= 2 && z->next_in[0] == 0x1f && z->next_in[1] == 0x8b;
    uint64_t offset = stream->consumed - z->avail_in;
    return error_set(error, ERROR_INPUT,
                     "%s: %s after the gzip data (offset %llu), expected its end", stream->path,
                     member ? "a second gzip member" : "trailing bytes",
                     (unsigned long long)offset);
}

static bool read_gzip(Stream *stream, uint8_t *to, size_t count, size_t *got, Error *error) {
    z_stream *z = &stream->inflater;
    while (*got < count && !stream->gzip_ended) {
        if (z->avail_in == 0 && !refill(stream, error)) return false;
        if (z->avail_in == 0)
            return error_set(error, ERROR_INPUT,
                             "%s: is truncated: the file ends inside its gzip data (offset %llu)",
                             stream->path, (unsigned long long)stream->consumed);
        size_t room = count - *got < BUFFER ? count - *got : BUFFER;
        z->next_out = to + *got;
        z->avail_out = (uInt)room;
        int status = inflate(z, Z_NO_FLUSH);
        *got += room - z->avail_out;
        if (status == Z_MEM_ERROR)
            return error_set(error, ERROR_IO, "%s: no memory to inflate it", stream->path);
        if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
            return error_set(error, ERROR_INPUT, "%s: broken gzip data before offset %llu: %s",
                             stream->path, (unsigned long long)(stream->consumed - z->avail_in),
                             z->msg ? z->msg : "it cannot be inflated");
        stream->gzip_ended = status == Z_STREAM_END;
        if (stream->gzip_ended && !check_nothing_left(stream, error)) return false;
    }
    return true;
}

bool stream_read(Stream *stream, void *to, size_t count, size_t *got, Error *error) {
    *got = 0;
    return stream->gzip ? read_gzip(stream, to, count, got, error)
                        : read_plain(stream, to, count, got, error);
}

bool stream_take(Stream *stream, size_t most, uint8_t **bytes, size_t *count, Error *error) {
    size_t room = 0, got;
    *bytes = NULL;
    *count = 0;
    do {
        room = room ? 2 * room : FIRST_ROOM;
        if (room > most) room = most;
        uint8_t *grown = realloc(*bytes, room);
        bool ok = grown || error_set(error, ERROR_IO, "%s: no memory for %zu bytes of it",
                                     stream->path, room);
        if (grown) *bytes = grown;
        if (!ok || !stream_read(stream, *bytes + *count, room - *count, &got, error)) {
            free(*bytes);
            *bytes = NULL;
            return false;
        }
        *count += got;
    } while (*count == room && room < most);
    return true;
}
