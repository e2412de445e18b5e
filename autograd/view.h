/* View: some elements of a sample, in an order of their own: what transposing, slicing and stepping
 * have in common. Element (i1, ..., ir) of the result is element
 *
 *     first + i1 step1 + ... + ir stepr
 *
 * of the sample that is looked at. No two are the same. */
#pragma once

#include "autograd/tensor.h"

typedef struct View {
    Shape shape; /* of the result's sample */
    size_t first;
    size_t step[MAX_RANK]; /* of each of its dimensions, in elements */
} View;

/* All of a sample in its own order. */
View view_whole(const Shape *sample);
/* Where element i of the result, counted in its order, lies in the sample. */
size_t view_at(const View *view, size_t i);
