/* A quantized net in one line, for the tests of quantization. What cannot be made fails the test.
 */
#pragma once

#include "quant/program.h"

enum { QUANTIZED_SAMPLES = 4 };

/* The net that the text describes, with the parameters of a fixed seed. The caller owns it:
 * graph_free. */
Graph *quantized_graph(const char *text);
/* Prepared: with this configuration, or the default one. The caller owns net and graph:
 * quantized_free. */
QuantNet *quantized_with(Graph *graph, const QuantConfig *config);
QuantNet *quantized_net(const char *text);
void quantized_free(QuantNet *net);

const QNode *quantized_node(const QuantNet *net, const char *name);
/* The range of one value, or of every value, becomes lo .. hi; or what it is on normal random
 * inputs.
 */
void quantized_range(const QuantNet *net, const char *name, float lo, float hi);
void quantized_ranges(QuantNet *net, float lo, float hi);
void quantized_calibrate(QuantNet *net);
/* All parameters that train have a gradient, and it is zero. */
void quantized_clear_gradients(const Graph *graph);

void quantized_freeze(QuantNet *net);
/* Freezes, and runs the program on one image whose pixels are the input's codes: mean 0, std 1 and
 * the input's range 0 .. 1 make pixel p the code p. The output's codes, in the graph's order. */
void quantized_codes(QuantNet *net, const uint8_t *pixels, uint8_t *code);
/* Both engines compute the same codes, all of them, and the same predictions from these images, x
 * as they see the pixels; the net was frozen, and is set to quant_exact. Says `what` if not;
 * returns how many codes were compared. */
int64_t assert_engines_agree(const char *what, QuantNet *net, const Program *program, int samples,
                             const float *x, const uint8_t *pixels);
