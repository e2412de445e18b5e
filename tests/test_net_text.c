/* The text of a net: every way to get it wrong and what is said about it, the forms that are the
 * same net, and that the canonical text is a fixed point. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "nn/graph.h"
#include "tests/scratch.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define X            "x = input shape=1x28x28\n"
#define MANY(text)   text text text text text text text text

static Graph *parse(const char *text, Error *error) {
    return graph_parse(text, strlen(text), "dir/net", error);
}

/* The canonical text of a net that must be right; owned by the arena. */
static char *canonical(const char *text, size_t size, Arena *arena) {
    Error error = {0};
    Graph *graph = graph_parse(text, size, "net", &error);
    if (!graph) fail_msg("%s\n%.*s", error.message, (int)size, text);
    char *written = graph_text(graph, arena);
    graph_free(graph);
    return written;
}

static void assert_refused(const char *text, size_t size, const char *place, const char *fragment) {
    Error error = {0};
    char begin[32];
    assert_null(graph_parse(text, size, "dir/net", &error));
    assert_error(&error, ERROR_INPUT, fragment);
    snprintf(begin, sizeof begin, "dir/net:%s: ", place);
    if (strncmp(error.message, begin, strlen(begin)) != 0)
        fail_msg("expected %s before: %s", begin, error.message);
}

typedef struct Wrong {
    const char *text, *place /* line:column */, *fragment;
} Wrong;

static void refuse_all(const Wrong *wrong, size_t count) {
    for (size_t i = 0; i < count; i++)
        assert_refused(wrong[i].text, strlen(wrong[i].text), wrong[i].place, wrong[i].fragment);
}

static void test_wrong_lines(void **state) {
    (void)state;
    static const Wrong wrong[] = {
        {"x", "1:1", "expected: name = layer"},
        {"x =", "1:3", "expected: name = layer"},
        {"  x input shape=1", "1:5", "expected: name = layer"},
        {"a b = input shape=1", "1:3", "expected: name = layer"},
        {"= input shape=1", "1:3", "expected: name = layer"},
        {"x == input shape=1", "1:4", "unknown layer '='"},
        {"1x = input shape=1", "1:1", "'1x' is no name"},
        {"x/y = input shape=1", "1:1", "'x/y' is no name"},
        {MANY("12345678") " = input shape=1", "1:1", "is no name"},
        {MANY("abcdefgh") " = input shape=1", "1:1", "is no name"}, /* 64 letters */
        {X "\t x = relu x", "2:3", "there is already a 'x'"},
        {X "r = relu y", "2:10", "no node 'y' above this line"},
        {X "r = relu r", "2:10", "no node 'r' above this line"},
        {X "a = relu b\nb = relu x", "2:10", "no node 'b' above this line"},
        {X "r = relu x )", "2:12", "no node ')'"},
        {X "r = relu " MANY(MANY("x ")), "2:130", "too many words"},
    };
    refuse_all(wrong, COUNT(wrong));
}

static void test_wrong_layers(void **state) {
    (void)state;
    static const Wrong wrong[] = {
        {X "c = conv2 x out=4 kernel=3", "2:5", "unknown layer 'conv2', did you mean 'conv2d'?"},
        {X "p = Maxpol x kernel=2", "2:5", "did you mean 'maxpool'?"},
        {X "b = batch_norm x", "2:5", "did you mean 'batchnorm'?"},
        {X "s = embedding x", "2:5", "unknown layer 'embedding'"},
        {X "r = relu", "2:9", "relu takes 1 input, here are 0"},
        {X "r = relu x x", "2:10", "relu takes 1 input, here are 2"},
        {X "a = add x", "2:9", "add takes 2 inputs, here is 1"},
        {X "a = add " MANY("x ") "x", "2:25", "more than 8 inputs"},
        {X "c = conv2d out=4 x kernel=3", "2:18", "'x' after a field: inputs come first"},
        {X "c = conv2d x out=4 x kernel=3", "2:20", "'x' after a field: inputs come first"},
        {"x = input shape=1 x", "1:19", "'x' after a field"},
        {"x = input x shape=1", "1:11", "no node 'x'"},
        {"r = relu x\n" X, "1:5", "the first node must be the input"},
        {X "y = input shape=1", "2:5", "a net has one input"},
        /* nothing to compute, or a result for nobody */
        {"", "1:1", "a net needs an input and a layer"},
        {"# nothing\n\n", "2:1", "a net needs an input and a layer"},
        {X, "1:1", "a net needs an input and a layer"},
        {X "  a = relu x\n\nb = relu x\n", "2:3", "nothing reads a"},
        {X "a = relu x\nb = relu a\nc = relu a\n", "3:1", "nothing reads b"},
    };
    refuse_all(wrong, COUNT(wrong));
}

