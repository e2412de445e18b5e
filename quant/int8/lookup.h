#pragma once

#include "quant/program.h"

/* The output's byte for each byte of the input's grid; the rest of the table stays as it is. */
void lookup_table(const QNode *q, uint8_t table[256]);
