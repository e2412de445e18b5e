#include "tests/state_dict.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "quant/import/reader.h"
#include "tests/scratch.h"
#include "tests/small_model.h"

int dict_setup(void **state) {
    if (scratch_make(state)) return -1;
    scratch_text("small.net", small_net);
    return 0;
}

void dict_begin(Change *dict) {
    dict->arena = arena_new();
    dict->file = (SafeFile){.tensor = dict->tensor, .meta = dict->meta};
}

void dict_open(Change *dict, const char *name) {
    change_open(dict, name);
    dict->file.metas = 0;
}

void dict_add(Change *dict, const char *name, Dtype dtype, Shape shape, const void *data) {
    assert_true(dict->file.count < CHANGE_ROOM);
    SafeTensor *tensor = &dict->tensor[dict->file.count++];
    *tensor = (SafeTensor){.name = name, .dtype = dtype, .rank = shape.rank, .data = data};
    for (int d = 0; d < shape.rank; d++) tensor->dim[d] = shape.dim[d];
    tensor->bytes = shape_count(&shape) * (size_t)dtype_bits(dtype) / 8;
}

Model *dict_import(Change *dict, const char *net, Error *error) {
    Error reason = {0};
    if (!safetensors_write(scratch_path("dict"), &dict->file, &reason))
        fail_msg("%s", reason.message);
    arena_free(dict->arena);
    return model_import(scratch_path("dict"), net, NULL, error);
}
