/* Transposed convolution: each output gathers what inputs would scatter.
 *
 * The input position along dimension d that kernel place k brings to output position o; -1: none.
 */
static int32_t P_source(const P_window_t *w, int32_t d, int32_t o, int32_t k) {
    int32_t steps = o + w->padding[d] - k * w->dilation[d], stride = w->stride[d];
    return steps >= 0 && steps % stride == 0 && steps / stride < w->in[d] ? steps / stride : -1;
}

static int32_t P_conv_transpose_sum(const P_conv_t *c, int32_t o, int32_t d, int32_t h, int32_t w,
                                    const uint8_t *x) {
    const P_window_t *a = &c->window;
    const int32_t *kernel = a->kernel;
    int32_t pixel = c->groups * c->channels, sum = 0, at = o * c->weights.depth, i, j, k;
    x += o / c->outputs * c->channels;
    for (i = 0; i < kernel[0]; i++)
        for (j = 0; j < kernel[1]; j++)
            for (k = 0; k < kernel[2]; k++, at += c->channels) {
                int32_t from_d = P_source(a, 0, d, i), from_h = P_source(a, 1, h, j),
                        from_w = P_source(a, 2, w, k);
                if (from_d < 0 || from_h < 0 || from_w < 0) continue;
                from_w += (from_d * a->in[1] + from_h) * a->in[2];
                sum += c->weights.dot(&c->weights, o, at, x + from_w * pixel, c->channels);
            }
    return sum;
}

static void P_conv_transpose(const P_conv_t *c, const uint8_t *x, uint8_t *y) {
    const int32_t *out = c->window.out;
    int32_t d, h, w, o;
    for (d = 0; d < out[0]; d++)
        for (h = 0; h < out[1]; h++)
            for (w = 0; w < out[2]; w++)
                for (o = 0; o < c->groups * c->outputs; o++)
                    *y++ = P_weighted(&c->weights, o, P_conv_transpose_sum(c, o, d, h, w, x));
}
