/* A quantized net in one line, for the tests of quantization. What cannot be made fails the test.
 */
#pragma once

#include "quant/quantnet.h"

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
/* Every value gets the range lo .. hi; or what it has on normal random inputs. */
void quantized_ranges(QuantNet *net, float lo, float hi);
void quantized_calibrate(QuantNet *net);
