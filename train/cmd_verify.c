/* stair verify: does the model that was validated equal the one that ships? Fake-quantized
 * evaluation against the integer program, every code of every layer of every image. Exit status 5
 * if one differs. */
#include "quant/compare.h"
#include "train/command.h"
#include "train/engine.h"
#include "train/json.h"

static json_t *layers_to_json(const Comparison *comparison) {
    json_t *layers = json_array();
    for (int v = 0; v < comparison->values; v++) {
        const ValueComparison *value = &comparison->value[v];
        json_array_append_new(layers, json_pack("{s:s, s:I, s:I, s:i}", "name", value->name,
                                                "codes", (json_int_t)value->codes,
                                                "mismatched_codes", (json_int_t)value->mismatched,
                                                "max_difference", value->max_difference));
    }
    return layers;
}

static bool report(const Comparison *comparison, bool json, Error *error) {
    ValueComparison total = compare_total(comparison);
    if (json)
        return json_print(
            json_pack("{s:I, s:I, s:I, s:i, s:I, s:o}", "images", (json_int_t)comparison->images,
                      "codes", (json_int_t)total.codes, "mismatched_codes",
                      (json_int_t)total.mismatched, "max_difference", total.max_difference,
                      "argmax_differs", (json_int_t)comparison->argmax_differs, "layers",
                      layers_to_json(comparison)),
            error);
    printf("%-12s %14s %12s %10s\n", "layer", "codes", "mismatched", "largest");
    for (int v = 0; v < comparison->values; v++) {
        const ValueComparison *value = &comparison->value[v];
        printf("%-12s %14lld %12lld %10d\n", value->name, (long long)value->codes,
               (long long)value->mismatched, value->max_difference);
    }
    printf("%-12s %14lld %12lld %10d\n", "all", (long long)total.codes, (long long)total.mismatched,
           total.max_difference);
    printf("predictions that differ: %lld of %lld\n", (long long)comparison->argmax_differs,
           (long long)comparison->images);
    return true;
}

/* One batch, by whichever way the model was quantized. */
static bool compare_batch(Comparison *comparison, const Model *model, Tape *tape, int count,
                          const float *x, const uint8_t *pixels, void *scratch, Error *error) {
    if (model->dynamic) return compare_dynamic(comparison, model->dynamic, tape, count, x, error);
    return compare_images(comparison, tape, count, x, pixels, scratch, error);
}

static bool compare_all(Comparison *comparison, const Model *model, const Program *program,
                        const Dataset *data, int batch, Error *error) {
    Tape *tape = tape_new(false);
    Arena *arena = arena_new();
    size_t pixels = dataset_image_bytes(data);
    float *x = arena_alloc(arena, sizeof(float) * pixels * (size_t)batch);
    void *scratch = program ? arena_alloc(arena, program_scratch(program, batch)) : NULL;
    bool ok = true;
    for (int first = 0; ok && first < data->count; first += batch) {
        int count = data->count - first < batch ? data->count - first : batch;
        model_images(model, data, first, count, x);
        ok = compare_batch(comparison, model, tape, count, x, dataset_image(data, first), scratch,
                           error);
    }
    tape_free(tape);
    arena_free(arena);
    return ok;
}

/* *program stays NULL for a dynamic model, which has none. */
static bool start(Comparison *comparison, Model *model, Program **program, Error *error) {
    if (model->dynamic) {
        compare_start_dynamic(comparison, model->dynamic);
        return true;
    }
    if (!(*program = model_program(model, error))) return false;
    quant_exact(model->quant);
    compare_start(comparison, model->quant, *program);
    return true;
}

static int command_verify(const Settings *settings, Error *error) {
    const char *path = settings->arguments[0];
    unsigned quantized = 1 << STAGE_CALIBRATED | 1 << STAGE_QAT | 1 << STAGE_FROZEN;
    Model *model = model_load(path, error);
    Dataset *data = NULL;
    Program *program = NULL;
    Comparison comparison;
    bool ok = model &&
              model_expect(model, path, quantized, "calibrate it first: stair calibrate", error) &&
              (data = dataset_open(settings->data, false, settings->limit, error)) &&
              model_fits(model, data, error) && start(&comparison, model, &program, error);
    if (ok && compare_all(&comparison, model, program, data, settings->batch, error) &&
        report(&comparison, settings->json, error) &&
        (compare_total(&comparison).mismatched || comparison.argmax_differs))
        error_set(error, ERROR_MISSED, "%s: the two engines differ", path);
    program_free(program);
    dataset_free(data);
    model_free(model);
    return error->code;
}

static const OptionUse options[] = {
    TAKES("data"), TAKES("limit"), TAKES("batch"), TAKES("json"), TAKES("threads"), TAKES_COMMON,
    {0},
};

const Command verify_command = {
    .name = "verify",
    .summary = "Compares simulated and integer arithmetic, code by code.",
    .arguments = "IN",
    .least = 1,
    .most = 1,
    .options = options,
    .examples = "stair verify qat.safetensors\n"
                "stair verify qat.safetensors --limit 100 --json\n",
    .run = command_verify,
};
