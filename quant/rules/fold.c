/* fold: a batch normalisation disappears into the weighted layer before it (quant/fold.h). prepare absorbs it where
 * it can; where it cannot, the net is refused: nothing stays float in silence. */
#include "quant/rule.h"

static bool check(const QNode *q, Error *error) {
    return error_set(error, ERROR_INPUT,
                     "%s: a batchnorm is quantized by folding it into the convolution or linear layer before it, "
                     "whose result nothing else may read; here it cannot be",
                     q->node->name);
}

const Rule fold_rule = {.name = "fold", .check = check};
