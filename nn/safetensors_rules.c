#include "nn/safetensors_rules.h"

#include <string.h>

static const struct {
    const char *name;
    int bits;
} dtypes[] = {
#define X(name, bits) {#name, bits},
    DTYPE_LIST(X)
#undef X
};

const char *dtype_name(Dtype dtype) {
    return dtypes[dtype].name;
}

int dtype_bits(Dtype dtype) {
    return dtypes[dtype].bits;
}

/* The control characters are U+0000..1F and U+7F..9F. */
const char *safe_name_fault(const char *name) {
    size_t length = strlen(name);
    if (!length) return "a tensor's name is empty";
    if (length > SAFE_NAME) return "a tensor's name is longer than 255 bytes";
    if (!strcmp(name, SAFE_METADATA)) return "a tensor's name is __metadata__";
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        if (*c < 0x20 || *c == 0x7f || (*c == 0xc2 && c[1] < 0xa0))
            return "a tensor's name has a control character";
    return NULL;
}

bool safe_tensor_proved(const SafeTensor *tensor, const char *path, Error *error) {
    const char *fault = safe_name_fault(tensor->name);
    if (fault) return error_set(error, ERROR_INPUT, "%s: %s", path, fault);
    int64_t elements = 1; /* cannot overflow: two factors, each at most 2^28 */
    for (int i = 0; i < tensor->rank; i++) {
        int64_t dim = tensor->dim[i];
        if (dim >= 0 && dim <= SAFE_ELEMENTS) elements *= dim;
        if (dim < 0 || dim > SAFE_ELEMENTS || elements > SAFE_ELEMENTS)
            return error_set(error, ERROR_INPUT,
                             "%s: tensor %s: its dimension %d, %lld, is negative or makes more "
                             "than %d elements",
                             path, tensor->name, i, (long long)dim, SAFE_ELEMENTS);
    }
    int64_t bits = elements * dtype_bits(tensor->dtype);
    if (bits % 8)
        return error_set(error, ERROR_INPUT, "%s: tensor %s: %lld elements of %s end within a byte",
                         path, tensor->name, (long long)elements, dtype_name(tensor->dtype));
    if ((size_t)(bits / 8) != tensor->bytes)
        return error_set(error, ERROR_INPUT,
                         "%s: tensor %s: shape and dtype %s make %lld bytes, its data has %zu",
                         path, tensor->name, dtype_name(tensor->dtype), (long long)(bits / 8),
                         tensor->bytes);
    return true;
}

const char *safe_header_fault(const char *json, size_t length) {
    enum { DEPTH = 3 }; /* file, tensor, shape */
    int depth = 0, separators = 0;
    bool quoted = false;
    for (size_t i = 0; i < length; i++) {
        char c = json[i];
        if (quoted && c == '\\') {
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted) {
            depth += (c == '{' || c == '[') - (c == '}' || c == ']');
            separators += c == ',';
            if (depth > DEPTH) return "its header is nested too deep";
            if (separators > SAFE_SEPARATORS) return "its header has too many values";
        }
    }
    return NULL;
}

int safe_by_name(const void *a, const void *b) {
    return strcmp(((const SafeTensor *)a)->name, ((const SafeTensor *)b)->name);
}

int safe_by_key(const void *a, const void *b) {
    return strcmp(((const SafeMeta *)a)->key, ((const SafeMeta *)b)->key);
}
