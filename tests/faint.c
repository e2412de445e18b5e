#include "tests/faint.h"

#include "autograd/rng.h"
#include "tests/scratch.h"

enum { SIDE = 6, IMAGE = SIDE * SIDE, TRAIN = 200, TEST = 120 };

static void write_split(const char *images_name, const char *labels_name, int count,
                        uint64_t seed) {
    static Bytes images, labels;
    Rng rng = rng_stream(seed, RNG_TEST, 0);
    images.count = labels.count = 0;
    bytes_u32(&images, 0x0803);
    bytes_u32(&images, (uint32_t)count);
    bytes_u32(&images, SIDE);
    bytes_u32(&images, SIDE);
    bytes_u32(&labels, 0x0801);
    bytes_u32(&labels, (uint32_t)count);
    for (int n = 0; n < count; n++) {
        uint8_t label = (uint8_t)rng_below(&rng, 4), pixel[IMAGE];
        for (int i = 0; i < IMAGE; i++) {
            int quadrant = (i / SIDE >= SIDE / 2) * 2 + (i % SIDE >= SIDE / 2);
            pixel[i] = (uint8_t)(rng_below(&rng, 150) + (quadrant == label ? 50 : 0));
        }
        bytes_add(&images, pixel, IMAGE);
        bytes_add(&labels, &label, 1);
    }
    scratch_write(images_name, &images);
    scratch_write(labels_name, &labels);
}

int faint_setup(void **state) {
    if (program_setup(state) != 0) return -1;
    write_split("train-images-idx3-ubyte", "train-labels-idx1-ubyte", TRAIN, 1);
    write_split("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", TEST, 2);
    file_text("tiny.net",
              "x = input shape=1x6x6\nc1 = conv2d x out=6 kernel=3\nr1 = relu c1\n"
              "f = flatten r1\nh = linear f out=12\nr2 = relu h\nfc = linear r2 out=10\n");
    must("train --model tiny.net --data . --epochs 12 --batch 16 --lr 0.05 -q -o float");
    return 0;
}
