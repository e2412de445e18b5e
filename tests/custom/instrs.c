#define INSTRS "tests/custom/instrs.def"
#include "quant/instrs.c"
