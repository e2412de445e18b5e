#include "tests/golden.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

Golden golden_open(const char *file, const char *table) {
    Golden golden = {.name = file, .table = table};
    char path[128], line[256], name[64];
    snprintf(path, sizeof path, "tests/golden/%s", file);
    golden.file = fopen(path, "r");
    if (!golden.file) fail_msg("%s cannot be opened", path);
    while (fgets(line, sizeof line, golden.file)) {
        int end = 0;
        if (sscanf(line, "%63s %d %*[a-z]%n", name, &golden.count, &end) != 2 || line[end] != ':')
            continue;
        if (strcmp(name, table) == 0 && golden.count > 0) return golden;
    }
    fail_msg("%s has no table %s", path, table);
    return golden;
}

static int fields_of(const char *format) {
    int fields = 0;
    for (; *format; format++) fields += *format == '%';
    return fields;
}

/* Behind a table there is the next one's name, a comment, or nothing. */
static void close_table(Golden *golden) {
    char next;
    if (fscanf(golden->file, " %c", &next) == 1 && !isalpha((unsigned char)next) && next != '#')
        fail_msg("%s, %s: more than %d", golden->name, golden->table, golden->count);
    fclose(golden->file);
}

bool golden_case(Golden *golden, const char *format, ...) {
    if (golden->taken == golden->count) {
        close_table(golden);
        return false;
    }
    va_list fields;
    va_start(fields, format);
    int read = vfscanf(golden->file, format, fields);
    va_end(fields);
    if (read != fields_of(format))
        fail_msg("%s, %s: number %d of %d is not whole", golden->name, golden->table,
                 golden->taken + 1, golden->count);
    golden->taken++;
    return true;
}

const float *golden_floats(Arena *arena, const char *file, const char *table, int count) {
    Golden golden = golden_open(file, table);
    assert_int_equal(golden.count, count);
    float *numbers = arena_alloc(arena, sizeof *numbers * (size_t)count);
    for (int i = 0; golden_case(&golden, "%f", &numbers[i]); i++) continue;
    return numbers;
}
