/* Along dimension d: the input position under kernel place k at output position o; -1: padding. */
static int32_t P_place(const P_window_t *w, int32_t d, int32_t o, int32_t k) {
    int32_t at = o * w->stride[d] - w->padding[d] + k * w->dilation[d];
    return at >= 0 && at < w->in[d] ? at : -1;
}
