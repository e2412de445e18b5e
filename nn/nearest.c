#include "nn/nearest.h"

#include <string.h>

enum { LONGEST = 64 };

static int least(int a, int b) { return a < b ? a : b; }

int edit_distance(const char *a, const char *b) {
    int rows = least((int)strlen(a), LONGEST), columns = least((int)strlen(b), LONGEST);
    int d[LONGEST + 1][LONGEST + 1]; /* d[i][j]: the first i letters of a into the first j of b */
    for (int i = 0; i <= rows; i++) d[i][0] = i;
    for (int j = 0; j <= columns; j++) d[0][j] = j;
    for (int i = 1; i <= rows; i++)
        for (int j = 1; j <= columns; j++) {
            int replace = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            d[i][j] = least(replace, least(d[i - 1][j], d[i][j - 1]) + 1);
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped) d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
        }
    return d[rows][columns];
}

bool is_near(const char *a, const char *b) {
    int longer = (int)(strlen(a) > strlen(b) ? strlen(a) : strlen(b));
    return edit_distance(a, b) <= (longer < 4 ? 1 : longer < 8 ? 2 : 3);
}
