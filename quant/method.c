#include "quant/method.h"

#include <string.h>

#define METHOD(name) extern const Method name##_method;
#include "quant/methods.def"
#undef METHOD

const Method *const method_list[] = {
#define METHOD(name) &name##_method,
#include "quant/methods.def"
#undef METHOD
    NULL,
};

const Method *method_find(const char *name) {
    for (int i = 0; method_list[i]; i++)
        if (strcmp(method_list[i]->name, name) == 0) return method_list[i];
    return NULL;
}

const char *method_name(int index) {
    int count = (int)(sizeof method_list / sizeof *method_list) - 1;
    return index < count ? method_list[index]->name : NULL;
}

void bins_of(const Histogram *histogram, Bins *bins) {
    bins->bins = 0;
    for (int i = 0; i < HISTOGRAM_BINS; i++) {
        if (!histogram->count[i]) continue;
        bins->value[bins->bins] = ((float)(i - HISTOGRAM_HALF) + 0.5f) * histogram->width;
        bins->count[bins->bins++] = (double)histogram->count[i];
    }
}
