#pragma once

#include "quant/program.h"

/* The code, as a byte, of byte p of channel c: normalisation and N1 together. */
uint8_t quantize_pixel(const Normalization *pixels, const QParams *grid, int c, uint8_t p);

/* Fills the table of the program's first instruction: the code of each byte of each channel. */
void quantize_table(Instr *instr, const Normalization *pixels, const QParams *grid);