static void test_wrong_fields(void **state) {
    (void)state;
    static const Wrong wrong[] = {
        {"x = input", "1:10", "input needs shape="},
        {X "c = conv2d x out=4", "2:19", "conv2d needs kernel="},
        {X "r = relu x p=1", "2:12", "relu has no field 'p'; it has: none"},
        {X "c = conv2d x out=4 kernal=3", "2:20", "no field 'kernal'; it has: out kernel stride"},
        {X "c = conv2d x =4 kernel=3", "2:14", "no field ''"},
        {X "c = conv2d x out=4 kernel=3 out=4", "2:29", "out is given twice"},
        {X "c = conv2d x out= kernel=3", "2:14", "out=: expected a whole number from 1 to 65536"},
        {X "c = conv2d x out=0 kernel=3", "2:14", "out=0: expected a whole number"},
        {X "c = conv2d x out=65537 kernel=3", "2:14", "out=65537"},
        {X "c = conv2d x out=99999999999999999999 kernel=3", "2:14", "expected a whole number"},
        {X "c = conv2d x out=4.0 kernel=3", "2:14", "out=4.0: expected a whole number"},
        {X "c = conv2d x out=+4 kernel=3", "2:14", "out=+4"},
        {X "c = conv2d x out=0x4 kernel=3", "2:14", "out=0x4"},
        {X "c = conv2d x out=4; kernel=3", "2:14", "out=4;"},
        {X "c = conv2d x out=4=4 kernel=3", "2:14", "out=4=4"},
        {X "c = conv2d x out=4 kernel=0", "2:20", "kernel=0: expected a whole number, or one for"},
        {X "c = conv2d x out=4 kernel=256", "2:20", "from 1 to 255"},
        {X "c = conv2d x out=4 kernel=3x", "2:20", "kernel=3x"},
        {X "c = conv2d x out=4 kernel=x3", "2:20", "kernel=x3"},
        {X "c = conv2d x out=4 kernel=3x3x3", "2:20", "kernel=3x3x3"},
        {X "c = conv2d x out=4 kernel=3x3x3x3", "2:20", "kernel=3x3x3x3"},
        {X "c = conv2d x out=4 kernel=3 stride=0", "2:29", "stride=0"},
        {X "c = conv2d x out=4 kernel=3 padding=-1", "2:29", "padding=-1"},
        {X "c = conv2d x out=4 kernel=3 padding=128", "2:29", "from 0 to 127"},
        {X "c = conv2d x out=4 kernel=3 padding=1:128", "2:29", "from 0 to 127"},
        {X "c = conv2d x out=4 kernel=3 padding=1:", "2:29", "padding=1:"},
        {X "c = conv2d x out=4 kernel=3 padding=:1", "2:29", "padding=:1"},
        {X "c = conv2d x out=4 kernel=3 padding=1:1:1", "2:29", "padding=1:1:1"},
        {X "c = conv2d x out=4 kernel=3 padding=1x1:1x1x1", "2:29", "padding=1x1:1x1x1"},
        {X "c = conv2d x out=4 kernel=3 dilation=128", "2:29", "from 1 to 127"},
        {X "c = conv2d x out=4 kernel=3 bias=yes", "2:29", "bias=yes: expected true or false"},
        {X "c = conv2d x out=4 kernel=3 init=he", "2:29",
         "one of its words default kaiming xavier"},
        {X "d = dropout x p=1", "2:15", "p=1: expected a number from 0 to 0.99"},
        {X "d = dropout x p=nan", "2:15", "p=nan"},
        {X "d = dropout x p=-0.1", "2:15", "p=-0.1"},
        {X "d = dropout x p=0,5", "2:15", "p=0,5"},
        {X "d = dropout x p=0.5e", "2:15", "p=0.5e"},
        {X "b = batchnorm x eps=0", "2:17", "eps=0"},
        {X "b = batchnorm x eps=1e999", "2:17", "eps=1e999"},
        {X "b = batchnorm x momentum=inf", "2:17", "momentum=inf"},
        {"x = input shape=0x28", "1:11", "shape=0x28: expected a shape (1x28x28)"},
        {"x = input shape=1x1x1x1x1x1x1x1", "1:11", "expected a shape"}, /* no room for a batch */
        {"x = input shape=1048577", "1:11", "expected a shape"},
        {"x = input shape=1048576x257", "1:11", "expected a shape"}, /* more than 2^28 values */
    };
    refuse_all(wrong, COUNT(wrong));
}

