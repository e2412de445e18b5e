/* The text form of a graph: one node a line, `name = layer inputs... field=value...`, # comments.
 * Errors say SOURCE:line:column. CRLF, a byte order mark, tabs and a missing last newline are fine.
 */
#include <stdio.h>
#include <string.h>

#include "nn/graph.h"
#include "nn/nearest.h"

enum { WORDS_MOST = 64, FIELDS_MOST = 16 };

/* One line cut into words: "name" "=" "layer" then inputs and field=value. */
typedef struct Line {
    const char *source;
    int number;
    int words;
    char *word[WORDS_MOST];
    int column[WORDS_MOST];
} Line;

typedef struct Position {
    const Line *line;
    int word; /* whose column a message shows */
} Position;

static bool fail_at(Error *error, Position at, const char *message) {
    const Line *line = at.line;
    int last = line->words - 1, word = at.word > last ? last : at.word;
    int column = line->column[word] + (at.word > last ? (int)strlen(line->word[word]) : 0);
    return error_set(error, ERROR_INPUT, "%s:%d:%d: %s", line->source, line->number, column,
                     message);
}

#define FAIL(line, word, ...)                                                                      \
    do {                                                                                           \
        char text_[1024];                                                                          \
        snprintf(text_, sizeof text_, __VA_ARGS__);                                                \
        return fail_at(error, (Position){line, word}, text_);                                      \
    } while (0)

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

static bool is_name(const char *word) {
    for (const char *c = word; *c; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || *c == '_';
        bool later = (*c >= '0' && *c <= '9') || *c == '.' || *c == '-';
        if (!letter && !(later && c > word)) return false;
    }
    return *word && strlen(word) < NODE_NAME;
}

/* Cuts `text` (changed) into words; the first '=' with blanks around it or not stands alone. */
static bool cut_line(Line *line, char *text, Error *error) {
    char *c = text;
    bool assigned = false; /* the '=' of the assignment has been seen */
    line->words = 0;
    char *comment = strchr(text, '#');
    if (comment) *comment = 0;
    while (*c) {
        if (is_space(*c)) {
            *c++ = 0;
            continue;
        }
        if (line->words == WORDS_MOST) FAIL(line, line->words - 1, "too many words in one line");
        line->column[line->words] = (int)(c - text) + 1;
        if (!assigned && *c == '=') {
            assigned = true;
            line->word[line->words++] = (char *)"=";
            *c++ = 0;
            continue;
        }
        line->word[line->words++] = c;
        while (*c && !is_space(*c) && !(!assigned && *c == '=')) c++;
    }
    return true;
}

static bool find_layer(const Line *line, const Layer **layer, Error *error) {
    *layer = layer_find(line->word[2]);
    if (*layer) return true;
    const Layer *near = layer_nearest(line->word[2]);
    if (near) FAIL(line, 2, "unknown layer '%s', did you mean '%s'?", line->word[2], near->name);
    FAIL(line, 2, "unknown layer '%s'", line->word[2]);
}

/* The words after the layer: names of earlier nodes, until the first field. */
static bool read_inputs(Graph *graph, const Line *line, const Layer *layer, int in[], int *inputs,
                        Error *error) {
    *inputs = 0;
    for (int w = 3; w < line->words && !strchr(line->word[w], '='); w++) {
        const Node *node = graph_find(graph, line->word[w]);
        if (!node) FAIL(line, w, "no node '%s' above this line", line->word[w]);
        if (*inputs == LAYER_MAX_INPUTS) FAIL(line, w, "more than %d inputs", LAYER_MAX_INPUTS);
        in[(*inputs)++] = node->index;
    }
    for (int w = 3 + *inputs; w < line->words; w++)
        if (!strchr(line->word[w], '='))
            FAIL(line, w, "'%s' after a field: inputs come first", line->word[w]);
    int wanted = layer->inputs;
    if (wanted == INPUTS_MANY ? *inputs < 2 : *inputs != wanted)
        FAIL(line, 3, "%s takes %s%d input%s, here %s %d", layer->name,
             wanted == INPUTS_MANY ? "at least " : "", wanted == INPUTS_MANY ? 2 : wanted,
             wanted == 1 ? "" : "s", *inputs == 1 ? "is" : "are", *inputs);
    return true;
}

