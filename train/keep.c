#include "train/keep.h"

#include <stdio.h>
#include <string.h>

/* Is the text what the pattern says? Only the last * can be wrong about where it ends: fnmatch
 * tries all, which a pattern from a file can make last forever. */
static bool matches(const char *pattern, const char *text) {
    const char *star = NULL, *resume = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            resume = text;
        } else if (*pattern == '?' || *pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star;
            text = ++resume;
        } else {
            return false;
        }
    }
    return pattern[strspn(pattern, "*")] == 0;
}

/* How many trainable parameters match; `now`: they are trained no more. */
static int keep(Graph *graph, const char *pattern, bool now) {
    int matching = 0;
    for (int i = 0; i < graph->nodes; i++)
        for (int k = 0; k < graph->node[i].params; k++) {
            Param *param = &graph->node[i].param[k];
            char name[NODE_NAME + 64];
            snprintf(name, sizeof name, "%s.%s", graph->node[i].name, param->name);
            if (!param->trainable || !matches(pattern, name)) continue;
            if (now) param->trainable = param->tensor->needs_grad = false;
            matching++;
        }
    return matching;
}

/* Patterns may overlap: all are looked for before anything is switched off. */
bool keep_parameters(Graph *graph, const char *patterns, Error *error) {
    for (int pass = 0; pass < 2; pass++)
        for (const char *at = patterns; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
            char pattern[128];
            int length = (int)strcspn(at, ",");
            bool fits = snprintf(pattern, sizeof pattern, "%.*s", length, at) < 128;
            if ((!fits || !keep(graph, pattern, pass == 1)) && pass == 0)
                return error_set(error, ERROR_USAGE,
                                 "--keep: no trainable parameter of %s matches \"%.*s\"",
                                 graph->name, length < 64 ? length : 64, at);
        }
    return !patterns || graph_parameters(graph) ||
           error_set(error, ERROR_USAGE, "--keep: nothing is left to train");
}