/* What does not fit is told with the way the sizes went. */
static void test_wrong_shapes(void **state) {
    (void)state;
    static const Wrong wrong[] = {
        {X "fc = linear x out=10", "2:1", "linear needs a flat input, not 1x28x28: put a flatten"},
        {X "f = flatten x\nc = conv2d f out=1 kernel=1", "3:1",
         "conv2d needs 2 spatial dimensions, but f is 784; sizes so far: x 1x28x28 -> f 784"},
        {"x = input shape=3x8\nc = conv2d x out=1 kernel=1", "2:1", "conv2d needs 2 spatial"},
        {X "f = flatten x\np = maxpool f kernel=1", "3:1",
         "a pool needs 1 to 3 spatial dimensions"},
        {X "f = flatten x\np = globalavgpool f", "3:1", "a pool needs 1 to 3 spatial dimensions"},
        {"x = input shape=1x1x1x1x1\np = avgpool x kernel=1", "2:1", "a pool needs 1 to 3"},
        {X "p = maxpool x kernel=29", "2:1", "a kernel of 29 does not fit into 1x28x28"},
        {X "p = maxpool x kernel=15\nq = maxpool p kernel=2", "3:1",
         "a kernel of 2 does not fit into 1x1x1; sizes so far: x 1x28x28 -> p 1x1x1"},
        {X "p = avgpool x kernel=2 padding=2", "2:1", "would lie in the padding alone"},
        {X "p = maxpool x kernel=2 padding=0:2", "2:1", "would lie in the padding alone"},
        {"x = input shape=1x41x41x41\np = maxpool x kernel=41", "2:1",
         "a window of 68921 places; at most 65535"},
        {X "c = conv2d x out=4 kernel=5\nd = conv2d c out=4 kernel=9 dilation=3", "3:1",
         "a kernel of 25 does not fit into 4x24x24; sizes so far: x 1x28x28 -> c 4x24x24"},
        {X "c = conv2d x out=4 kernel=3 groups=2", "2:1", "groups=2 must divide 1 input and 4"},
        {X "c = conv2d x out=4 kernel=3\nd = conv2d c out=6 kernel=3 groups=4", "3:1",
         "groups=4 must divide 4 input and 6 output channels"},
        {X "c = conv2d x out=4 kernel=3\na = add c x", "3:1",
         "the inputs differ: 4x26x26 and 1x28x28; sizes so far: x 1x28x28 -> c 4x26x26"},
        /* sizes that memory should not see */
        {X "f = flatten x\nfc = linear f out=1048576", "3:1",
         "1048576 x 784 weights, at most 2^28"},
        {"x = input shape=1024x4x4\nc = conv2d x out=65536 kernel=3", "2:1",
         "weights, at most 2^28"},
        {"x = input shape=1x65x65\nc = conv2d x out=65536 kernel=1", "2:1", "values, at most 2^28"},
        {"x = input shape=4\na = linear x out=65536\nb = linear a out=4096", "3:1",
         "b: a net of 268767232 parameters, at most 2^28"},
    };
    refuse_all(wrong, COUNT(wrong));
}