static bool read_field(const Line *line, int w, const Layer *layer, int spatial, void *spec,
                       bool given[], Error *error) {
    char *value = strchr(line->word[w], '=');
    *value++ = 0;
    const Field *field = field_find(layer->fields, line->word[w]);
    if (!field) {
        char known[512] = "";
        for (const Field *f = layer->fields; f && f->name; f++)
            snprintf(known + strlen(known), sizeof known - strlen(known), " %s", f->name);
        FAIL(line, w, "%s has no field '%s'; it has:%s", layer->name, line->word[w],
             *known ? known : " none");
    }
    if (given[field - layer->fields]) FAIL(line, w, "%s is given twice", field->name);
    given[field - layer->fields] = true;
    if (!field->type->parse(field, spatial, value, (char *)spec + field->offset)) {
        char range[64] = "", words[256] = "";
        if (field->most > field->least)
            snprintf(range, sizeof range, " from %g to %g", field->least, field->most);
        for (int i = 0; field->choices && field->choices[i]; i++)
            snprintf(words + strlen(words), sizeof words - strlen(words), " %s", field->choices[i]);
        FAIL(line, w, "%s=%s: expected %s%s%s", field->name, value, field->type->expects, range,
             words);
    }
    value[-1] = '='; /* the word is whole again: messages count its letters */
    return true;
}

/* "x 1x28x28 -> conv1 40x26x26 -> ...": how the sizes came about, the last few nodes. */
static void shape_chain(const Graph *graph, char *text, size_t size) {
    enum { SHOWN = 8 };
    int first = graph->nodes > SHOWN ? graph->nodes - SHOWN : 0;
    size_t used = 0;
    text[0] = 0;
    for (int i = first; i < graph->nodes && used < size; i++) {
        char shape[SHAPE_TEXT];
        used += (size_t)snprintf(text + used, size - used, "%s%s %s", i > first ? " -> " : "",
                                 graph->node[i].name, shape_text(&graph->node[i].shape, shape));
    }
}

static bool read_node(Graph *graph, Line *line, Error *error) {
    if (line->words < 3 || strcmp(line->word[1], "=") != 0)
        FAIL(line, line->words > 1 ? 1 : 0, "expected: name = layer inputs... field=value...");
    if (!is_name(line->word[0]))
        FAIL(line, 0, "'%s' is no name (letters, digits, _ . -; at most %d)", line->word[0],
             NODE_NAME - 1);
    if (graph_find(graph, line->word[0])) FAIL(line, 0, "there is already a '%s'", line->word[0]);
    const Layer *layer;
    if (!find_layer(line, &layer, error)) return false;
    bool is_input = layer->inputs == 0;
    if (is_input != (graph->nodes == 0))
        FAIL(line, 2,
             is_input ? "a net has one input, its first node"
                      : "the first node must be the input: x = input shape=1x28x28");
    int in[LAYER_MAX_INPUTS], inputs;
    if (!read_inputs(graph, line, layer, in, &inputs, error)) return false;

    int spatial = layer->spatial ? layer->spatial : inputs ? graph->node[in[0]].shape.rank - 1 : 0;
    if (spatial > SPATIAL) spatial = SPATIAL;
    bool given[FIELDS_MOST] = {0};
    void *spec = arena_zeros(graph->arena, layer->spec_size);
    fields_default(layer->fields, spatial, spec);
    for (int w = 3 + inputs; w < line->words; w++)
        if (!read_field(line, w, layer, spatial, spec, given, error)) return false;
    for (int i = 0; layer->fields && layer->fields[i].name; i++)
        if (!given[i] && !layer->fields[i].fallback)
            FAIL(line, line->words, "%s needs %s=", layer->name, layer->fields[i].name);
    fields_follow(layer->fields, spatial, given, spec);

    Error reason = {0};
    if (!graph_add(graph, line->word[0], layer, spec, inputs, in, &reason)) {
        char chain[700];
        shape_chain(graph, chain, sizeof chain);
        FAIL(line, 0, "%s: %.250s%s%s", line->word[0], reason.message,
             *chain ? "; sizes so far: " : "", chain);
    }
    return true;
}

