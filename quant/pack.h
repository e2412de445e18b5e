/* Packed codes: how a frozen file keeps weights of fewer than 8 bits.
 *
 * A row is the codes of one output and begins at a byte. Of b bits each, code k has the bits k b to
 * k b + b - 1 of its row, its lowest first; bit i of a row is bit i % 8 of its byte i / 8: the
 * little end first. A code is the low b bits of its two's complement. The bits behind a row's last
 * code are 0. So -1, 2, 3 in 4 bits are the bytes 2f 03. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a row, and of all: one byte a code for 8 bits, where packing changes nothing. */
size_t pack_row(int count, int bits);
size_t pack_bytes(int rows, int count, int bits);

/* code[rows][count], each of which `bits` bits hold, 1 <= bits <= 8, to packed[pack_bytes]. */
void pack_codes(int rows, int count, int bits, const int8_t *code, uint8_t *packed);
/* And back. False if a bit behind a row's last code is set. */
bool unpack_codes(int rows, int count, int bits, const uint8_t *packed, int8_t *code);
