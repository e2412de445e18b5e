#include "nn/zoo.h"

#include <stdio.h>
#include <string.h>

#include "autograd/file.h"
#include "nn/nearest.h"

const ZooNet zoo_list[] = {
    {"mlp", "two fully connected layers, 784-128-10",
     "x    = input shape=1x28x28\n"
     "flat = flatten x\n"
     "fc1  = linear flat out=128\n"
     "act1 = relu fc1\n"
     "fc2  = linear act1 out=10\n"},

    {"lenet5", "LeCun et al. 1998 with ReLU: two convolutions, average pools, three linear layers",
     "x     = input shape=1x28x28\n"
     "conv1 = conv2d x out=6 kernel=5 padding=2\n"
     "relu1 = relu conv1\n"
     "pool1 = avgpool relu1 kernel=2\n"
     "conv2 = conv2d pool1 out=16 kernel=5\n"
     "relu2 = relu conv2\n"
     "pool2 = avgpool relu2 kernel=2\n"
     "flat  = flatten pool2\n"
     "fc1   = linear flat out=120\n"
     "relu3 = relu fc1\n"
     "fc2   = linear relu3 out=84\n"
     "relu4 = relu fc2\n"
     "fc3   = linear relu4 out=10\n"},

    {"netbn", "two convolutions with batch normalisation, one linear layer",
     "x     = input shape=1x28x28\n"
     "conv1 = conv2d x out=40 kernel=3\n"
     "bn1   = batchnorm conv1\n"
     "relu1 = relu bn1\n"
     "pool1 = maxpool relu1 kernel=2\n"
     "conv2 = conv2d pool1 out=40 kernel=3\n"
     "bn2   = batchnorm conv2\n"
     "relu2 = relu bn2\n"
     "pool2 = maxpool relu2 kernel=2\n"
     "flat  = flatten pool2\n"
     "fc    = linear flat out=10\n"},

    {"resnet8", "three residual stages of 16, 32 and 64 channels, 78 thousand parameters",
     "x       = input shape=1x28x28\n"
     "conv1   = conv2d x out=16 kernel=3 padding=1 bias=false init=kaiming\n"
     "bn1     = batchnorm conv1\n"
     "relu1   = relu bn1\n"
     "# stage 1: the identity is the input itself\n"
     "conv2   = conv2d relu1 out=16 kernel=3 padding=1 bias=false init=kaiming\n"
     "bn2     = batchnorm conv2\n"
     "relu2   = relu bn2\n"
     "conv3   = conv2d relu2 out=16 kernel=3 padding=1 bias=false init=kaiming\n"
     "bn3     = batchnorm conv3\n"
     "add1    = add bn3 relu1\n"
     "relu3   = relu add1\n"
     "# stage 2: half the size, twice the channels; a 1x1 convolution fits the identity to it\n"
     "conv4   = conv2d relu3 out=32 kernel=3 stride=2 padding=1 bias=false init=kaiming\n"
     "bn4     = batchnorm conv4\n"
     "relu4   = relu bn4\n"
     "conv5   = conv2d relu4 out=32 kernel=3 padding=1 bias=false init=kaiming\n"
     "bn5     = batchnorm conv5\n"
     "short2  = conv2d relu3 out=32 kernel=1 stride=2 bias=false init=kaiming\n"
     "bns2    = batchnorm short2\n"
     "add2    = add bn5 bns2\n"
     "relu5   = relu add2\n"
     "# stage 3\n"
     "conv6   = conv2d relu5 out=64 kernel=3 stride=2 padding=1 bias=false init=kaiming\n"
     "bn6     = batchnorm conv6\n"
     "relu6   = relu bn6\n"
     "conv7   = conv2d relu6 out=64 kernel=3 padding=1 bias=false init=kaiming\n"
     "bn7     = batchnorm conv7\n"
     "short3  = conv2d relu5 out=64 kernel=1 stride=2 bias=false init=kaiming\n"
     "bns3    = batchnorm short3\n"
     "add3    = add bn7 bns3\n"
     "relu7   = relu add3\n"
     "gap     = globalavgpool relu7\n"
     "flat    = flatten gap\n"
     "fc      = linear flat out=10\n"},

    {"lstm", "an LSTM that reads an image row by row, and a linear layer on where it ends",
     "x    = input shape=1x28x28\n"
     "rows = reshape x shape=28x28\n"
     "lstm = lstm rows hidden=128 output=last\n"
     "fc   = linear lstm out=10\n"},

    {0},
};

const ZooNet *zoo_find(const char *name) {
    for (const ZooNet *net = zoo_list; net->name; net++)
        if (strcmp(net->name, name) == 0) return net;
    return NULL;
}

static Graph *unknown(const char *name, Error *error) {
    char known[256] = "";
    Nearest nearest = nearest_to(name, strlen(name));
    for (const ZooNet *net = zoo_list; net->name; net++) {
        snprintf(known + strlen(known), sizeof known - strlen(known), " %s", net->name);
        nearest_try(&nearest, net->name);
    }
    error_set(error, ERROR_USAGE, "unknown model '%s'%s%s%s: known are%s, or a FILE.net", name,
              nearest.best ? ", did you mean '" : "", nearest.best ? nearest.best : "",
              nearest.best ? "'?" : "", known);
    return NULL;
}

Graph *zoo_open(const char *name, Error *error) {
    const ZooNet *net = zoo_find(name);
    if (net) return graph_parse(net->text, strlen(net->text), net->name, error);
    size_t length = strlen(name);
    if (length < 4 || strcmp(name + length - 4, ".net") != 0) return unknown(name, error);

    Arena *arena = arena_new();
    unsigned char *text;
    size_t size;
    Graph *graph = NULL;
    if (file_read(arena, name, NET_TEXT_MOST, &text, &size, error))
        graph = graph_parse((char *)text, size, name, error);
    arena_free(arena);
    return graph;
}
