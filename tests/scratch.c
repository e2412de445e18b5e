#include "tests/scratch.h"

#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

static char folder[] = "/tmp/stair-test-XXXXXX";

int scratch_make(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk) {
    (void)status, (void)type, (void)walk;
    return remove(path);
}

int scratch_remove(void **state) {
    (void)state;
    return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *scratch_path(const char *name) {
    static char paths[4][PATH_MAX];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, PATH_MAX, "%s%s%s", folder, *name ? "/" : "", name);
    return path;
}

void bytes_add(Bytes *bytes, const void *data, size_t count) {
    assert_true(count <= sizeof bytes->data - bytes->count);
    memcpy(bytes->data + bytes->count, data, count);
    bytes->count += count;
}

void bytes_text(Bytes *bytes, const char *text) {
    bytes_add(bytes, text, strlen(text));
}

void bytes_u32(Bytes *bytes, uint32_t value) {
    uint8_t data[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                       (uint8_t)value};
    bytes_add(bytes, data, sizeof data);
}

static Bytes deflated(const Bytes *bytes, int window) {
    Bytes out = {0};
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)bytes->data;
    z.avail_in = (uInt)bytes->count;
    z.next_out = out.data;
    z.avail_out = sizeof out.data;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    out.count = z.total_out;
    deflateEnd(&z);
    return out;
}

Bytes bytes_gzip(const Bytes *bytes) {
    return deflated(bytes, 15 + 16);
}
Bytes bytes_zlib(const Bytes *bytes) {
    return deflated(bytes, 15);
}

void scratch_write(const char *name, const Bytes *bytes) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", scratch_path(name));
    for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        mkdir(path, 0777);
    }
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes->data, 1, bytes->count, f), bytes->count);
    assert_int_equal(fclose(f), 0);
}

void scratch_text(const char *name, const char *text) {
    Bytes bytes = {0};
    bytes_text(&bytes, text);
    scratch_write(name, &bytes);
}

void scratch_delete(const char *name) {
    assert_int_equal(remove(scratch_path(name)), 0);
}

void assert_error(const Error *error, ErrorCode code, const char *fragment) {
    if (error->code != code || !strstr(error->message, fragment))
        fail_msg("expected error %d with \"%s\", got %d: %s", code, fragment, error->code,
                 error->message);
}
