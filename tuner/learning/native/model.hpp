// A trial as the library reads it, and the room for a batch's values.
#pragma once

#include "gemm.hpp"

namespace tuner {

constexpr int MOST_LAYERS = 66;

// Kept the same as `Model` in library.py; FORMAT grows there and here with every change of it or of a function's arguments.
constexpr int64_t FORMAT = 4;
struct Model {
    int32_t layers, activation, loss, batch;
    int32_t features;          // real ones
    int32_t variational, norm; // whether the code has a log-variance, and hidden layers are normalised
    int32_t dropped;           // of 65536 hidden values
    float learning_rate, weight_decay, noise, sparsity, beta;
    int32_t sizes[MOST_LAYERS + 1];  // padded
    int32_t units[MOST_LAYERS + 1];  // real
    int64_t weights[MOST_LAYERS], biases[MOST_LAYERS], gains[MOST_LAYERS];  // places in a row of parameters
};

// What an epoch's training draws: as in library.py.
struct Draws {
    const float *noise, *code_noise;  // for each visited row, real features and units only; null for none
    uint64_t dropout;                 // the key of the epoch's masks
    int64_t position;                 // visited rows of the epoch before these
};

// Room for the values of a batch: every layer's output, its slopes, two gradients that take turns, and a panel; where
// layers are normalised, their normal values and each row's 1 / deviation; of a variational code, itself and its noise.
struct Room {
    float *input, *target, *panel, *gradient, *code, *code_noise;
    float *h[MOST_LAYERS + 1], *slopes[MOST_LAYERS + 1], *normal[MOST_LAYERS + 1], *inverse[MOST_LAYERS + 1], *dz[2];
};

static int code_layer(const Model &m) { return m.layers / 2; }
static bool linear(const Model &m, int layer) { return layer == m.layers || layer == code_layer(m); }

// Outputs of the product that ends in a layer: a variational code has means, then log-variances.
static int64_t outputs(const Model &m, int layer) {
    return m.variational && layer == code_layer(m) ? 2 * int64_t(m.sizes[layer]) : m.sizes[layer];
}

static int64_t largest(const Model &m) {
    int64_t size = 0;
    for (int layer = 0; layer <= m.layers; layer++)
        if (outputs(m, layer) > size) size = outputs(m, layer);
    return size;
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
    Room r;
    r.panel = take(PANEL);
    r.gradient = take(most);
    r.target = take(rows * m.sizes[0]);
    r.input = m.noise > 0 ? take(rows * m.sizes[0]) : r.target;
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
    if (room) *room = r;
    return used;
}

}  // namespace tuner
