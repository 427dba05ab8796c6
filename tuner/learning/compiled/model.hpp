// A trial as the library reads it, and the room for a batch's values.
#pragma once

#include "gemm.hpp"

namespace tuner {

constexpr int MOST_LAYERS = 66;

// What a trial may name, each list once: the enumeration, the table of functions and what library.py compares follow from it.
#define ACTIVATIONS(X) \
    X(RELU, relu) X(LEAKY_RELU, leaky_relu) X(ELU, elu) X(SELU, selu) X(GELU, gelu) X(SILU, silu) X(TANH, tanh) X(SIGMOID, sigmoid)
#define LOSSES(X) X(MSE, mse) X(BCE, bce) X(TERMS, terms)
#define KINDS(X) X(SQUARE, square) X(LOGIT, logit) X(SOFTMAX, softmax) X(HUBER, huber) X(POISSON, poisson)

#define ENUMERATOR(name, word) name,
enum Activation { ACTIVATIONS(ENUMERATOR) ACTIVATION_COUNT };
enum Loss { LOSSES(ENUMERATOR) LOSS_COUNT };
enum Kind { KINDS(ENUMERATOR) KIND_COUNT };
#undef ENUMERATOR

// The structures that cross the border, as X(type, name, length of an array): border.py has the same fields.

// What loss TERMS is made of: of each of the `columns` padded columns its kind, weight, Huber's delta and what is read where a
// value is missing; of each group of levels its first column and the one after its last.
#define TERMS_FIELDS(X)                                                                                             \
    X(const int32_t *, kinds, ) X(const float *, weights, ) X(const float *, deltas, ) X(const float *, fill, )     \
    X(int64_t, columns, ) X(const int32_t *, groups, ) X(int64_t, count, ) /* of groups */                          \
    X(int64_t, missing, ) /* whether a value may be NaN */
#define MODEL_FIELDS(X)                                                                                             \
    X(int32_t, layers, ) X(int32_t, activation, ) X(int32_t, loss, ) X(int32_t, batch, )                            \
    X(int32_t, features, ) /* real ones */                                                                          \
    X(int32_t, variational, ) X(int32_t, norm, ) /* whether the code has a log-variance; whether layers are normalised */ \
    X(int32_t, dropped, ) /* of 65536 hidden values */                                                              \
    X(float, learning_rate, ) X(float, weight_decay, ) X(float, noise, ) X(float, sparsity, ) X(float, beta, )      \
    X(float, clip_norm, ) /* 0: any */                                                                              \
    X(int32_t, sizes, [MOST_LAYERS + 1]) /* padded */                                                               \
    X(int32_t, units, [MOST_LAYERS + 1]) /* real */                                                                 \
    X(int64_t, weights, [MOST_LAYERS]) X(int64_t, biases, [MOST_LAYERS]) X(int64_t, gains, [MOST_LAYERS]) /* places in a row of parameters */ \
    X(int32_t, skip, ) /* whether a linear way leads around encoder and decoder */                                  \
    X(float, inverse_unit, ) /* what is left of a row without its centre is multiplied by it */                     \
    X(int64_t, skip_encoder, ) X(int64_t, skip_decoder, ) /* their places */                                        \
    X(const float *, centre, ) /* of rows that the network does not read as they are; null where it does */         \
    X(const float *, low, ) X(const float *, high, ) /* between which outputs are; null where they may be anything */ \
    X(const Terms *, terms, ) /* of loss TERMS, else null */
// The rows of an epoch or of some of its batches, `order` being numbers of the `rows` rows of data, and what is drawn for them.
#define VISIT_FIELDS(X)                                                                                             \
    X(const float *, data, ) X(int64_t, rows, ) X(const int64_t *, order, ) X(int64_t, count, )                     \
    X(const float *, noise, ) X(const float *, code_noise, ) /* for each visited row, real features and units only; null for none */ \
    X(uint64_t, dropout, ) /* the key of the epoch's masks */                                                       \
    X(int64_t, position, ) /* visited rows of the epoch before these */                                             \
    X(const float *, rates, ) /* of each batch; null where the learning rate is the model's own */
// A trial's row of parameters and their moments, `length` values each, and the steps behind it.
#define STATE_FIELDS(X) X(float *, parameters, ) X(float *, first, ) X(float *, second, ) X(int64_t, length, ) X(int64_t, steps, )

#define FIELD(type, name, dimension) type name dimension;
struct Terms {
    TERMS_FIELDS(FIELD)
};
struct Model {
    MODEL_FIELDS(FIELD)
};
struct Visit {
    VISIT_FIELDS(FIELD)
};
struct State {
    STATE_FIELDS(FIELD)
};
#undef FIELD

// What a batch's forward pass draws, as in Visit.
struct Draws {
    const float *noise, *code_noise;
    uint64_t dropout;
    int64_t position;
};

// Room for the values of a batch: every layer's output, its slopes, two gradients that take turns, and a panel; where
// layers are normalised, their normal values and each row's 1 / deviation; of a variational code, itself and its noise;
// of loss TERMS, sixteen rows of outputs and of targets, and which columns they are of.
struct Room {
    float *gradients; // of all parameters, where their norm has a bound
    float *input, *target, *panel, *gradient, *code, *code_noise, *tile, *around, *code_gradient;
    float *h[MOST_LAYERS + 1], *slopes[MOST_LAYERS + 1], *normal[MOST_LAYERS + 1], *inverse[MOST_LAYERS + 1], *dz[2];
};

static int code_layer(const Model &m) { return m.layers / 2; }
static bool linear(const Model &m, int layer) { return layer == m.layers || layer == code_layer(m); }

// Outputs of the product that ends in a layer: a variational code has means, then log-variances.
static int64_t outputs(const Model &m, int layer) {
    return m.variational && layer == code_layer(m) ? 2 * int64_t(m.sizes[layer]) : m.sizes[layer];
}

// Whether what the network reads is not what it is to give.
static bool filled(const Model &m) { return (m.terms && m.terms->missing) || m.centre; }

static int64_t largest(const Model &m) {
    int64_t size = 0;
    for (int layer = 0; layer <= m.layers; layer++)
        if (outputs(m, layer) > size) size = outputs(m, layer);
    return size;
}

// Values of a row of parameters.
static int64_t row_length(const Model &m) {
    int64_t end = 0;
    for (int layer = 0; layer < m.layers; layer++) {
        const int64_t out = outputs(m, layer + 1), bias = m.biases[layer] + out;
        if (bias > end) end = bias;
        if (m.norm && !linear(m, layer + 1) && m.gains[layer] + 2 * out > end) end = m.gains[layer] + 2 * out;
    }
    if (m.skip) {
        const int64_t last = m.skip_encoder > m.skip_decoder ? m.skip_encoder : m.skip_decoder, skip = last + m.sizes[0] * m.sizes[code_layer(m)];
        if (skip > end) end = skip;
    }
    return end;
}

static int64_t lay_out(const Model &m, int64_t rows, float *work, Room *room) {
    int64_t used = 0, most = 0;
    auto take = [&](int64_t count) {
        float *place = work ? work + used : nullptr;
        used += count;
        return place;
    };
    for (int layer = 0; layer < m.layers; layer++) {
        const int64_t count = m.sizes[layer] * outputs(m, layer + 1);
        if (count > most) most = count;
    }
    const int64_t between = m.skip ? m.sizes[0] * m.sizes[code_layer(m)] : 0;
    if (between > most) most = between;
    Room r;
    r.panel = take(PANEL);
    r.gradient = take(most);
    r.gradients = take(m.clip_norm > 0 ? row_length(m) : 0);
    r.target = take(rows * m.sizes[0]);
    r.input = m.noise > 0 || filled(m) ? take(rows * m.sizes[0]) : r.target;
    for (int layer = 1; layer <= m.layers; layer++) {
        r.h[layer] = take(rows * outputs(m, layer));
        r.slopes[layer] = take(rows * m.sizes[layer]);
        if (!m.norm || linear(m, layer)) continue;
        r.normal[layer] = take(rows * m.sizes[layer]);
        r.inverse[layer] = take(pieces(rows, LANES) * LANES);
    }
    const int64_t codes = m.variational ? rows * m.sizes[code_layer(m)] : 0;
    r.code = take(codes);
    r.code_noise = take(codes);
    for (float *&dz : r.dz) dz = take(rows * largest(m));
    r.around = take(m.skip ? rows * largest(m) : 0);
    r.code_gradient = take(m.skip ? rows * m.sizes[code_layer(m)] : 0);
    r.tile = take(m.terms ? (2 * LANES + 1) * m.sizes[m.layers] : 0);
    if (room) *room = r;
    return used;
}

}  // namespace tuner
