/* The state_dict that PyTorch's quantization-aware training saves: a model with its grids. Made
 * here of a calibrated model, whose arrays get PyTorch's names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <string.h>

#include "quant/given.h"
#include "quant/import/qat_dict.h"
#include "quant/import/reader.h"
#include "quant/rules/integers.h"
#include "tests/scratch.h"
#include "tests/small_model.h"

enum { ROOM = 128 };

typedef struct Dict {
    Arena *arena;
    int count;
    SafeTensor tensor[ROOM];
} Dict;

static int make_net(void **state) {
    if (scratch_make(state)) return -1;
    Bytes net = {0};
    bytes_text(&net, small_net);
    scratch_write("small.net", &net);
    return 0;
}

/* --- as PyTorch has it --- */

static void add(Dict *dict, const char *name, Dtype dtype, Shape shape, const void *data) {
    SafeTensor *tensor = &dict->tensor[dict->count++];
    assert_true(dict->count < ROOM);
    *tensor = (SafeTensor){.name = name, .dtype = dtype, .rank = shape.rank, .data = data};
    for (int d = 0; d < shape.rank; d++) tensor->dim[d] = shape.dim[d];
    tensor->bytes = shape_count(&shape) * (size_t)dtype_bits(dtype) / 8;
}

/* A fused batchnorm is its convolution's. */
static const char *torch_name(Arena *arena, const char *node, const char *param) {
    bool fused = strcmp(node, "bn1") == 0;
    return arena_text(arena, "%s.%s%s", fused ? "conv1" : node, fused ? "bn." : "", param);
}

static void add_values(Dict *dict, const QuantNet *net) {
    static const int64_t one = 1;
    for (int i = 0; i < net->quantizers; i++) {
        const Quantizer *q = net->quantizer[i];
        if (strcmp(q->name, "pool1") == 0) continue; /* PyTorch does not observe a mean */
        const char *base = arena_text(dict->arena, "%s.activation_post_process",
                                      strcmp(q->name, "x") ? q->name : "quant");
        add(dict, arena_text(dict->arena, "%s.scale", base), DTYPE_F32, SHAPE(1), q->q.scale);
        add(dict, arena_text(dict->arena, "%s.zero_point", base), DTYPE_I32, SHAPE(1),
            q->q.zero_point);
        add(dict, arena_text(dict->arena, "%s.observer_enabled", base), DTYPE_I64, SHAPE(1), &one);
        const char *seen = arena_text(dict->arena, "%s.activation_post_process", base);
        add(dict, arena_text(dict->arena, "%s.min_val", seen), DTYPE_F32, (Shape){0}, &q->seen.min);
        add(dict, arena_text(dict->arena, "%s.max_val", seen), DTYPE_F32, (Shape){0}, &q->seen.max);
    }
}

/* Of a model that was frozen once: its integers say the grids of weights. */
static Dict dict_of(const Model *model) {
    Dict dict = {.arena = arena_new()};
    for (int i = 0; i < model->graph->nodes; i++) {
        const Node *node = &model->graph->node[i];
        for (int p = 0; p < node->params; p++)
            if (!node->param[p].counter)
                add(&dict, torch_name(dict.arena, node->name, node->param[p].name), DTYPE_F32,
                    node->param[p].tensor->shape, node->param[p].tensor->data);
        const QNode *q = &model->quant->node[i];
        if (q->into || !q->rule->arrays) continue;
        const WeightedIntegers *w = q->integers;
        const char *base = arena_text(dict.arena, "%s.weight_fake_quant", node->name);
        add(&dict, arena_text(dict.arena, "%s.scale", base), DTYPE_F32, SHAPE(w->grid.channels),
            w->grid.scale);
        add(&dict, arena_text(dict.arena, "%s.zero_point", base), DTYPE_I32,
            SHAPE(w->grid.channels), w->grid.zero_point);
    }
    add_values(&dict, model->quant);
    return dict;
}

