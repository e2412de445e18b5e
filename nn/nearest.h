/* "Did you mean": how far two words are from each other. */
#pragma once

#include <stdbool.h>

/* Edit distance of two words: insertions, deletions, replacements and swaps of neighbours (optimal string
 * alignment), at most 64 characters of each. */
int edit_distance(const char *a, const char *b);
/* True when `a` is near enough to `b` to be a slip of the fingers. */
bool is_near(const char *a, const char *b);
