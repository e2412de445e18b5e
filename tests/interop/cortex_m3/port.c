/* Start, files and end of a program on a bare Cortex-M3. The stack lies lowest in RAM: one that
 * grows too far leaves RAM, and the processor stops. */
#include "port.h"

extern uint32_t stack_top[], data_start[], data_end[], data_load[], bss_start[], bss_end[];
int main(void);
void start(void);

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[2] = {
    (uintptr_t)stack_top, (uintptr_t)start}; /* all others are 0: faults end in a lockup */

/* --- semihosting: Arm's specification, 2.0 --- */

enum { SYS_OPEN = 1, SYS_CLOSE = 2, SYS_WRITE = 5, SYS_READ = 6, SYS_EXIT_EXTENDED = 0x20 };
enum { OPEN_RB = 1, OPEN_WB = 5, APPLICATION_EXIT = 0x20026 };

static int ask(int operation, const void *words) {
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = words;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

FILE *fopen(const char *name, const char *mode) {
    uintptr_t words[3] = {(uintptr_t)name, mode[0] == 'r' ? OPEN_RB : OPEN_WB, 0};
    while (name[words[2]]) words[2]++;
    int handle = ask(SYS_OPEN, words);
    return handle > 0 ? (FILE *)(uintptr_t)handle : NULL;
}

/* Asks for size bytes; 1 if all were moved (the answer is how many were not). */
static size_t move(int operation, const void *data, size_t size, FILE *file) {
    uintptr_t words[3] = {(uintptr_t)file, (uintptr_t)data, size};
    return ask(operation, words) == 0;
}

size_t fread(void *data, size_t size, size_t count, FILE *file) {
    return move(SYS_READ, data, size * count, file);
}
size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    return move(SYS_WRITE, data, size * count, file);
}
int fclose(FILE *file) {
    uintptr_t words[1] = {(uintptr_t)file};
    return ask(SYS_CLOSE, words);
}

/* --- what a compiler takes for granted, also without a library --- */

void *memcpy(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);

void *memcpy(void *to, const void *from, size_t count) {
    for (size_t i = 0; i < count; i++) ((volatile char *)to)[i] = ((const char *)from)[i];
    return to;
}
void *memset(void *to, int value, size_t count) {
    for (size_t i = 0; i < count; i++) ((volatile char *)to)[i] = (char)value;
    return to;
}

/* --- start --- */

void start(void) {
    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to < data_end;) *to++ = *from++;
    for (uint32_t *to = bss_start; to < bss_end;) *to++ = 0;
    uintptr_t words[2] = {APPLICATION_EXIT, (uintptr_t)main()};
    ask(SYS_EXIT_EXTENDED, words);
    for (;;) {
    }
}
