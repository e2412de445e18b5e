/* A convolution, transposed or not, of 1 to 3 dimensions. */
typedef struct {
    P_window_t window;
    int32_t groups, channels, outputs; /* the last two of one group */
    P_weights_t weights;               /* an output's: kernel places, then channels */
} P_conv_t;
