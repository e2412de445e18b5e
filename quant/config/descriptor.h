/* QuantDescriptor: how one tensor is quantized, in the words of NVIDIA's pytorch-quantization, so
 * that what was written for it can be said here. Its grids are symmetric: Z = 0.
 *
 * Alone it quantizes any tensor (descriptor_quantize, the toolkit's TensorQuantizer). In a
 * configuration it stands where a QuantSpec does: num_bits is bits, unsigned is not signed,
 * narrow_range is not full_range, axis 0 is per_channel, calib_method the method, amax and
 * scale_amax are themselves. */
#pragma once

#include <jansson.h>

#include "autograd/tensor.h"
#include "quant/qparams.h"

enum { DESCRIPTOR_NAME = 64 };

typedef struct QuantDescriptor {
    int num_bits; /* 2 to 16; more than 8 simulates only: such a net is not frozen */
    char name[DESCRIPTOR_NAME];
    bool fake_quant;    /* reals on the grid; otherwise their codes */
    int axes;           /* how many of axis[]; 0: one scale for the tensor */
    int axis[MAX_RANK]; /* each index along these has its own scale; negative ones count from the
                           end */
    float
        amax; /* > 0: the range, whatever the values and axes are; 0: the largest absolute value */
    bool learn_amax;          /* train amax with the net; per tensor */
    float scale_amax;         /* > 0: multiplies amax; 0: as 1 */
    const char *calib_method; /* "max", "histogram", or a method by its name here */
    bool is_unsigned;         /* codes 0 .. 2^b-1, of values that are not negative */
    bool narrow_range;        /* without the lowest signed code, -2^(b-1) */
} QuantDescriptor;

/* 8 bits, fake, per tensor, calib_method max. */
QuantDescriptor descriptor_default(void);
/* The toolkit's nine predefined ones, "QUANT_DESC_8BIT_PER_TENSOR" and so on. False if there is
 * none of that name. */
bool descriptor_find(const char *name, QuantDescriptor *descriptor);
const char *descriptor_name(int index); /* their names by number, NULL past the last */

/* From a JSON object of the fields above (num_bits, ..., unsigned, narrow_range; axis null, a
 * number or a list), or a predefined one's name. ERROR_INPUT, naming it, for a member that is
 * unknown, of a wrong type or contradicts another. */
bool descriptor_from_json(const json_t *json, QuantDescriptor *descriptor, Error *error);
json_t *descriptor_to_json(const QuantDescriptor *descriptor); /* every field; a new reference */
/* ERROR_INPUT for fields that contradict each other or leave their range. */
bool descriptor_check(const QuantDescriptor *descriptor, Error *error);

/* One line, like the toolkit's print: "conv1: (8bit fake axis=(0) amax=2.5 calibrator=max)". Owned
 * by the arena. */
char *descriptor_text(const QuantDescriptor *descriptor, Arena *arena);

/* The spec that means the same to a net's value or weights. ERROR_INPUT for what a net here cannot
 * have: axes but output channels, learned ranges, codes in the place of values. */
bool descriptor_spec(const QuantDescriptor *descriptor, QuantSpec *spec, Error *error);
/* The other way, for symmetric specs; `name` may be NULL. */
QuantDescriptor descriptor_of(const QuantSpec *spec, const char *name);

/* y[x->count]: x quantized by the toolkit's formula, code = round(x * (bound / amax)), bound =
 * 2^(b-1+unsigned) - 1; fake: divided by that multiplier again. An amax of at most 2^-24 gives
 * zeros. ERROR_INPUT for an axis that x has not, for a negative x when unsigned, and for a NaN or
 * infinity. */
bool descriptor_quantize(const QuantDescriptor *descriptor, const Tensor *x, float *y,
                         Error *error);
