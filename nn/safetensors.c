#include "nn/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/file.h"
#include "nn/safetensors_rules.h"

/* ---- files of other tools ---- */

/* A zip's first entry tells its maker: NumPy's ends in .npy, PyTorch's is FOLDER/data.pkl. */
static const char *zip_maker(const unsigned char *data, size_t size) {
    enum { NAME_LENGTH = 26, NAME = 30 };
    size_t length = size < NAME ? 0 : data[NAME_LENGTH] + 256u * data[NAME_LENGTH + 1];
    if (length > size || size - length < NAME) return "a zip archive";
    const char *name = (const char *)data + NAME;
    if (length >= 4 && !memcmp(name + length - 4, ".npy", 4)) return "a NumPy .npz archive";
    if (length >= 4 && !memcmp(name + length - 4, ".pkl", 4)) return "a PyTorch .pt (zip)";
    return "a zip archive";
}

/* What a file that is not safetensors is, or NULL. */
static const char *foreign(const unsigned char *data, size_t size) {
    static const struct {
        size_t length;
        const char *magic, *what;
    } list[] = {
        {4, "GGUF", "a GGUF model"},
        {8, "\x89HDF\r\n\x1a\n", "an HDF5 file"},
        {4, "\x89PNG", "a PNG image"},
        {6, "\x93NUMPY", "a NumPy .npy array"},
        {2, "\x1f\x8b", "a gzip file"},
        {12, "version http", "a Git LFS pointer: the file itself was not fetched"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (size >= list[i].length && !memcmp(data, list[i].magic, list[i].length))
            return list[i].what;
    if (size >= 4 && !memcmp(data, "PK\3\4", 4)) return zip_maker(data, size);
    if (size >= 2 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5)
        return "a PyTorch .pt (pickle)";
    /* Protobuf, field 1 (ir_version) below 32, then one of the fields 2..8, of wire type 0 or 2. */
    if (size >= 3 && data[0] == 0x08 && data[1] < 32 && data[2] >= 0x10 && data[2] <= 0x42 &&
        (data[2] % 8 == 0 || data[2] % 8 == 2))
        return "an ONNX model";
    return NULL;
}

/* ---- reading ---- */

typedef struct Reader {
    Arena *arena;
    const char *path;
    const unsigned char *payload; /* [size] */
    size_t size;
    Error *error;
} Reader;

static bool refuse(const Reader *reader, const char *fault) {
    return error_set(reader->error, ERROR_INPUT, "%s: %s", reader->path, fault);
}

/* The length N of the header, its framing proved. */
static bool read_framing(const Reader *reader, const unsigned char *data, size_t size, size_t *n) {
    uint64_t claim = 0;
    for (int i = 0; i < SAFE_PREFIX && size >= SAFE_PREFIX; i++)
        claim |= (uint64_t)data[i] << 8 * i;
    const char *fault = size <= SAFE_PREFIX                  ? "it is too short"
                        : claim > SAFE_HEADER                ? "its header's length is over 16 MiB"
                        : claim > size - SAFE_PREFIX         ? "its header is longer than the file"
                        : !claim || data[SAFE_PREFIX] != '{' ? "its header does not begin with '{'"
                                                             : NULL;
    *n = (size_t)claim;
    if (!fault) return true;
    const char *what = foreign(data, size);
    return what ? error_set(reader->error, ERROR_INPUT, "%s: this is %s, not safetensors",
                            reader->path, what)
                : error_set(reader->error, ERROR_INPUT, "%s: no safetensors file: %s", reader->path,
                            fault);
}

/* The parsed header; NULL on error. */
static json_t *read_header(const Reader *reader, const char *json, size_t length) {
    while (length && json[length - 1] == ' ') length--;
    if (json[length - 1] != '}')
        return refuse(reader, "its header does not end with '}' and spaces"), NULL;
    const char *fault = safe_header_fault(json, length);
    if (fault) return refuse(reader, fault), NULL;
    json_error_t wrong;
    json_t *header = json_loadb(json, length, JSON_REJECT_DUPLICATES, &wrong);
    if (header) return header;
    if (json_error_code(&wrong) == json_error_out_of_memory)
        return error_set(reader->error, ERROR_IO, "%s: no memory to parse it", reader->path), NULL;
    const char *near = strstr(wrong.text, " near "); /* what follows are bytes of the file */
    int shown = near ? (int)(near - wrong.text) : (int)strlen(wrong.text);
    return error_set(reader->error, ERROR_INPUT, "%s: its header, byte %d of the file: %.*s",
                     reader->path, wrong.position + SAFE_PREFIX, shown, wrong.text),
           NULL;
}

static bool read_metadata(const Reader *reader, json_t *object, SafeFile *file) {
    if (!object) return true;
    if (!json_is_object(object)) return refuse(reader, "its __metadata__ is not an object");
    SafeMeta *meta = arena_alloc(reader->arena, size_mul(json_object_size(object), sizeof *meta));
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        if (!json_is_string(value))
            return refuse(reader, "its __metadata__ has a value that is not a string");
        meta[file->metas].key = arena_text(reader->arena, "%s", key);
        meta[file->metas++].value = arena_text(reader->arena, "%s", json_string_value(value));
    }
    qsort(meta, (size_t)file->metas, sizeof *meta, safe_by_key);
    file->meta = meta;
    return true;
}

static bool read_dtype(const char *name, Dtype *dtype) {
    for (int i = 0; i < DTYPE_COUNT; i++) {
        *dtype = (Dtype)i;
        if (!strcmp(dtype_name(*dtype), name)) return true;
    }
    return false;
}

/* One entry of the header. Its name is proved first: until then no message may show it. */
static bool read_tensor(const Reader *reader, const char *name, const json_t *entry,
                        SafeTensor *tensor) {
    const char *path = reader->path, *fault = safe_name_fault(name);
    if (fault) return refuse(reader, fault);
    const json_t *dtype = json_object_get(entry, "dtype");
    const json_t *shape = json_object_get(entry, "shape");
    const json_t *span = json_object_get(entry, "data_offsets");
    if (json_object_size(entry) != 3 || !json_is_string(dtype) || !json_is_array(shape) ||
        !json_is_array(span) || json_array_size(span) != 2)
        return error_set(reader->error, ERROR_INPUT,
                         "%s: tensor %s: it must be a dtype, a shape and two data_offsets", path,
                         name);
    tensor->name = arena_text(reader->arena, "%s", name);
    if (!read_dtype(json_string_value(dtype), &tensor->dtype))
        return error_set(reader->error, ERROR_INPUT, "%s: tensor %s: unknown dtype", path, name);
    if (json_array_size(shape) > SAFE_RANK)
        return error_set(reader->error, ERROR_INPUT, "%s: tensor %s: more than %d dimensions", path,
                         name, SAFE_RANK);
    tensor->rank = (int)json_array_size(shape);
    for (int i = 0; i < tensor->rank; i++) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        if (!json_is_integer(dim))
            return error_set(reader->error, ERROR_INPUT,
                             "%s: tensor %s: its dimension %d is not a whole number", path, name,
                             i);
        tensor->dim[i] = json_integer_value(dim);
    }
    const json_t *first = json_array_get(span, 0), *second = json_array_get(span, 1);
    int64_t begin = json_integer_value(first), end = json_integer_value(second);
    if (!json_is_integer(first) || !json_is_integer(second) || begin < 0 || end < begin ||
        (uint64_t)end > reader->size)
        return error_set(reader->error, ERROR_INPUT,
                         "%s: tensor %s: its data_offsets do not lie in the %zu bytes of data",
                         path, name, reader->size);
    tensor->data = reader->payload + begin;
    tensor->bytes = (size_t)(end - begin);
    return safe_tensor_proved(tensor, path, reader->error);
}

