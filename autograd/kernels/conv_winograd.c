/* Convolutions with kernels of 3x3 by Winograd's transforms (winograd.h). Both sides of the map are
 * cut into tiles: coarse ones of 4x4 positions, that do not overlap, and under each a fine one of
 * 6x6. What lies outside a plane counts as zero when it is read and is dropped when it is written.
 *
 * With the 36 values of every tile of a few samples, coarse[36,T,R] and fine[36,T,C], and the
 * transformed weights u[36,C,R], each direction is 36 products of matrices (tile.h):
 *
 *   down    coarse[k] = fine[k] u[k]
 *   up      fine[k] = coarse[k] u[k]'
 *   weight  du[k] += fine[k]' coarse[k]
 *
 * The transforms work on all channels of a position as a vector, so planes are transposed on their
 * way in and out. A large batch's lie in memory, which is quick to hand out one run of bytes and
 * slow with a few from each of many planes: they are copied first, or last, as a whole. The values
 * of a few samples stay in the second-level cache; the weights pass by once for all of them. */
#include <string.h>

#include "autograd/kernels/vector.h"
#include "autograd/kernels/winograd_plan.h"

static const _Alignas(64) float zeros[PANEL_MOST];

/* The matrices of a side. */
static float *matrices(const WinogradPlan *plan, ConvSide side, int worker) {
    return winograd_frame(plan, worker) + plan->frame + (side == FINE ? plan->matrices[COARSE] : 0);
}

/* The values of tile i of sample `slot`. */
static float *tile_values(const WinogradPlan *plan, ConvSide side, int slot, int i, int worker) {
    return matrices(plan, side, worker) + plan->side[side].tile[slot * plan->tiles + i];
}

static void take(const ConvPass *pass, ConvSide which, int slot, const float *planes, int worker) {
    const WinogradPlan *plan = pass->plan;
    const WinogradSide *side = &plan->side[which];
    float *frame = winograd_frame(plan, worker), *copy = winograd_planes(plan, worker);
    if (which == FINE) /* an activation; a gradient of the coarse side has just been made */
        planes =
            memcpy(copy, planes, sizeof *copy * (size_t)side->channels * (size_t)side->positions);
    memset(frame + side->positions * side->pitch, 0, sizeof *frame * (size_t)side->pitch);
    for (int i = 0, there = 0; i < plan->tiles; i++) {
        int touched = side->touched[i / plan->across], more = touched - there;
        if (more) /* the first tile of a row */
            plan->kernel->transpose(side->channels, more, planes + there, side->positions,
                                    frame + there * side->pitch, side->pitch);
        there = touched;
        side->values(frame, side->place + i * side->places,
                     tile_values(plan, which, slot, i, worker), side->matrix, side->pitch);
    }
}

static void multiply(const ConvPass *pass, ConvSide to, int group, int count, int worker) {
    const WinogradPlan *plan = pass->plan;
    const WinogradSide *side = &plan->side[to], *from = &plan->side[winograd_other(to)];
    const float *u = side->weights + WINOGRAD_VALUES * side->weight * (size_t)group;
    const float *in = matrices(plan, winograd_other(to), worker);
    float *out = matrices(plan, to, worker);
    for (int k = 0; k < WINOGRAD_VALUES; k++) {
        for (int c = 0, width; c < side->pitch; c += width) {
            width = panel_width(side->channels, c);
            plan->kernel->run(&(Tile){.rows = count * plan->tiles,
                                      .steps = from->channels,
                                      .width = width,
                                      .b_step = side->pitch,
                                      .out_step = side->pitch,
                                      .in = in,
                                      .row = from->tile,
                                      .step = plan->channel,
                                      .b = u + c,
                                      .start = zeros,
                                      .out = out + c});
        }
        u += side->weight;
        in += from->matrix;
        out += side->matrix;
    }
}

static void weight(const ConvPass *pass, int count, float *sums, int worker) {
    const WinogradPlan *plan = pass->plan;
    const WinogradSide *coarse = &plan->side[COARSE], *fine = &plan->side[FINE];
    const float *in = matrices(plan, FINE, worker), *b = matrices(plan, COARSE, worker);
    for (int k = 0; k < WINOGRAD_VALUES; k++) {
        for (int c = 0, width; c < coarse->pitch; c += width) {
            width = panel_width(coarse->channels, c);
            plan->kernel->run(&(Tile){.rows = fine->channels,
                                      .steps = count * plan->tiles,
                                      .width = width,
                                      .b_step = coarse->pitch,
                                      .out_step = coarse->pitch,
                                      .in = in,
                                      .row = plan->channel,
                                      .step = fine->tile,
                                      .b = b + c,
                                      .out = sums + c});
        }
        in += fine->matrix;
        b += coarse->matrix;
        sums += coarse->weight;
    }
}

/* rows[count][pitch] = row[width] */
VECTOR static void fill_rows(int count, int pitch, int width, const float *row, float *rows) {
    for (int i = 0; i < count; i++, rows += pitch)
        for (int c = 0; c < width; c += LANE) *(Lanes *)(rows + c) = *(const Lanes *)(row + c);
}

/* Fine tiles overlap, so what they give is added up; coarse ones do not. */
static void give(const ConvPass *pass, ConvSide which, int group, int slot, int begin, float *out,
                 bool add, int worker) {
    const WinogradPlan *plan = pass->plan;
    const WinogradSide *side = &plan->side[which];
    int width = panel_width(side->channels, begin), left = side->channels - begin;
    const float *bias = side->bias + group * side->pitch + begin;
    float *frame = winograd_frame(plan, worker);
    if (which == FINE) fill_rows(side->positions + 1, side->pitch, width, bias, frame);
    for (int i = 0; i < plan->tiles; i++)
        side->back(tile_values(plan, which, slot, i, worker) + begin, side->matrix,
                   which == FINE ? NULL : bias, frame, side->place + i * side->places, width);
    int channels = left < width ? left : width;
    float *planes = winograd_planes(plan, worker);
    plan->kernel->transpose(side->positions, channels, frame, side->pitch, planes, side->positions);
    conv_planes_out(planes, (size_t)channels * (size_t)side->positions, add, out);
}

/* sums[36][channel][pitch] to dw[R][channel][9] */
static void unpack(const ConvPass *pass, int channel, const float *sums, float *dw, int worker) {
    const WinogradPlan *plan = pass->plan;
    const WinogradSide *coarse = &plan->side[COARSE];
    size_t channels = (size_t)plan->side[FINE].channels, pitch = (size_t)coarse->pitch;
    float *kernels = winograd_kernels(plan, worker);
    memset(kernels, 0, sizeof *kernels * WINOGRAD_PLACES * pitch);
    winograd_weight_back(sums + (size_t)channel * pitch, coarse->weight, NULL, kernels,
                         coarse->kernel, coarse->pitch);
    dw += (size_t)channel * WINOGRAD_PLACES;
    for (size_t r = 0; r < (size_t)coarse->channels; r++, dw += channels * WINOGRAD_PLACES)
        for (size_t k = 0; k < WINOGRAD_PLACES; k++) dw[k] += kernels[k * pitch + r];
}

const ConvMethod conv_winograd = {
    .name = "winograd",
    .exact = false, /* the transforms divide */
    .fits = winograd_fits,
    .start = winograd_start,
    .take = take,
    .multiply = multiply,
    .give = give,
    .weight = weight,
    .unpack = unpack,
};
