#pragma once

#include "quant/program.h"

/* Fills the table of the program's first instruction: the code of each byte of each channel. */
void quantize_table(Instr *instr, const Normalization *pixels, const QParams *grid);
