/* stair sweep: the accuracy table over bit widths, after calibration and after fine-tuning, over
 * several seeds. */
#include <math.h>
#include <string.h>
#include <zlib.h>

#include "autograd/file.h"
#include "train/command.h"
#include "train/evaluate.h"
#include "train/json.h"
#include "train/loop.h"
#include "train/signals.h"
#include "train/sweep.h"

typedef struct Work {
    Sweep sweep;
    Settings settings;
    const Dataset *train, *test;
} Work;

static bool test_accuracy(Model *model, const Work *work, double *accuracy, Error *error) {
    Evaluation result = {0};
    Engine *engine = engine_open(model, work->settings.batch, NULL, error);
    bool ok =
        engine && evaluate(engine, work->test, work->settings.batch, NULL, NULL, &result, error);
    engine_close(engine);
    *accuracy = sweep_accuracy(result.accuracy);
    return ok;
}

/* 0, 128 + signal, or an error in *error. */
static int finetune(Model *model, const Work *work, uint64_t seed, Error *error) {
    Settings settings = work->settings;
    settings.seed = seed;
    settings.epochs = settings.finetune_epochs;
    settings.log = NULL;
    settings.quiet = true;
    TrainRun run = {.kind = "finetune",
                    .model = model,
                    .settings = &settings,
                    .final_fraction = 0.01,
                    .train = work->train,
                    .test = work->test};
    model->stage = STAGE_QAT;
    quant_simulate(model->quant);
    quant_track(model->quant);
    return train_loop(&run, error);
}

static int run_cell(const Work *work, SweepCell *cell, Error *error) {
    Settings settings = work->settings;
    settings.seed = (uint64_t)cell->seed;
    settings.quiet = true;
    QuantConfig config;
    Model *model = model_load(work->sweep.model, error);
    int status = 0;
    cell->finetuned = NAN;
    bool ok = model && calibration_config(&settings, &config, error);
    if (ok) {
        config.activation.bits = cell->bits;
        config.weight.bits = cell->weight_bits;
    }
    ok = ok && calibrate_model(model, &config, work->train, &settings, error) &&
         test_accuracy(model, work, &cell->calibrated, error);
    if (ok && settings.finetune_epochs > 0) {
        status = finetune(model, work, (uint64_t)cell->seed, error);
        if (status == 0) test_accuracy(model, work, &cell->finetuned, error);
    }
    model_free(model);
    return error->code ? (int)error->code : status;
}

static bool save(const Work *work, Error *error) {
    const Settings *s = &work->settings;
    return (!s->output || sweep_write_json(&work->sweep, s->output, error)) &&
           (!s->csv || sweep_write_csv(&work->sweep, s->csv, error));
}

static int cell_once(Work *work, int bits, int weight_bits, int seed, Error *error) {
    Sweep *sweep = &work->sweep;
    if (sweep_find(sweep, bits, weight_bits, seed)) return 0;
    if (sweep->cells == SWEEP_CELLS)
        return error_set(error, ERROR_USAGE, "more than %d cells", SWEEP_CELLS), ERROR_USAGE;
    SweepCell cell = {.bits = bits, .weight_bits = weight_bits, .seed = seed};
    int status = run_cell(work, &cell, error);
    if (status == 0) {
        sweep->cell[sweep->cells++] = cell;
        if (!work->settings.quiet)
            fprintf(stderr, "stair: activations %d bits, weights %d, seed %d: %.4f calibrated",
                    bits, weight_bits, seed, cell.calibrated);
        if (!work->settings.quiet && isfinite(cell.finetuned))
            fprintf(stderr, ", %.4f fine-tuned", cell.finetuned);
        if (!work->settings.quiet) fprintf(stderr, "\n");
        save(work, error);
        if (!error->code && signals_caught()) status = 128 + signals_caught();
    }
    return error->code ? (int)error->code : status;
}

/* Every pair of bit widths that was asked for: with --weight-bits all pairs, else both the same. */
static int each_pair(Work *work, int (*visit)(Work *work, int bits, int weight_bits, Error *error),
                     Error *error) {
    const Settings *s = &work->settings;
    bool pairs = settings_given(s, "weight-bits");
    int status = 0;
    for (int i = 0; status == 0 && i < s->bits.count; i++)
        for (int k = 0; status == 0 && k < (pairs ? s->weight_bits.count : 1); k++)
            status = visit(work, s->bits.value[i],
                           pairs ? s->weight_bits.value[k] : s->bits.value[i], error);
    return status;
}

static int run_seeds(Work *work, int bits, int weight_bits, Error *error) {
    const IntList *seeds = &work->settings.seeds;
    int status = 0;
    for (int i = 0; status == 0 && i < seeds->count; i++)
        status = cell_once(work, bits, weight_bits, seeds->value[i], error);
    return status;
}

static void print_spread(const Spread *s) {
    if (s->count)
        printf("  %8.4f +- %.4f", s->mean, s->deviation);
    else
        printf("  %18s", "-");
}

