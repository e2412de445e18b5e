/* The distance of names: optimal string alignment distance (Damerau-Levenshtein without overlapping
 * edits): the least number of insertions, deletions, substitutions and swaps of two neighbours.
 * With d[i][j] the distance of the first i letters of a to the first j of b:
 *
 *   d[i][j] = min(d[i-1][j] + 1, d[i][j-1] + 1, d[i-1][j-1] + (a_i != b_j),
 *                 d[i-2][j-2] + 1 if a_i = b_{j-1} and a_{i-1} = b_j) */
#include "nn/nearest.h"

#include <string.h>

enum { LONGEST = 32 /* letters; longer words have no neighbours */ };

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t distance(const char *a, size_t m, const char *b, size_t n) {
    size_t d[LONGEST + 1][LONGEST + 1];
    for (size_t i = 0; i <= m; i++) d[i][0] = i;
    for (size_t j = 0; j <= n; j++) d[0][j] = j;
    for (size_t i = 1; i <= m; i++)
        for (size_t j = 1; j <= n; j++) {
            size_t edit = smaller(d[i - 1][j], d[i][j - 1]) + 1;
            d[i][j] = smaller(edit, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = smaller(d[i][j], d[i - 2][j - 2] + 1);
        }
    return d[m][n];
}

Nearest nearest_to(const char *word, size_t length) {
    return (Nearest){.word = word, .length = length, .distance = length / 3 + 2};
}

void nearest_try(Nearest *nearest, const char *name) {
    size_t length = strlen(name);
    if (length > LONGEST || nearest->length > LONGEST || nearest->length == 0) return;
    size_t found = distance(nearest->word, nearest->length, name, length);
    if (found >= nearest->distance || found >= length) return;
    nearest->distance = found;
    nearest->best = name;
}
