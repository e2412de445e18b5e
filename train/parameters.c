#include "train/parameters.h"

#include <stdio.h>
#include <string.h>

#include "train/text.h"

enum { WORD = 128 };

Optimizer *train_optimizer(const Graph *graph, const OptimizerSpec *spec, Arena *arena) {
    Parameter *parameter = arena_alloc(arena, sizeof *parameter * GRAPH_MAX_NODES * NODE_PARAMS);
    int count = 0;
    for (int i = 0; i < graph->nodes; i++)
        for (int k = 0; k < graph->node[i].params; k++) {
            const Param *p = &graph->node[i].param[k];
            if (!p->trainable) continue;
            tensor_grad(arena, p->tensor);
            char *name = arena_text(arena, "%s.%s", graph->node[i].name, p->name);
            parameter[count++] = (Parameter){name, p->tensor, 1};
        }
    Optimizer *optimizer = optimizer_new(arena, *spec, count, parameter);
    optimizer_clear(optimizer);
    return optimizer;
}

/* --- by name --- */

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

/* The first word of a list; one that is too long for any name becomes empty. Returns the words
 * behind it, NULL when there are none. */
static const char *take_word(const char *list, char word[WORD]) {
    size_t length = strcspn(list, ",");
    snprintf(word, WORD, "%.*s", length < WORD ? (int)length : 0, list);
    return list[length] ? list + length + 1 : NULL;
}

/* How much of the first word a message shows. */
static int shown(const char *list) {
    int length = (int)strcspn(list, ",=");
    return length < 64 ? length : 64;
}

/* Patterns may overlap: all are looked for before anything is switched off. */
bool keep_parameters(Graph *graph, const char *patterns, Error *error) {
    char pattern[WORD];
    for (int pass = 0; pass < 2; pass++)
        for (const char *rest = patterns; rest;) {
            const char *given = rest;
            rest = take_word(rest, pattern);
            if (!keep(graph, pattern, pass == 1) && pass == 0)
                return error_set(error, ERROR_USAGE,
                                 "--keep: no trainable parameter of %s matches \"%.*s\"",
                                 graph->name, shown(given), given);
        }
    return !patterns || graph_parameters(graph) ||
           error_set(error, ERROR_USAGE, "--keep: nothing is left to train");
}

bool rate_parameters(const Optimizer *optimizer, const char *rates, Error *error) {
    char pattern[WORD];
    for (const char *rest = rates; rest;) {
        const char *given = rest;
        rest = take_word(rest, pattern);
        char *factor = strchr(pattern, '=');
        double rate;
        if (!factor || !text_number(factor + 1, &rate) || rate < 0)
            return error_set(error, ERROR_USAGE,
                             "--rates: \"%.*s\", expected NAME=FACTOR like *.bias=0.5",
                             shown(given), given);
        *factor = '\0';
        int matching = 0;
        for (int p = 0; p < optimizer->parameters; p++) {
            if (!matches(pattern, optimizer->parameter[p].name)) continue;
            optimizer->parameter[p].rate = rate;
            matching++;
        }
        if (!matching)
            return error_set(error, ERROR_USAGE, "--rates: no trainable parameter matches \"%.*s\"",
                             shown(given), given);
    }
    return true;
}