/* Bytes that only look like the right ones, and bytes that are no text. */
static void test_wrong_bytes(void **state) {
    (void)state;
    static const Wrong wrong[] = {
        {X "r = r\xd0\xb5lu x", "2:5", "unknown layer 'r\xd0\xb5lu'"}, /* Cyrillic e */
        {X "\xd1\x85 = relu x", "2:1", "is no name"},                  /* Cyrillic x */
        {X "r = relu \xd1\x85", "2:10", "no node '\xd1\x85'"},
        {X "p = maxpool x k\xd0\xb5rnel=2", "2:15", "no field 'k\xd0\xb5rnel'"},
        {X "p = maxpool x kernel=\xef\xbc\x92", "2:15",
         "expected a whole number"},                                  /* full-width 2 */
        {X "r \xef\xbc\x9d relu x", "2:3", "expected: name = layer"}, /* full-width = */
        {X "r\xc2\xa0= relu x", "2:1", "is no name"},                 /* no-break space */
        {"x = input shape=1\x0b", "1:11", "expected a shape"},        /* vertical tab */
        {"\xff\xfex = input shape=1", "1:1", "is no name"},           /* UTF-16's mark */
    };
    refuse_all(wrong, COUNT(wrong));
    static const char nul[] = X "r = re\0lu x\n";
    assert_refused(nul, sizeof nul - 1, "2:7", "NUL");
    assert_refused("", 1, "1:1", "NUL");
}

static void test_limits(void **state) {
    (void)state;
    static char text[NET_TEXT_MOST + 2];
    Arena *arena = arena_new();
    int used = sprintf(text, "%s", X "r = relu x\n#");
    memset(text + used, 'c', sizeof text - (size_t)used);
    assert_string_equal(canonical(text, NET_TEXT_MOST, arena), X "r = relu x\n");
    Error error = {0}; /* a size has no place in the text */
    assert_null(graph_parse(text, NET_TEXT_MOST + 1, "net", &error));
    assert_error(&error, ERROR_INPUT, "net: a net of 65537 bytes, at most 65536");

    memset(text + used - 1, '\n', NET_LINES_MOST);
    assert_string_equal(canonical(text, (size_t)used - 1 + NET_LINES_MOST - 2, arena),
                        X "r = relu x\n");
    assert_refused(text, (size_t)used - 1 + NET_LINES_MOST, "1025:1", "more than 1024 lines");

    used = sprintf(text, "%s", "n0 = input shape=1\n");
    for (int i = 1; i < GRAPH_MAX_NODES; i++)
        used += sprintf(text + used, "n%d = relu n%d\n", i, i - 1);
    assert_string_equal(canonical(text, (size_t)used, arena), text);
    used += sprintf(text + used, "n256 = relu n255\n");
    assert_refused(text, (size_t)used, "257:1", "more than 256 nodes");

    used = sprintf(text, "%.63s = input shape=1\nr = relu %.63s\n", MANY("abcdefgh"),
                   MANY("abcdefgh"));
    assert_string_equal(canonical(text, (size_t)used, arena), text);

    memset(text, 'a', sizeof text); /* a message is never longer than its room */
    memcpy(text, "x = ", 4);
    assert_refused(text, NET_TEXT_MOST, "1:5", "unknown layer 'aaaa");
    memcpy(text, "x = input shape=", 16);
    assert_refused(text, NET_TEXT_MOST, "1:11", "shape=aaaa");
    arena_free(arena);
}

