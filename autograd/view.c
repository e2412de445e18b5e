#include "autograd/view.h"

View view_whole(const Shape *sample) {
    View view = {.shape = *sample};
    size_t step = 1;
    for (int d = sample->rank - 1; d >= 0; d--) {
        view.step[d] = step;
        step *= (size_t)sample->dim[d];
    }
    return view;
}

size_t view_at(const View *view, size_t i) {
    size_t at = view->first;
    for (int d = view->shape.rank - 1; d >= 0; d--) {
        size_t size = (size_t)view->shape.dim[d];
        at += i % size * view->step[d];
        i /= size;
    }
    return at;
}
