/* The text of a net is a fixed point: reading it and writing it gives the same text and the same
 * net, for the zoo and for random nets of all layers; and no damaged text does harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "autograd/rng.h"
#include "nn/zoo.h"
#include "tests/reference.h"
#include "train/text.h"

static Graph *parse(const char *text, Error *error) {
    return graph_parse(text, strlen(text), "net", error);
}

static void assert_same_node(const Node *a, const Node *b) {
    assert_string_equal(a->name, b->name);
    assert_ptr_equal(a->layer, b->layer);
    assert_int_equal(a->inputs, b->inputs);
    assert_memory_equal(a->in, b->in, sizeof *a->in * (size_t)a->inputs);
    assert_true(shape_equal(&a->shape, &b->shape));
    assert_int_equal(a->params, b->params);
    if (a->layer->spec_size) assert_memory_equal(a->spec, b->spec, a->layer->spec_size);
}

/* Writes the graph, reads that, compares; frees the graph. */
static void assert_fixed_point(Graph *graph) {
    Error error = {0};
    char *text = graph_text(graph, graph->arena);
    Graph *again = parse(text, &error);
    if (!again) fail_msg("%s\n%s", error.message, text);
    assert_string_equal(graph_text(again, again->arena), text);
    assert_int_equal(again->nodes, graph->nodes);
    for (int i = 0; i < graph->nodes; i++) assert_same_node(&graph->node[i], &again->node[i]);
    graph_free(again);
    graph_free(graph);
}

static void test_zoo(void **state) {
    (void)state;
    for (const ZooNet *net = zoo_list; net->name; net++) {
        Error error = {0};
        Graph *graph = parse(net->text, &error);
        if (!graph) fail_msg("%s", error.message);
        assert_fixed_point(graph);
    }
}

/* --- random nets --- */

/* A value that the field takes, small where sizes grow with it. A shape is the last one turned; for
 * the input, where that has rank 0, any. */
static void random_value(Rng *rng, const Field *f, const Shape *last, char *text, size_t size) {
    int spatial = last->rank - 1, turn = last->rank ? (int)rng_below(rng, (uint32_t)last->rank) : 0;
    int least = (int)f->least, most = f->most > least + 4 ? least + 4 : (int)f->most;
    *text = 0;
    if (f->type == &field_int) {
        snprintf(text, size, "%d", random_between(rng, least, most));
    } else if (f->type == &field_bool) {
        snprintf(text, size, "%s", rng_below(rng, 2) ? "true" : "false");
    } else if (f->type == &field_choice) {
        int count = 0;
        while (f->choices[count]) count++;
        snprintf(text, size, "%s", f->choices[rng_below(rng, (uint32_t)count)]);
    } else if (f->type == &field_float) {
        double u = (double)rng_uniform(rng), digits = rng_below(rng, 9) + 1;
        snprintf(text, size, "%.*g", (int)digits, f->least + u * u * (f->most - f->least));
    } else if (f->type == &field_sizes) {
        int count = spatial < 1 || rng_below(rng, 2) ? 1 : spatial;
        for (int i = 0; i < count; i++)
            text_append(text, size, "%s%d", i ? "x" : "", random_between(rng, least, most));
    } else if (f->type == &field_padding) {
        int ends = 1 + !rng_below(rng, 3), count = spatial < 1 || rng_below(rng, 2) ? 1 : spatial;
        for (int i = 0; i < ends * count; i++)
            text_append(text, size, "%s%d",
                        !i           ? ""
                        : i == count ? ":"
                                     : "x",
                        random_between(rng, least, most));
    } else if (f->type == &field_shape && last->rank) {
        for (int i = 0; i < last->rank; i++)
            text_append(text, size, "%s%d", i ? "x" : "", last->dim[(i + turn) % last->rank]);
    } else if (f->type == &field_shape) {
        int count = rng_below(rng, 3) ? random_between(rng, 2, 4) : random_between(rng, 1, 5);
        for (int i = 0; i < count; i++)
            text_append(text, size, "%s%d", i ? "x" : "", random_between(rng, 1, i ? 20 : 4));
    } else {
        fail_msg("a value for the type of field %s", f->name);
    }
}

/* A line for node number `index` of that layer. Its first input is the node before, so that each is
 * read. */