/* Both ends of a field's range belong to it, as its table says them. */
static void test_field_ranges(void **state) {
    (void)state;
    for (int i = 0; layer_list[i]; i++)
        for (const Field *f = layer_list[i]->fields; f && f->name; f++) {
            char spec[512], text[64];
            if (f->type != &field_float && f->type != &field_int) continue;
            snprintf(text, sizeof text, "%.17g", f->least);
            if (!f->type->parse(f, 0, text, spec)) fail_msg("%s=%s", f->name, text);
            snprintf(text, sizeof text, "%.17g", f->most);
            if (!f->type->parse(f, 0, text, spec)) fail_msg("%s=%s", f->name, text);
            snprintf(text, sizeof text, "%.17g", (f->most + 1) * (1 + 1e-6)); /* 1e38 + 1 is 1e38 */
            if (f->type->parse(f, 0, text, spec)) fail_msg("%s=%s", f->name, text);
        }
}

static void test_same_net(void **state) {
    (void)state;
    static const char net[] = X "c = conv2d x out=4 kernel=3 stride=2x1\nb = batchnorm c\n"
                                "p = maxpool b kernel=2\nq = maxpool p kernel=2 stride=1\n";
    static const char *const forms[] = {
        X "c = conv2d x out=4 kernel=3 stride=2x1\nb = batchnorm c\np = maxpool b kernel=2\n"
          "q = maxpool p kernel=2 stride=1",
        "\xef\xbb\xbf" X "c=conv2d x out=4 kernel=3 stride=2x1\nb=batchnorm c\n"
        "p=maxpool b kernel=2\nq=maxpool p kernel=2 stride=1",
        "x = input shape=1x28x28\r\nc = conv2d x out=4 kernel=3 stride=2x1\r\n\r\nb = batchnorm "
        "c\r\n"
        "p = maxpool b kernel=2\r\nq = maxpool p kernel=2 stride=1\r\n",
        "\tx\t=\tinput\tshape=1x28x28\t\n  c =conv2d  x\tout=4 kernel=3 stride=2x1\nb= batchnorm "
        "c\n"
        "p = maxpool b kernel=2\nq = maxpool p kernel=2 stride=1\n\t \n",
        "# a net\n\n   # of four layers \xe7\xbd\x91\n" X
        "c = conv2d x out=4 kernel=3 stride=2x1 # = a b\n"
        "b = batchnorm c#\np = maxpool b kernel=2#kernel=3\nq = maxpool p kernel=2 stride=1\n#",
        "x = input shape=01x28x028\nc = conv2d x stride=2x1 groups=1 kernel=3x3 bias=true out=04 "
        "init=default padding=0x0 dilation=1\nb = batchnorm c momentum=1e-1 eps=0.00001\n"
        "p = maxpool b kernel=2 stride=2x2 padding=-0:0x0\nq = maxpool p stride=1 kernel=2x2\n",
    };
    Arena *arena = arena_new();
    for (size_t i = 0; i < COUNT(forms); i++)
        assert_string_equal(canonical(forms[i], strlen(forms[i]), arena), net);
    /* a batch normalisation of its own is a net, though one that cannot be quantized */
    Graph *graph = parse(X "b = batchnorm x", NULL);
    assert_non_null(graph);
    graph_free(graph);
    arena_free(arena);
}

/* A node that is taken back reads nothing any more. */
static void test_drop(void **state) {
    (void)state;
    Graph *graph = parse(X "a = relu x\nb = tanh x\nc = add a b\nd = add x c\n", NULL);
    graph_drop(graph);
    assert_string_equal(graph_output(graph)->name, "c");
    assert_int_equal(graph_readers(graph, 0), 2);
    graph_drop(graph);
    graph_drop(graph);
    assert_int_equal(graph_readers(graph, 0), 1);
    assert_string_equal(graph_only_reader(graph, 0)->name, "a");
    assert_int_equal(graph_readers(graph, 1), 0);
    graph_free(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_lines),  cmocka_unit_test(test_wrong_layers),
        cmocka_unit_test(test_wrong_fields), cmocka_unit_test(test_wrong_shapes),
        cmocka_unit_test(test_wrong_bytes),  cmocka_unit_test(test_limits),
        cmocka_unit_test(test_field_ranges), cmocka_unit_test(test_same_net),
        cmocka_unit_test(test_drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
