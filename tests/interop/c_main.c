/* Runs an exported model on images: their bytes from the file "pixels", codes to the file "codes".
 * With a C library it is an ordinary program; the Cortex-M3's port.c gives it files without one. */
#ifdef PORT
#include "port.h"
#else
#include <stdio.h>
#endif

#include "model.h"

int main(void) {
    static uint8_t pixels[model_IN_SIZE];
    static model_in_t in[model_IN_SIZE];
    static model_out_t out[model_OUT_SIZE];
    FILE *from = fopen("pixels", "rb"), *to = fopen("codes", "wb");
    int test = model_selftest();
    if (!from || !to || test != 0) return 1;
    while (fread(pixels, sizeof pixels, 1, from) == 1) {
        model_codes_from_bytes(pixels, in);
        model_run(in, out);
        fwrite(out, sizeof out, 1, to);
    }
    return fclose(to) != 0;
}
