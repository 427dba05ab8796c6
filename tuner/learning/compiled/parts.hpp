// What only some kinds of autoencoder have: normalised layers, dropout, a variational code, a sparse one.
#pragma once

#include "model.hpp"

namespace tuner {

// Ones where a column is real.
static INLINE V mask(int64_t column, int64_t real) {
    const I lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return floats(I(lanes < int32_t(real - column)) & bits(all(1.0f)));
}

// A sum in pairs: a row has few values, so it must not wait for each of sixteen additions.
static INLINE float paired_sum(V v) {
    float lanes[LANES];
    store(lanes, v);
#pragma GCC unroll 4
    for (int half = LANES / 2; half; half /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
}

// Layer normalisation (Ba et al. 2016) over a row's real units: z becomes gain * normal + shift in place.
static void normalise(int64_t rows, int64_t size, int64_t units, const float *gain, float *z, float *normal, float *inverses) {
    const float *shift = gain + size;
    for (int64_t row = 0; row < rows; row++, z += size, normal += size) {
        V sums{}, squares{};
        for (int64_t at = 0; at < size; at += LANES) sums += load(z + at);  // padding is zero
        const float mean = paired_sum(sums) / units;
        for (int64_t at = 0; at < size; at += LANES) {
            V d = (load(z + at) - mean) * mask(at, units);
            squares += d * d;
            store(normal + at, d);
        }
        inverses[row] = 1.0f / __builtin_sqrtf(paired_sum(squares) / units + 1e-5f);
        for (int64_t at = 0; at < size; at += LANES) {
            V x = load(normal + at) * inverses[row];
            store(normal + at, x);
            store(z + at, load(gain + at) * x + load(shift + at));
        }
    }
}

// dy becomes dz in place, and each value's share of the gain's gradient is left in `shares`.
static INLINE void normalise_back(int64_t rows, int64_t size, int64_t units, const float *gain, const float *normal, const float *inverses, float *dy,
                           float *shares) {
    for (int64_t row = 0; row < rows; row++, dy += size, normal += size, shares += size) {
        V sums{}, products{};
        for (int64_t at = 0; at < size; at += LANES) {
            V x = load(normal + at), g = load(dy + at), d = g * load(gain + at);
            store(shares + at, g * x);
            sums += d;
            products += d * x;
        }
        const float mean = paired_sum(sums) / units, along = paired_sum(products) / units;
        for (int64_t at = 0; at < size; at += LANES) {
            V d = load(dy + at) * load(gain + at) - mean - load(normal + at) * along;
            store(dy + at, d * inverses[row] * mask(at, units));
        }
    }
}

// Sixteen values' factors of inverted dropout, from four neighbouring words of splitmix64 (Steele et al. 2014) that
// began at `key`: a value is left out where its 16 bits are below `dropped`. As in dropout.py.
static INLINE V kept(uint64_t key, int64_t word, int32_t dropped) {
    typedef uint64_t Words __attribute__((vector_size(32)));
    typedef uint16_t Shorts __attribute__((vector_size(32)));
    const uint64_t first = uint64_t(word) + 1;
    Words x = key + Words{first, first + 1, first + 2, first + 3} * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    V drawn = __builtin_convertvector((Shorts)(x ^ (x >> 31)), V);
    return drawn < float(dropped) ? V{} : all(65536.0f / float(65536 - dropped));
}

// Inverted dropout (Srivastava et al. 2014) of a hidden layer's values and slopes.
static void drop(const Model &m, int layer, int64_t rows, uint64_t key, int64_t position, float *h, float *slopes) {
    const int64_t size = m.sizes[layer];
    int64_t before = 0, words = 0;  // of a row: the layer's first word, and all
    for (int other = 1; other < m.layers; other++) {
        if (linear(m, other)) continue;
        if (other < layer) before += m.sizes[other] / 4;
        words += m.sizes[other] / 4;
    }
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = 0; column < size; column += LANES) {
            const int64_t at = row * size + column;
            V factor = kept(key, (position + row) * words + before + column / 4, m.dropped);
            store(h + at, load(h + at) * factor);
            store(slopes + at, load(slopes + at) * factor);
        }
}

// A log-variance outside of these is taken for the nearer one, and has no gradient (as in Rombach et al. 2022).
static INLINE V bounded(V log_variance) { return least(greatest(log_variance, all(-30.0f)), all(20.0f)); }

// The code: its means, and in training mean + deviation * noise (Kingma & Welling 2014).
static void sample(const Model &m, int64_t rows, const float *noise, Room &r) {
    const int64_t size = m.sizes[code_layer(m)], units = m.units[code_layer(m)];
    const float *head = r.h[code_layer(m)];
    for (int64_t row = 0; row < rows; row++, head += 2 * size) {
        float *to = r.code_noise + row * size, *code = r.code + row * size;
        memcpy(code, head, size * sizeof(float));
        if (!noise) continue;
        memset(to, 0, size * sizeof(float));
        memcpy(to, noise + row * units, units * sizeof(float));
        for (int64_t at = 0; at < size; at += LANES)
            store(code + at, load(head + at) + exp(0.5f * bounded(load(head + size + at))) * load(to + at));
    }
}

// The code's gradient (rows, units) becomes that of means and log-variances (rows, twice as many) in place, from the last
// row on; `share` times the divergence from the standard normal prior, mean^2 + variance - 1 - log-variance over 2, is added.
static INLINE void sample_back(const Model &m, int64_t rows, float share, const Room &r, float *gradient) {
    const int64_t size = m.sizes[code_layer(m)];
    for (int64_t row = rows - 1; row >= 0; row--)
        for (int64_t at = size - LANES; at >= 0; at -= LANES) {
            const float *head = r.h[code_layer(m)] + 2 * row * size + at;
            V d = load(gradient + row * size + at), raw = load(head + size), deviation = exp(0.5f * bounded(raw));
            V spread = 0.5f * (d * load(r.code_noise + row * size + at) * deviation + share * (deviation * deviation - 1.0f));
            store(gradient + 2 * row * size + at, d + share * load(head));
            store(gradient + 2 * row * size + size + at, raw == bounded(raw) ? spread : V{});
        }
}

// `share` times the slope of each value's magnitude, 0 at 0.
static void shrink(int64_t count, float share, const float *code, float *gradient) {
    for (int64_t at = 0; at < count; at += LANES) {
        V c = load(code + at);
        store(gradient + at, load(gradient + at) + (c > 0.0f ? all(share) : V{}) - (c < 0.0f ? all(share) : V{}));
    }
}

}  // namespace tuner
