/* Files for a processor without an operating system: semihosting, a breakpoint by which the program
 * asks its debugger, here the emulator, to do it. The few functions of stdio.h that c_main.c calls.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct File FILE;

FILE *fopen(const char *name, const char *mode);                 /* "rb" or "wb" */
size_t fread(void *data, size_t size, size_t count, FILE *file); /* count: 1 */
size_t fwrite(const void *data, size_t size, size_t count, FILE *file);
int fclose(FILE *file);