static int print_row(Work *work, int bits, int weight_bits, Error *error) {
    (void)error;
    Spread calibrated = sweep_spread(&work->sweep, bits, weight_bits, false);
    Spread finetuned = sweep_spread(&work->sweep, bits, weight_bits, true);
    printf("%11d %7d", bits, weight_bits);
    print_spread(&calibrated);
    print_spread(&finetuned);
    printf("  %5d\n", calibrated.count);
    return 0;
}

static bool report(Work *work, Error *error) {
    if (work->settings.json) return json_print(sweep_to_json(&work->sweep), error);
    printf("float %.4f\n%11s %7s  %18s  %18s  %5s\n", work->sweep.float_accuracy, "activations",
           "weights", "calibrated", "fine-tuned", "seeds");
    each_pair(work, print_row, error);
    return true;
}

/* The file's checksum, the recipe's defaults, the accuracy in float, and what an earlier run has
 * found. */
static bool start(Work *work, Error *error) {
    Settings *s = &work->settings;
    Arena *arena = arena_new();
    unsigned char *bytes;
    size_t size;
    bool read = file_read(arena, work->sweep.model, (size_t)1 << 34, &bytes, &size, error);
    if (read) work->sweep.model_crc = (uint32_t)crc32_z(crc32(0, NULL, 0), bytes, size);
    arena_free(arena);
    Model *model = read ? model_load(work->sweep.model, error) : NULL;
    if (model && !settings_given(s, "finetune-epochs"))
        s->finetune_epochs = fmax(1, recipe_origin(model->training, "epochs", 10) / 10);
    if (model) recipe_follow(model->training, s);
    if (!s->seeds.count) s->seeds = (IntList){1, {0}};
    bool ok = model &&
              model_expect(model, work->sweep.model, 1 << STAGE_FLOAT,
                           "a sweep begins with a float one", error) &&
              model_fits(model, work->train, error) && model_fits(model, work->test, error) &&
              test_accuracy(model, work, &work->sweep.float_accuracy, error);
    model_free(model);
    return ok &&
           (!s->output ||
            (file_probe(s->output, error) && sweep_resume(&work->sweep, s->output, error))) &&
           (!s->csv || file_probe(s->csv, error));
}

/* Without fine-tuning its options would be taken for nothing. */
static bool training_fits(const Settings *settings, Error *error) {
    static const char *const training[] = {"lr",           "optimizer", "momentum",
                                           "weight-decay", "nesterov",  "schedule",
                                           "warmup",       "step-size", "gamma"};
    bool none = settings_given(settings, "finetune-epochs") && settings->finetune_epochs == 0;
    for (size_t i = 0; none && i < sizeof training / sizeof *training; i++)
        if (settings_given(settings, training[i]))
            return error_set(error, ERROR_USAGE, "--%s says nothing with --finetune-epochs 0",
                             training[i]);
    return true;
}

static int command_sweep(const Settings *settings, Error *error) {
    if (!training_fits(settings, error)) return error->code;
    Work *work = calloc(1, sizeof *work);
    SweepCell *cells = calloc(SWEEP_CELLS, sizeof *cells);
    if (!work || !cells)
        return error_set(error, ERROR_IO, "no memory"), free(work), free(cells), (int)ERROR_IO;
    work->settings = *settings;
    work->sweep =
        (Sweep){.settings = &work->settings, .model = settings->arguments[0], .cell = cells};
    Dataset *train = dataset_open(settings->data, true, settings->limit, error);
    Dataset *test = train ? dataset_open(settings->data, false, settings->limit, error) : NULL;
    work->train = train;
    work->test = test;
    int status = 0;
    if (test && start(work, error)) {
        signals_catch();
        status = each_pair(work, run_seeds, error);
        if (status == 0 && save(work, error)) report(work, error);
        if (status > 128 && settings->output)
            fprintf(stderr, "stair: stopped; the same command goes on from the %d cells in %s\n",
                    work->sweep.cells, settings->output);
    }
    dataset_free(train);
    dataset_free(test);
    free(cells);
    free(work);
    return error->code ? (int)error->code : status;
}

static const OptionUse options[] = {
    TAKES("output"),
    TAKES("csv"),
    TAKES("bits", .many = true, .fallback = "8..2"),
    TAKES("weight-bits", .many = true, .shown = "as --bits; given: all pairs"),
    TAKES("seeds", .many = true),
    TAKES("finetune-epochs"),
    TAKES("lr", .shown = "1% of the training's"),
    TAKES("optimizer", .shown = "the training's"),
    TAKES("config"),
    TAKES("images"),
    TAKES("method"),
    TAKES("percentile"),
    TAKES("per-tensor"),
    TAKES("per-channel"),
    TAKES("json"),
    TAKES_TRAINING,
    TAKES_COMMON,
    {0},
};

const Command sweep_command = {
    .name = "sweep",
    .summary = "Makes the table of accuracy over bit widths and seeds.",
    .arguments = "FLOAT",
    .least = 1,
    .most = 1,
    .options = options,
    .examples =
        "stair sweep float.safetensors --bits 8..2 --seeds 0,1,2 -o sweep.json --csv sweep.csv\n"
        "stair sweep float.safetensors --bits 8,4 --weight-bits 8,4,2 --finetune-epochs 0\n",
    .run = command_sweep,
};
