#include "nn/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/file.h"
#include "nn/safetensors_rules.h"

static int by_layout(const void *a, const void *b) {
    int x = dtype_bits(((const SafeTensor *)a)->dtype);
    int y = dtype_bits(((const SafeTensor *)b)->dtype);
    return x != y ? y - x : safe_by_name(a, b);
}

/* Sets a key that is not there yet; false if it is there, or not UTF-8, or value is NULL. */
static bool set_once(json_t *object, const char *key, json_t *value) {
    bool fresh = !json_object_get(object, key);
    if (!fresh) json_decref(value);
    return fresh && !json_object_set_new(object, key, value);
}

static json_t *tensor_entry(const SafeTensor *tensor, size_t begin) {
    json_t *shape = json_array();
    for (int i = 0; i < tensor->rank; i++)
        json_array_append_new(shape, json_integer(tensor->dim[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_name(tensor->dtype), "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)(begin + tensor->bytes));
}

/* The header's object. The tensors lie in the order given. */
static bool fill_header(json_t *header, const char *path, const SafeFile *file, Error *error) {
    json_t *metadata = file->metas ? json_object() : NULL;
    if (metadata) json_object_set_new(header, SAFE_METADATA, metadata);
    for (int i = 0; i < file->metas; i++)
        if (!set_once(metadata, file->meta[i].key, json_string(file->meta[i].value)))
            return error_set(error, ERROR_INPUT, "%s: metadata %s is there twice or not UTF-8",
                             path, file->meta[i].key);
    size_t place = 0;
    for (int i = 0; i < file->count; i++) {
        const SafeTensor *tensor = &file->tensor[i];
        if (!safe_tensor_proved(tensor, path, error)) return false;
        if (tensor->bytes > SAFE_BYTES - SAFE_HEADER - SAFE_PREFIX - place)
            return error_set(error, ERROR_INPUT, "%s: more than %zu bytes", path, SAFE_BYTES);
        if (!set_once(header, tensor->name, tensor_entry(tensor, place)))
            return error_set(error, ERROR_INPUT,
                             "%s: tensor %s: its name is there twice or not UTF-8", path,
                             tensor->name);
        place += tensor->bytes;
    }
    return true;
}

/* The header's text, padded so that the payload begins at a multiple of 8; NULL on error. */
static const char *header_text(Arena *arena, const char *path, const SafeFile *file, Error *error) {
    json_t *header = json_object();
    bool filled = fill_header(header, path, file, error);
    char *json = filled ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (!json) return error_set(error, ERROR_IO, "%s: no memory for its header", path), NULL;
    size_t length = strlen(json);
    const char *text = arena_text(arena, "%s%*s", json, (int)(-length % 8), "");
    const char *fault =
        length > SAFE_HEADER ? "its header would be over 16 MiB" : safe_header_fault(json, length);
    free(json);
    if (!fault) return text;
    return error_set(error, ERROR_INPUT, "%s: %s", path, fault), NULL;
}

static bool save(const char *path, const SafeFile *file, const char *header, Error *error) {
    FileWriter *writer = file_create(path, error);
    if (!writer) return false;
    size_t n = strlen(header);
    unsigned char prefix[SAFE_PREFIX];
    for (int i = 0; i < SAFE_PREFIX; i++) prefix[i] = (unsigned char)(n >> 8 * i);
    file_write(writer, prefix, sizeof prefix);
    file_write(writer, header, n);
    for (int i = 0; i < file->count; i++)
        file_write(writer, file->tensor[i].data, file->tensor[i].bytes);
    return file_commit(writer, error);
}

static void *sorted(Arena *arena, const void *from, int count, size_t size,
                    int (*compare)(const void *, const void *)) {
    size_t bytes = size_mul((size_t)count, size);
    void *copy = arena_alloc(arena, bytes);
    if (!count) return copy;
    qsort(memcpy(copy, from, bytes), (size_t)count, size, compare);
    return copy;
}

bool safetensors_write(const char *path, const SafeFile *file, Error *error) {
    if (file->count > SAFE_TENSORS)
        return error_set(error, ERROR_INPUT, "%s: more than 65536 tensors", path);
    for (int i = 0; i < file->count; i++)
        CHECK(file->tensor[i].dtype < DTYPE_COUNT && file->tensor[i].rank >= 0 &&
                  file->tensor[i].rank <= SAFE_RANK,
              "tensor %s: dtype %d, rank %d", file->tensor[i].name, (int)file->tensor[i].dtype,
              file->tensor[i].rank);
    Arena *arena = arena_new();
    SafeFile ordered = *file;
    ordered.tensor = sorted(arena, file->tensor, file->count, sizeof *file->tensor, by_layout);
    ordered.meta = sorted(arena, file->meta, file->metas, sizeof *file->meta, safe_by_key);
    const char *header = header_text(arena, path, &ordered, error);
    bool saved = header && save(path, &ordered, header, error);
    arena_free(arena);
    return saved;
}
