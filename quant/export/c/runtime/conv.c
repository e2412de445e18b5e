/* Convolution: places in the padding add nothing. */
static int32_t P_conv_sum(const P_conv_t *c, int32_t o, int32_t d, int32_t h, int32_t w,
                          const uint8_t *x) {
    const P_window_t *a = &c->window;
    const int32_t *kernel = a->kernel;
    int32_t pixel = c->groups * c->channels, sum = 0, at = o * c->weights.depth, i, j, k, run;
    /* places that lie side by side in input and weights are one run */
    int joined = c->groups == 1 && a->dilation[2] == 1;
    x += o / c->outputs * c->channels;
    for (i = 0; i < kernel[0]; i++)
        for (j = 0; j < kernel[1]; j++, at += kernel[2] * c->channels) {
            int32_t from_d = P_place(a, 0, d, i), from_h = P_place(a, 1, h, j);
            const uint8_t *line;
            if (from_d < 0 || from_h < 0) continue;
            line = x + (from_d * a->in[1] + from_h) * a->in[2] * pixel;
            for (k = 0; k < kernel[2]; k += run) {
                int32_t from_w = P_place(a, 2, w, k);
                run = 1;
                if (from_w < 0) continue;
                while (joined && k + run < kernel[2] && from_w + run < a->in[2]) run++;
                sum += c->weights.dot(&c->weights, o, at + k * c->channels, line + from_w * pixel,
                                      run * c->channels);
            }
        }
    return sum;
}

static void P_conv(const P_conv_t *c, const uint8_t *x, uint8_t *y) {
    const int32_t *out = c->window.out;
    int32_t d, h, w, o;
    for (d = 0; d < out[0]; d++)
        for (h = 0; h < out[1]; h++)
            for (w = 0; w < out[2]; w++)
                for (o = 0; o < c->groups * c->outputs; o++)
                    *y++ = P_weighted(&c->weights, o, P_conv_sum(c, o, d, h, w, x));
}
