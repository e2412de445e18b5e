/* For the tests of tables of accuracy: a data set that is not too easy, so that few bits cost
 * something, and a net of a second's training. */
#pragma once

#include "tests/program.h"

/* Group setup: as program_setup; here "." is the data set, tiny.net is a net of the layers c1, h
 * and fc, and the file "float" what training made of it. The class of an image is its bright
 * quadrant, and hard to see. */
enum { FAINT_C1 = 6 * 9, FAINT_H = 12 * 96, FAINT_FC = 10 * 12 /* weights of each */ };
int faint_setup(void **state);