typedef struct Place {
    int line, column;
} Place;

/* Reads all lines; place[i] becomes where node i begins. */
static bool read_lines(Graph *graph, Line *line, const char *text, size_t size, Place place[],
                       Error *error) {
    for (const char *end = text + size; text < end;) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t length = (size_t)((newline ? newline : end) - text);
        if (++line->number > NET_LINES_MOST)
            return error_set(error, ERROR_INPUT, "%s:%d:1: more than %d lines", line->source,
                             line->number, NET_LINES_MOST);
        const char *nul = memchr(text, 0, length);
        if (nul)
            return error_set(error, ERROR_INPUT, "%s:%d:%d: a NUL byte: this is no text",
                             line->source, line->number, (int)(nul - text) + 1);
        char *copy = arena_text(graph->arena, "%.*s", (int)length, text);
        text += length + (newline != NULL);
        if (!cut_line(line, copy, error)) return false;
        if (!line->words) continue;
        if (!read_node(graph, line, error)) return false;
        place[graph->nodes - 1] = (Place){line->number, line->column[0]};
    }
    return true;
}

static bool read_net(Graph *graph, const char *text, size_t size, const char *source,
                     Error *error) {
    if (size > NET_TEXT_MOST)
        return error_set(error, ERROR_INPUT, "%s: a net of %zu bytes, at most %d", source, size,
                         NET_TEXT_MOST);
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) text += 3, size -= 3;
    Line line = {.source = source};
    Place place[GRAPH_MAX_NODES];
    if (!read_lines(graph, &line, text, size, place, error)) return false;
    Error reason = {0};
    const Node *node = NULL;
    if (graph_complete(graph, &node, &reason)) return true;
    Place at = node ? place[node->index] : (Place){line.number + !line.number, 1};
    return error_set(error, ERROR_INPUT, "%s:%d:%d: %s", source, at.line, at.column,
                     reason.message);
}

Graph *graph_parse(const char *text, size_t size, const char *source, Error *error) {
    const char *slash = strrchr(source, '/');
    Graph *graph = graph_new(slash ? slash + 1 : source);
    if (read_net(graph, text, size, source, error)) return graph;
    graph_free(graph);
    return NULL;
}

static char *node_text(const Graph *graph, const Node *node, Arena *arena) {
    const Layer *layer = node->layer;
    int spatial = layer->spatial ? layer->spatial
                  : node->inputs ? graph->node[node->in[0]].shape.rank - 1
                                 : 0;
    if (spatial > SPATIAL) spatial = SPATIAL;
    char *text = arena_text(arena, "%s = %s", node->name, layer->name);
    for (int i = 0; i < node->inputs; i++)
        text = arena_text(arena, "%s %s", text, graph->node[node->in[i]].name);
    for (const Field *f = layer->fields; f && f->name; f++) {
        char value[FIELD_TEXT], fallback[FIELD_TEXT] = "";
        f->type->print(f, spatial, (char *)node->spec + f->offset, value, sizeof value);
        if (f->fallback && f->fallback[0] == '@') {
            const Field *source = field_find(layer->fields, f->fallback + 1);
            source->type->print(source, spatial, (char *)node->spec + source->offset, fallback,
                                sizeof fallback);
        } else if (f->fallback) {
            snprintf(fallback, sizeof fallback, "%s", f->fallback);
        }
        if (strcmp(value, fallback) != 0)
            text = arena_text(arena, "%s %s=%s", text, f->name, value);
    }
    return text;
}

char *graph_text(const Graph *graph, Arena *arena) {
    char *text = arena_text(arena, "%s", "");
    for (int i = 0; i < graph->nodes; i++)
        text = arena_text(arena, "%s%s\n", text, node_text(graph, &graph->node[i], arena));
    return text;
}
