/* What the net's nodes are called: as the ONNX nodes are, in the letters of a .net text. */
#include <stdio.h>
#include <string.h>

#include "quant/onnx/read.h"
#include "quant/onnx/recurrent.h"

const char *onnx_label(const Onnx__NodeProto *node) {
    if (node->name && *node->name) return node->name;
    for (size_t k = 0; k < node->n_output; k++)
        if (*node->output[k]) return node->output[k];
    return "(no name)";
}

/* Letters, digits, _ . -, the first no digit. */
void onnx_legal_name(const char *from, char name[NODE_NAME]) {
    int length = 0;
    for (const char *c = from; *c && length < NODE_NAME - 1; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || *c == '_';
        bool later = (*c >= '0' && *c <= '9') || *c == '.' || *c == '-';
        if (!letter && later && length == 0) name[length++] = 'n';
        name[length++] = letter || later ? *c : *c == '/' ? '.' : '_';
    }
    name[length] = 0;
    if (!length) strcpy(name, "n");
}

void onnx_unique_name(Graph *net, char name[NODE_NAME]) {
    char base[NODE_NAME];
    strcpy(base, name);
    for (int i = 2; graph_find(net, name); i++)
        snprintf(name, NODE_NAME, "%.*s_%d", NODE_NAME - 12, base, i);
}

/* Is the word OPERATOR or OPERATOR_2? */
static bool is_operator(const char *word, const char *op_type) {
    size_t length = strlen(op_type);
    if (strncmp(word, op_type, length) != 0) return false;
    word += length;
    return !*word || (*word == '_' && word[1] && !word[1 + strspn(word + 1, "0123456789")]);
}

/* PyTorch writes MODULE/OPERATOR or MODULE/OPERATOR_2: the module's name, if it is still free.
 * Otherwise an operator's own name is written small, as layers are. */
void onnx_name_node(OnnxReader *reader, const Onnx__NodeProto *node, char name[NODE_NAME]) {
    char *label = arena_text(reader->arena, "%s", onnx_label(node));
    while (*label == '/') label++;
    char *slash = strrchr(label, '/'), *last = slash ? slash + 1 : label;
    bool by_operator = is_operator(last, node->op_type);
    for (char *c = last; by_operator && *c; c++)
        if (*c >= 'A' && *c <= 'Z') *c += 'a' - 'A';
    size_t length = strlen(label); /* stair's own lstm is called NODE_l0 */
    if (onnx_recurrent(node->op_type) && length > 3 && strcmp(label + length - 3, "_l0") == 0)
        label[length - 3] = 0;
    onnx_legal_name(label, name);
    if (by_operator && slash) {
        char module[NODE_NAME];
        *slash = 0;
        onnx_legal_name(label, module);
        if (!graph_find(reader->net, module)) strcpy(name, module);
    }
    onnx_unique_name(reader->net, name);
}
