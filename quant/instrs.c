/* The list of instructions, alone in its file like that of layers (nn/layers.c). */
#include "quant/program.h"

#ifndef INSTRS
#define INSTRS "quant/instrs.def"
#endif

#define INSTR(name) extern const InstrKind name##_instr;
#include INSTRS
#undef INSTR

const InstrKind *const instr_list[] = {
#define INSTR(name) &name##_instr,
#include INSTRS
#undef INSTR
    NULL,
};