static int by_place(const void *a, const void *b) {
    const SafeTensor *x = a, *y = b;
    if (x->data != y->data) return (const char *)x->data < (const char *)y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The tensors, in the order they lie, cover the payload: each begins where the last one ended. */
static bool covered(const Reader *reader, SafeTensor *tensor, int count) {
    qsort(tensor, (size_t)count, sizeof *tensor, by_place);
    const unsigned char *place = reader->payload;
    for (int i = 0; i < count; i++) {
        const unsigned char *data = tensor[i].data;
        if (data != place)
            return error_set(reader->error, ERROR_INPUT, "%s: tensor %s: its data %s", reader->path,
                             tensor[i].name,
                             data < place ? "overlaps another's" : "has a hole before it");
        place += tensor[i].bytes;
    }
    size_t left = reader->size - (size_t)(place - reader->payload);
    if (left)
        return error_set(reader->error, ERROR_INPUT, "%s: %zu bytes behind the last tensor",
                         reader->path, left);
    return true;
}

static bool read_entries(const Reader *reader, json_t *header, SafeFile *file) {
    json_t *metadata = json_object_get(header, SAFE_METADATA);
    size_t count = json_object_size(header) - (metadata != NULL);
    if (count > SAFE_TENSORS) return refuse(reader, "more than 65536 tensors");
    SafeTensor *tensor = arena_zeros(reader->arena, count * sizeof *tensor);
    const char *name;
    json_t *entry;
    json_object_foreach(header, name, entry) {
        if (entry == metadata) continue;
        if (!read_tensor(reader, name, entry, &tensor[file->count++])) return false;
    }
    if (!covered(reader, tensor, file->count)) return false;
    qsort(tensor, count, sizeof *tensor, safe_by_name);
    file->tensor = tensor;
    return read_metadata(reader, metadata, file);
}

const SafeFile *safetensors_read(Arena *arena, const char *path, Error *error) {
    Reader reader = {.arena = arena, .path = path, .error = error};
    ArenaMark mark = arena_mark(arena);
    unsigned char *data;
    size_t size, n;
    if (!file_read(arena, path, SAFE_BYTES, &data, &size, error)) return NULL;
    SafeFile *file = arena_zeros(arena, sizeof *file);
    json_t *header = NULL;
    if (read_framing(&reader, data, size, &n)) {
        reader.payload = data + SAFE_PREFIX + n;
        reader.size = size - SAFE_PREFIX - n;
        header = read_header(&reader, (const char *)data + SAFE_PREFIX, n);
    }
    bool good = header && read_entries(&reader, header, file);
    json_decref(header);
    if (good) return file;
    arena_rewind(arena, mark);
    return NULL;
}

const SafeTensor *safetensors_find(const SafeFile *file, const char *name) {
    SafeTensor wanted = {.name = name};
    if (!file->count) return NULL;
    return bsearch(&wanted, file->tensor, (size_t)file->count, sizeof wanted, safe_by_name);
}

const char *safetensors_meta(const SafeFile *file, const char *key) {
    SafeMeta wanted = {.key = key};
    if (!file->metas) return NULL;
    const SafeMeta *meta =
        bsearch(&wanted, file->meta, (size_t)file->metas, sizeof wanted, safe_by_key);
    return meta ? meta->value : NULL;
}