static SafeTensor *dict_find(Dict *dict, const char *name) {
    for (int i = 0; i < dict->count; i++)
        if (strcmp(dict->tensor[i].name, name) == 0) return &dict->tensor[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static Model *dict_import(Dict *dict, Error *error) {
    Error reason = {0};
    if (!safetensors_write(scratch_path("dict"), &(SafeFile){dict->count, dict->tensor, 0, NULL},
                           &reason))
        fail_msg("%s", reason.message);
    arena_free(dict->arena);
    return model_import(scratch_path("dict"), scratch_path("small.net"), NULL, error);
}

/* A calibrated model as PyTorch would have it: a mean keeps the grid of what it averages. */
static Model *torch_like(int bits) {
    QuantConfig config = quant_config_default();
    config.activation.bits = config.edge_bits = bits;
    config.weight.full_range = true;
    Model *model = small_model(STAGE_CALIBRATED, &config);
    Quantizer *mean = NULL, *sum = NULL;
    for (int i = 0; i < model->quant->quantizers; i++) {
        Quantizer *q = model->quant->quantizer[i];
        if (strcmp(q->name, "pool1") == 0) mean = q;
        if (strcmp(q->name, "add1") == 0) sum = q;
        quantizer_give(q, q->q.scale[0], q->q.zero_point[0]); /* its ends are what it saw */
    }
    quantizer_give(mean, sum->q.scale[0], sum->q.zero_point[0]);
    Error error = {0};
    if (!quant_freeze(model->quant, &error)) fail_msg("%s", error.message);
    return model;
}

/* --- tests --- */

/* The imported model computes what the original does; with 7 bits of activations, too, which the
 * file says by its ranges alone. */
static void grids_are_those_of_the_file(void **state) {
    (void)state;
    for (int bits = 7; bits <= 8; bits++) {
        float want[SMALL_BATCH * SMALL_OUTPUTS], have[SMALL_BATCH * SMALL_OUTPUTS];
        Model *model = torch_like(bits);
        model->pixels = (Normalization){.channels = 2, .std = {1, 1}};
        Dict dict = dict_of(model);
        Error error = {0};
        Model *back = dict_import(&dict, &error);
        if (!back) fail_msg("%s", error.message);
        assert_int_equal(back->stage, STAGE_CALIBRATED);
        assert_int_equal(back->quant->quantizer[1]->q.qmax, (1 << bits) - 1);
        small_run(model, want);
        small_run(back, have);
        assert_memory_equal(have, want, sizeof want);
        model_free(model);
        model_free(back);
    }
}

static void what_is_no_grid_is_refused(void **state) {
    (void)state;
    static const float nan = NAN, tiny = 1e-40f, minus = -1;
    static const int32_t high = 256, unsigned_zero = 128;
    static const struct {
        const char *array;
        Dtype dtype;
        const void *data; /* NULL: the array is not there */
        const char *fragment;
    } cases[] = {
        {"quant.activation_post_process.scale", DTYPE_F32, &nan, "are no grid"},
        {"conv1.activation_post_process.scale", DTYPE_F32, &tiny, "are no grid"},
        {"add1.activation_post_process.scale", DTYPE_F32, &minus, "are no grid"},
        {"conv1.activation_post_process.zero_point", DTYPE_I32, &high, "are no grid"},
        {"conv1.activation_post_process.zero_point", DTYPE_F32, &minus, "are no grid"},
        {"conv1.activation_post_process.zero_point", DTYPE_I32, NULL, "are no grid"},
        {"conv2.activation_post_process.scale", DTYPE_F32, NULL, "nothing in the file rounds"},
        {"fc.weight_fake_quant.scale", DTYPE_F32, &minus, "are no grid"},
        {"fc.weight_fake_quant.zero_point", DTYPE_I32, &unsigned_zero, "are no grid"},
        {"conv1.bn.weight", DTYPE_F32, NULL, "bn1.weight is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Model *model = torch_like(8);
        Dict dict = dict_of(model);
        SafeTensor *tensor = dict_find(&dict, cases[i].array);
        tensor->dtype = cases[i].dtype;
        if (cases[i].data) {
            tensor->data = cases[i].data;
            tensor->rank = 1, tensor->dim[0] = 1, tensor->bytes = 4;
        } else {
            *tensor = dict.tensor[--dict.count];
        }
        Error error = {0};
        assert_null(dict_import(&dict, &error));
        assert_error(&error, ERROR_INPUT, cases[i].fragment);
        model_free(model);
    }
}

/* Every array that says something is for one place of the net. */
static void names_without_a_place_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *array, *called, *fragment; /* array: renamed, or there twice */
        bool twice;
    } cases[] = {
        {"add1.activation_post_process.scale", "skip.activation_post_process.scale",
         "no node has that name", false},
        {"fc.weight_fake_quant.scale", "foo.weight_fake_quant.scale", "no node is called foo",
         true},
        {"fc.weight_fake_quant.zero_point", "foo.weight_fake_quant.zero_point",
         "no node is called foo", true},
        {"fc.weight_fake_quant.scale", "bn1.weight_fake_quant.scale", "it is a part of conv1",
         true},
        {"fc.weight_fake_quant.scale", "add1.weight_fake_quant.scale", "has no weights", true},
        {"fc.weight_fake_quant.scale", "fc.weight_fake_quant.other", "are no grid", false},
        {"conv1.bn.weight", "bn1.weight", "bn1.weight is there twice, once as conv1.bn.weight",
         true},
        {"conv1.bn.running_var", "bn1.running_var", "bn1.running_var is there twice", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Model *model = torch_like(8);
        Dict dict = dict_of(model);
        SafeTensor *tensor = dict_find(&dict, cases[i].array);
        if (cases[i].twice) {
            dict.tensor[dict.count] = *tensor;
            tensor = &dict.tensor[dict.count++];
        }
        tensor->name = cases[i].called;
        Error error = {0};
        assert_null(dict_import(&dict, &error));
        assert_error(&error, ERROR_INPUT, cases[i].fragment);
        model_free(model);
    }
}

/* Headers of 16 MiB hold 65536 names, a net 256 nodes: asking takes no memory. */
static void names_take_no_memory(void **state) {
    (void)state;
    Model *model = torch_like(8);
    Arena *arena = arena_new();
    static const char *const same[] = {"conv1.weight",   "conv1.bn",     "conv10.bn.weight",
                                       "conv.bn.weight", "fc.bn.weight", "bn1.weight"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        assert_ptr_equal(qat_dict_name(model->quant, same[i], arena), same[i]);
    assert_int_equal(arena_used(arena), 0);
    assert_string_equal(qat_dict_name(model->quant, "conv1.bn.weight", arena), "bn1.weight");
    arena_free(arena);
    model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grids_are_those_of_the_file),
        cmocka_unit_test(what_is_no_grid_is_refused),
        cmocka_unit_test(names_without_a_place_are_refused),
        cmocka_unit_test(names_take_no_memory),
    };
    return cmocka_run_group_tests(tests, make_net, scratch_remove);
}
