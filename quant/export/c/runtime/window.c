/* How a kernel moves over a value [depth][height][width][channels]. */
typedef struct {
    int32_t in[3], out[3];
    int32_t kernel[3], stride[3], padding[3], dilation[3];
} P_window_t;
