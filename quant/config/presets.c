/* Presets: the whole configuration under one name. The grids and the averaging are the backend's;
 * how a range becomes a scale and how a value is rounded is the contract's (N1, N3), the same for
 * all. */
#include <string.h>

#include "quant/bn.h"
#include "quant/config/config.h"

QuantConfig quant_config_default(void) {
    return (QuantConfig){
        .activation = {.bits = 8},
        .weight = {.bits = 8, .is_signed = true, .symmetric = true, .per_channel = true},
        .edge_bits = 8,
        .method = method_find("moving-average"),
        .percentile = 99.99,
        .ste = STE_CODE,
        .learn = learn_find("none"),
        .bn = bn_mode_find("frozen"),
    };
}

/* PyTorch's get_default_qat_qconfig("qnnpack"): weights per tensor. */
static void qnnpack(QuantConfig *config) {
    config->weight.per_channel = false;
    config->weight.full_range = true;
}

/* PyTorch's get_default_qat_qconfig("fbgemm"): reduced ranges, 0 .. 127. Its kernels saturate
 * otherwise; ours do not, the preset is for nets that go there. */
static void fbgemm(QuantConfig *config) {
    config->activation.bits = config->edge_bits = 7;
    config->weight.full_range = true;
}

/* The quantizer of the PyTorch demo by Jermmy: activations and weights unsigned and affine,
 * extremes of all that was seen, gradients everywhere. */
static void affine(QuantConfig *config) {
    config->weight = (QuantSpec){.bits = 8};
    config->method = method_find("minmax");
    config->ste = STE_NONE;
}

static void as_it_is(QuantConfig *config) {
    (void)config;
}

static const struct {
    const char *name;
    void (*change)(QuantConfig *config); /* the default */
} presets[] = {
    {"default", as_it_is},
    {"qnnpack", qnnpack},
    {"fbgemm", fbgemm},
    {"seed-per-tensor-affine", affine},
};
enum { PRESETS = sizeof presets / sizeof *presets };

const char *preset_name(int index) {
    return index < PRESETS ? presets[index].name : NULL;
}

bool quant_config_preset(const char *name, QuantConfig *config) {
    for (int i = 0; i < PRESETS; i++)
        if (strcmp(presets[i].name, name) == 0) {
            *config = quant_config_default();
            presets[i].change(config);
            return true;
        }
    return false;
}