static void random_line(Rng *rng, const Layer *layer, const Shape *last, int index, char *text,
                        size_t size) {
    snprintf(text, size, "n%d = %s", index, layer->name);
    int inputs = layer->inputs == INPUTS_MANY ? random_between(rng, 2, 4) : layer->inputs;
    for (int i = 0; i < inputs; i++)
        text_append(text, size, " n%d", i ? random_between(rng, 0, index - 1) : index - 1);
    for (const Field *f = layer->fields; f && f->name; f++) {
        char value[FIELD_TEXT];
        if (f->fallback && rng_below(rng, 2)) continue;
        random_value(rng, f, last, value, sizeof value);
        text_append(text, size, " %s=%s", f->name, value);
    }
    text_append(text, size, "\n");
}

/* An input, a relu, and lines that fit, up to `nodes` or until nothing has fitted for a while;
 * placed[] counts the layers. */
static Graph *random_net(Rng *rng, int nodes, int placed[]) {
    char text[8192] = "", line[512];
    int layers = 0, input = 0;
    while (layer_list[layers]) layers++;
    while (layer_list[input]->inputs) input++;
    random_line(rng, layer_list[input], &(Shape){0}, 0, line, sizeof line);
    text_append(text, sizeof text, "%sn1 = relu n0\n", line);
    Graph *graph = parse(text, NULL);
    assert_non_null(graph);
    for (int tries = 0; graph->nodes < nodes && tries < 200; tries++) {
        int kind = (int)rng_below(rng, (uint32_t)layers);
        char *end = text + strlen(text);
        const Shape *last = &graph_output(graph)->shape;
        random_line(rng, layer_list[kind], last, graph->nodes, line, sizeof line);
        text_append(text, sizeof text, "%s", line);
        Error error = {0};
        Graph *longer = parse(text, &error);
        if (!longer) {
            assert_int_equal(error.code, ERROR_INPUT);
            *end = 0;
            continue;
        }
        graph_free(graph);
        graph = longer;
        placed[kind]++;
    }
    return graph;
}

static void test_random_nets(void **state) {
    (void)state;
    int placed[64] = {0};
    for (uint64_t seed = 0; seed < 800; seed++) {
        Rng rng = rng_stream(seed, RNG_TEST, 0);
        assert_fixed_point(random_net(&rng, 12, placed));
    }
    for (int i = 0; layer_list[i]; i++)
        if (layer_list[i]->inputs && placed[i] < 20)
            fail_msg("%s was placed %d times", layer_list[i]->name, placed[i]);
}

/* --- damage --- */

/* The text is a net, and then its own is a fixed point, or is refused with a place. */
static void read_damaged(const char *text, size_t size) {
    Error error = {0};
    Graph *graph = graph_parse(text, size, "net", &error);
    if (graph) {
        char *written = graph_text(graph, graph->arena);
        Graph *again = parse(written, &error);
        if (!again) fail_msg("%s\n%s", error.message, written);
        assert_string_equal(graph_text(again, again->arena), written);
        graph_free(again);
    } else {
        assert_int_equal(error.code, ERROR_INPUT);
        assert_int_equal(strncmp(error.message, "net:", 4), 0);
    }
    graph_free(graph);
}

static void test_damaged_texts(void **state) {
    (void)state;
    static const char bytes[] = {0, ' ', '\n', '=', '#', '9', 'x', '-', '\xff'};
    for (const ZooNet *net = zoo_list; net->name; net++) {
        char text[4096];
        size_t size = strlen(net->text);
        for (size_t at = 0; at < size; at++) {
            memcpy(text, net->text, size);
            for (int bit = 0; bit < 8; bit += net->text[at] == ' ' ? 4 : 1) {
                text[at] = (char)(net->text[at] ^ 1 << bit);
                read_damaged(text, size);
            }
            text[at] = bytes[at % sizeof bytes];
            read_damaged(text, size);
            memmove(text + at, net->text + at + 1, size - at - 1);
            read_damaged(text, size - 1); /* without the byte */
            memcpy(text, net->text, size);
            read_damaged(text, at); /* without the rest */
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zoo),
        cmocka_unit_test(test_random_nets),
        cmocka_unit_test(test_damaged_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
