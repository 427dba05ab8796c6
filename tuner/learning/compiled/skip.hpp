// The linear way around encoder and decoder: code += input A, output += code B; and what a network reads of rows.
//
// Nothing of it is inlined into the functions that train without it: GCC chooses which product of a sum is rounded by what
// surrounds it, and the bits of trials that have no skip must stay what they were.
#pragma once

#include "parts.hpp"

namespace tuner {

// z (rows, stride), of which the first `out` columns are meant, += from (rows, in) times weights (in, out).
__attribute__((noinline)) static void add_product(int64_t rows, int64_t out, int64_t in, const float *from, const float *weights, int64_t stride, float *z, Room &r) {
    product<Major::rows>(rows, out, in, {from, in}, weights, false, nullptr, r.around, r.panel);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = 0; column < out; column += LANES) {
            float *to = z + row * stride + column;
            store(to, load(to) + load(r.around + row * out + column));
        }
}

// What goes around the layers that end in `layer`, the code's or the last, is added to what they give.
static void go_around(const Model &m, int layer, int64_t rows, const float *input, const float *code, const float *p, Room &r) {
    const int64_t features = m.sizes[0], units = m.sizes[code_layer(m)];
    if (layer == m.layers)
        add_product(rows, features, units, code, p + m.skip_decoder, features, r.h[layer], r);
    else
        add_product(rows, units, features, input, p + m.skip_encoder, outputs(m, layer), r.h[layer], r);
}

// The gradient of the way from the code to the output, and in `code_gradient` what the code gets through it.
template <typename Taker>
__attribute__((noinline)) static void decoder_around_back(const Model &m, const Taker &optimizer, int64_t rows, const float *code, const float *dz, float *p,
                                                          float *first, float *second, Room &r) {
    const int64_t features = m.sizes[0], units = m.sizes[code_layer(m)], at = m.skip_decoder;
    product<Major::rows>(rows, units, features, {dz, features}, p + at, true, nullptr, r.code_gradient, r.panel);
    product<Major::columns>(units, features, rows, {code, units}, dz, false, nullptr, r.gradient, r.panel);
    update_weights(optimizer, units * features, r.gradient, p + at, first + at, second + at);
}

// The gradient of the way from the input to the code, of which dz (rows, stride) has the code's, or its means', first.
template <typename Taker>
__attribute__((noinline)) static void encoder_around_back(const Model &m, const Taker &optimizer, int64_t rows, const float *dz, float *p, float *first,
                                                          float *second, Room &r) {
    const int64_t features = m.sizes[0], units = m.sizes[code_layer(m)], at = m.skip_encoder, stride = outputs(m, code_layer(m));
    for (int64_t row = 0; stride != units && row < rows; row++) memcpy(r.around + row * units, dz + row * stride, units * sizeof(float));
    product<Major::columns>(features, units, rows, {r.input, features}, stride == units ? dz : r.around, false, nullptr, r.gradient, r.panel);
    update_weights(optimizer, features * units, r.gradient, p + at, first + at, second + at);
}

__attribute__((noinline)) static void add_rows(int64_t count, const float *from, float *to) {
    for (int64_t at = 0; at < count; at += LANES) store(to + at, load(to + at) + load(from + at));
}

// Scaled rows in the network's units, in place.
__attribute__((noinline)) static void centre_rows(const Model &m, int64_t rows, float *values) {
    const int64_t size = m.sizes[0];
    for (int64_t row = 0; row < rows; row++, values += size)
        for (int64_t column = 0; column < size; column += LANES)
            store(values + column, (load(values + column) - load(m.centre + column)) * m.inverse_unit);
}

}  // namespace tuner
