// Training one autoencoder for one epoch, and measuring it, without a call in between: gather, forward, backward, AdamW.
//
// Everything of a small model stays in a core's L2 cache for the whole epoch. Nothing is allocated and nothing is global,
// so models are independent of each other by construction. Shapes: B rows of a batch, I and O a layer's inputs and outputs,
// padded to multiples of 16; padding is zero and stays zero.

#include <cmath>

#include "border.hpp"
#include "skip.hpp"
#include "terms.hpp"

namespace tuner {

// h = f(z) and its derivative.
struct Point {
    V h, slope;
};

static INLINE Point scaled_elu(V z, float alpha, float scale) {
    V e = expm1(least(z, all(0.0f))) * (alpha * scale);
    return {z > 0.0f ? z * scale : e, z > 0.0f ? all(scale) : e + alpha * scale};
}

// z Phi(z): the normal distribution's tail is exp(-z^2 / 2) times a polynomial in t = 1 / (1 + 0.35 |z|), fitted for this file.
static INLINE Point gelu(V z) {
    V size = least(magnitude(z), all(13.0f)), bell = exp(-0.5f * size * size), t = inverse(1.0f + 0.35f * size);
    V tail = bell * (4.12997366e-04f + t * (1.34205257e-01f + t * (1.66577574e-01f + t * (6.01653011e-02f + t * (1.41890379e-01f + t * (8.78372322e-02f + t * (-1.22853898e-01f + t * (3.17651642e-02f))))))));
    V below = z > 0.0f ? 1.0f - tail : tail;
    return {z * below, below + z * bell * 0.39894228f};
}

template <int ACTIVATION>
static INLINE Point activate(V z) {
    if constexpr (ACTIVATION == RELU) return {z <= 0.0f ? V{} : z, z > 0.0f ? all(1.0f) : V{}};
    if constexpr (ACTIVATION == LEAKY_RELU) return {z > 0.0f ? z : z * 0.01f, z > 0.0f ? all(1.0f) : all(0.01f)};
    if constexpr (ACTIVATION == ELU) return scaled_elu(z, 1.0f, 1.0f);
    if constexpr (ACTIVATION == SELU) return scaled_elu(z, 1.67326324f, 1.05070099f);
    if constexpr (ACTIVATION == GELU) return gelu(z);
    if constexpr (ACTIVATION == TANH) {
        V h = tanh(z);
        return {h, 1.0f - h * h};
    }
    V s = sigmoid(z);
    if constexpr (ACTIVATION == SILU) return {z * s, s * (1.0f + z * (1.0f - s))};
    return {s, s * (1.0f - s)};
}

// z becomes h in place; padded units become 0 even where f(0) is not.
template <int ACTIVATION>
static void activate_rows(int64_t rows, int64_t size, int64_t units, float *z, float *slopes) {
    for (int64_t at = 0; at < rows * size; at += LANES) {
        Point point = activate<ACTIVATION>(load(z + at));
        store(z + at, point.h);
        store(slopes + at, point.slope);
    }
    if (ACTIVATION == SIGMOID)
        for (int64_t row = 0; row < rows; row++)
            for (int64_t unit = units; unit < size; unit++) z[row * size + unit] = 0;
}

typedef void (*Activate)(int64_t, int64_t, int64_t, float *, float *);
#define FUNCTION(name, word) activate_rows<name>,
static const Activate ACTIVATE[] = {ACTIVATIONS(FUNCTION)};
#undef FUNCTION

// What the layer after this one reads.
static const float *read(const Model &m, int layer, const Room &r) {
    return !layer ? r.input : m.variational && layer == code_layer(m) ? r.code : r.h[layer];
}

// Outputs that do not pass their bounds; the gradient is taken as if they could, so one that is outside is drawn back where its
// target is inside. Never inlined: the bits of what has no bounds are as they were.
__attribute__((noinline)) static void keep_within(const Model &m, int64_t rows, float *y) {
    const int64_t size = m.sizes[m.layers];
    for (int64_t row = 0; row < rows; row++, y += size)
        for (int64_t at = 0; at < size; at += LANES) store(y + at, least(greatest(load(y + at), load(m.low + at)), load(m.high + at)));
}

// Outputs of the first `layers` layers for `rows` rows of `input`; `draws` in training alone.
static void forward(const Model &m, int layers, int64_t rows, const float *input, const float *p, const Draws *draws, Room &r) {
    const float *h = input;
    for (int layer = 0; layer < layers; layer++) {
        const int64_t in = m.sizes[layer], out = outputs(m, layer + 1), units = m.units[layer + 1];
        float *z = r.h[layer + 1];
        product<Major::rows>(rows, out, in, {h, in}, p + m.weights[layer], false, p + m.biases[layer], z, r.panel);
        if (!linear(m, layer + 1)) {
            if (m.norm) normalise(rows, out, units, p + m.gains[layer], z, r.normal[layer + 1], r.inverse[layer + 1]);
            ACTIVATE[m.activation](rows, out, units, z, r.slopes[layer + 1]);
            if (draws && m.dropped) drop(m, layer + 1, rows, draws->dropout, draws->position, z, r.slopes[layer + 1]);
        } else {
            if (m.skip) go_around(m, layer + 1, rows, input, read(m, code_layer(m), r), p, r);
            if (out > m.sizes[layer + 1]) sample(m, rows, draws ? draws->code_noise : nullptr, r);
            if (m.low && layer + 1 == m.layers) keep_within(m, rows, z);
        }
        h = read(m, layer + 1, r);
    }
}

// The sum of all values' losses; leaves the gradient of `scale` times that sum in dz.
static double losses(const Model &m, int64_t rows, const float *target, const float *y, float scale, float *dz) {
    const int64_t size = m.sizes[m.layers];
    double total = 0;
    for (int64_t row = 0; row < rows; row++) {
        V sums{};
        for (int64_t column = 0; column < size; column += LANES) {
            const int64_t at = row * size + column;
            V out = load(y + at), wanted = load(target + at), d = out - wanted;
            if (m.loss == MSE) {
                sums += d * d;
                d *= 2.0f * scale;
            } else {
                V real = mask(column, m.features);
                sums += (greatest(out, V{}) + log1p(exp(-magnitude(out))) - out * wanted) * real;
                d = (sigmoid(out) - wanted) * real * scale;
            }
            store(dz + at, d);
        }
        total += sum(sums);
    }
    return total;
}

// AdamW (Loshchilov & Hutter 2019) on `count` values.
struct Optimizer {
    float rate, keep, root_scale;  // rate / (1 - beta1^t), 1 - rate * decay, 1 / sqrt(1 - beta2^t)

    Optimizer(float learning_rate, float weight_decay, int64_t step)
        : rate(float(learning_rate / (1 - std::pow(0.9, double(step))))),
          keep(float(1 - double(learning_rate) * weight_decay)),
          root_scale(float(1 / std::sqrt(1 - std::pow(0.999, double(step))))) {}

    INLINE void update(V g, float *p, float *first, float *second) const {
        V m = load(first), v = load(second);
        m += (g - m) * 0.1f;
        v = v * 0.999f + g * g * 0.001f;
        store(first, m);
        store(second, v);
        store(p, load(p) * keep - rate * m * inverse(root(v) * root_scale + 1e-8f));
    }
};

// What takes a gradient is inlined into the one function that trains, as it was when there was one taker: GCC chooses which product
// of a sum is rounded by what surrounds it, and a trial's bits must not follow from what else is in this file.

// In place of the optimizer where the whole gradient is wanted first: it is kept at its parameters' places.
struct Keeper {
    float *gradients;
    const float *parameters;

    INLINE void update(V g, float *p, float *, float *) const { store(gradients + (p - parameters), g); }
};

template <typename Taker>
static INLINE void update_weights(const Taker &o, int64_t count, const float *g, float *p, float *first, float *second) {
    for (int64_t at = 0; at < count; at += LANES) o.update(load(g + at), p + at, first + at, second + at);
}

// A bias' gradient is the sum of dz over the rows. Always inlined: GCC rounds AdamW's last product otherwise where this is a
// function of its own, and a trial's bits would follow from how often it is called.
template <typename Taker>
static INLINE void update_bias(const Taker &o, int64_t rows, int64_t size, const float *dz, float *p, float *first, float *second) {
    for (int64_t column = 0; column < size; column += LANES) {
        V even{}, odd{};
        int64_t row = 0;
        for (; row + 1 < rows; row += 2) {
            even += load(dz + row * size + column);
            odd += load(dz + (row + 1) * size + column);
        }
        if (row < rows) even += load(dz + row * size + column);
        o.update(even + odd, p + column, first + column, second + column);
    }
}

// A layer's gradient of its values becomes that of its product; the gain and the shift, where there are any, are updated.
template <typename Taker>
static INLINE void through_activation(const Model &m, const Taker &optimizer, int layer, int64_t rows, float *p, float *first, float *second, Room &r, float *dz) {
    const int64_t size = m.sizes[layer], units = m.units[layer];
    if (linear(m, layer)) {
        if (m.sparsity > 0) shrink(rows * size, m.sparsity / (float(rows) * units), r.h[layer], dz);
        if (m.variational) sample_back(m, rows, m.beta / (float(rows) * m.features), r, dz);
        return;
    }
    float *slopes = r.slopes[layer];
    for (int64_t at = 0; at < rows * size; at += LANES) store(dz + at, load(dz + at) * load(slopes + at));
    if (!m.norm) return;
    const int64_t gain = m.gains[layer - 1], shift = gain + size;
    update_bias(optimizer, rows, size, dz, p + shift, first + shift, second + shift);
    normalise_back(rows, size, units, p + gain, r.normal[layer], r.inverse[layer], dz, slopes);
    update_bias(optimizer, rows, size, slopes, p + gain, first + gain, second + gain);
}

// Gradients from the output to the input, each layer's parameters updated as soon as nothing needs the old ones.
template <typename Taker>
static INLINE void backward(const Model &m, const Taker &optimizer, int64_t rows, float *p, float *first, float *second, Room &r) {
    float *dz = r.dz[0], *next = r.dz[1];
    for (int layer = m.layers - 1; layer >= 0; layer--) {
        const int64_t in = m.sizes[layer], out = outputs(m, layer + 1), w = m.weights[layer], b = m.biases[layer];
        if (m.skip && layer == m.layers - 1) decoder_around_back(m, optimizer, rows, read(m, code_layer(m), r), dz, p, first, second, r);
        if (m.skip && layer == code_layer(m) - 1) encoder_around_back(m, optimizer, rows, dz, p, first, second, r);
        if (layer) {
            product<Major::rows>(rows, in, out, {dz, out}, p + w, true, nullptr, next, r.panel);
            if (m.skip && layer == code_layer(m)) add_rows(rows * in, r.code_gradient, next);
            through_activation(m, optimizer, layer, rows, p, first, second, r, next);
        }
        product<Major::columns>(in, out, rows, {read(m, layer, r), in}, dz, false, nullptr, r.gradient, r.panel);
        update_weights(optimizer, in * out, r.gradient, p + w, first + w, second + w);
        update_bias(optimizer, rows, out, dz, p + b, first + b, second + b);
        float *used = dz;
        dz = next, next = used;
    }
}

// The share of a gradient that is used, as torch.nn.utils.clip_grad_norm_ has it.
static float clipped(float most, int64_t count, const float *g) {
    double squares = 0;
    for (int64_t at = 0; at < count; at += LANES) {
        V values = load(g + at);
        squares += sum(values * values);
    }
    const double share = most / (std::sqrt(squares) + 1e-6);
    return share > 1 ? 1.0f : float(share);
}

// The same where the gradient's norm has a bound: all of it is known before the first parameter changes.
__attribute__((noinline)) static void backward_clipped(const Model &m, const Optimizer &optimizer, int64_t rows, const State &state, Room &r) {
    const int64_t count = row_length(m);
    backward(m, Keeper{r.gradients, state.parameters}, rows, state.parameters, state.first, state.second, r);
    const float share = clipped(m.clip_norm, count, r.gradients);
    for (int64_t at = 0; at < count; at += LANES) store(r.gradients + at, load(r.gradients + at) * share);
    update_weights(optimizer, count, r.gradients, state.parameters, state.first, state.second);
}

// What the network reads of rows that it does not read as they are.
static void readable(const Model &m, int64_t rows, const float *from, float *to) {
    if (m.terms && m.terms->missing)
        fill_in(m, rows, from, to);
    else
        memcpy(to, from, rows * m.sizes[0] * sizeof(float));
    if (m.centre) centre_rows(m, rows, to);
}

// Rows by their numbers; the noise, where there is any, on the input alone, which has no missing values.
static void gather(const Model &m, int64_t rows, const float *data, const int64_t *order, const float *noise, Room &r) {
    const int64_t size = m.sizes[0];
    for (int64_t row = 0; row < rows; row++) {
        const float *from = data + order[row] * size;
        memcpy(r.target + row * size, from, size * sizeof(float));
        if (filled(m))
            readable(m, 1, from, r.input + row * size);
        else if (noise)
            memcpy(r.input + row * size, from, size * sizeof(float));
        if (!noise) continue;
        for (int64_t column = 0; column < m.features; column++)
            r.input[row * size + column] += m.noise * noise[row * m.features + column];
    }
}

// What the network reads of consecutive rows.
static const float *complete(const Model &m, int64_t rows, const float *from, const Room &r) {
    if (!filled(m)) return from;
    readable(m, rows, from, r.input);
    return r.input;
}

// Subnormal numbers are taken for zero while this lives: the moments of dead units decay into them, and they are slow.
class Flushed {
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();

  public:
    Flushed() { _mm_setcsr(before | 0x8040); }
    ~Flushed() { _mm_setcsr(before); }
#endif
};

}  // namespace tuner

using namespace tuner;

// Every function that may refuse returns null, or what is wrong in words; then it has written nothing.
extern "C" {

// What library.py compares before it calls anything else: a build that was left from other sources must not train. Returns the
// number of characters, and writes as many of them as there is room for.
int64_t tuner_interface(char *to, int64_t room) { return describe(to, room); }

// What made this build.
const char *tuner_compiler() {
#if defined(__clang__)
    return __VERSION__;
#else
    return "GCC " __VERSION__;
#endif
}

// The best build for this processor: avx512, avx2 or plain.
const char *tuner_instructions() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
        return "avx512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
    return "plain";
}

// One activation on `count` values, a multiple of 16: z becomes h, and its slopes are written.
const char *tuner_activate(int32_t activation, int64_t count, float *z, float *slopes) {
    if (activation < 0 || activation >= ACTIVATION_COUNT) return "activation must be a number of the list of activations";
    if (count < 0 || count % LANES) return "the number of values must be a multiple of the lanes";
    ACTIVATE[activation](1, count, count, z, slopes);
    return nullptr;
}

// Values of work space for batches of `rows` rows.
const char *tuner_room(const Model *m, int64_t rows, int64_t *values) {
    if (const char *wrong = mistake(*m, INT64_MAX)) return wrong;
    if (rows < 1) return "rows at once must be at least 1";
    *values = lay_out(*m, rows, nullptr, nullptr);
    return nullptr;
}

// Train an epoch, or some batches of it, over the rows in their order, the last batch as small as it is. The total is the sum
// of all values' losses.
const char *tuner_train(const Model *m, const Visit *visit, const State *state, float *work, int64_t size, double *sum) {
    const int64_t count = visit->count, at_once = m->batch < count ? m->batch : count;
    if (const char *wrong = mistake(*m, state->length, count, at_once, size)) return wrong;
    if (const char *wrong = mistake(*visit)) return wrong;
    Flushed flushed;
    Room room;
    lay_out(*m, at_once, work, &room);
    int64_t steps = state->steps;
    double total = 0;
    for (int64_t start = 0; start < count; start += m->batch) {
        const int64_t rows = count - start < m->batch ? count - start : m->batch;
        Draws here{visit->noise, visit->code_noise, visit->dropout, visit->position + start};
        if (here.code_noise) here.code_noise += start * m->units[code_layer(*m)];
        gather(*m, rows, visit->data, visit->order + start, here.noise ? here.noise + start * m->features : nullptr, room);
        forward(*m, m->layers, rows, room.input, state->parameters, &here, room);
        const float *y = room.h[m->layers], scale = 1.0f / (float(rows) * m->features);
        total += m->terms ? term_losses(*m, rows, room.target, y, scale, room, room.dz[0], nullptr) : losses(*m, rows, room.target, y, scale, room.dz[0]);
        const Optimizer optimizer(visit->rates ? visit->rates[start / m->batch] : m->learning_rate, m->weight_decay, ++steps);
        if (m->clip_norm > 0)
            backward_clipped(*m, optimizer, rows, *state, room);
        else
            backward(*m, optimizer, rows, state->parameters, state->first, state->second, room);
    }
    *sum = total;
    return nullptr;
}

// The sum of all values' losses of consecutive rows, `chunk` at a time.
const char *tuner_measure(const Model *m, const float *data, int64_t count, int64_t chunk, const float *p, int64_t length, float *work, int64_t size,
                          double *sum) {
    if (const char *wrong = mistake(*m, length, count, chunk, size)) return wrong;
    Flushed flushed;
    Room room;
    lay_out(*m, chunk, work, &room);
    double total = 0;
    for (int64_t start = 0; start < count; start += chunk) {
        const int64_t rows = count - start < chunk ? count - start : chunk;
        const float *from = data + start * m->sizes[0], *y = room.h[m->layers];
        forward(*m, m->layers, rows, complete(*m, rows, from, room), p, nullptr, room);
        total += m->terms ? term_losses(*m, rows, from, y, 0, room, nullptr, nullptr) : losses(*m, rows, from, y, 0, room.dz[0]);
    }
    *sum = total;
    return nullptr;
}

// What the encoder's last layer gives for consecutive rows, `chunk` at a time: `outputs` of the code for each, padded; the sum
// of each row's losses; and, where it is asked for, the last layer's outputs, padded.
const char *tuner_encode(const Model *m, const float *data, int64_t count, int64_t chunk, const float *p, int64_t length, float *work, int64_t size,
                         float *to, double *sums, float *last) {
    if (const char *wrong = mistake(*m, length, count, chunk, size)) return wrong;
    Flushed flushed;
    Room room;
    lay_out(*m, chunk, work, &room);
    const int64_t in = m->sizes[0], out = outputs(*m, code_layer(*m));
    for (int64_t start = 0; start < count; start += chunk) {
        const int64_t rows = count - start < chunk ? count - start : chunk;
        const float *from = data + start * in;
        forward(*m, m->layers, rows, complete(*m, rows, from, room), p, nullptr, room);
        memcpy(to + start * out, room.h[code_layer(*m)], rows * out * sizeof(float));
        if (last) memcpy(last + start * in, room.h[m->layers], rows * in * sizeof(float));
        if (m->terms) term_losses(*m, rows, from, room.h[m->layers], 0, room, nullptr, sums + start);
        for (int64_t row = 0; !m->terms && row < rows; row++)
            sums[start + row] = losses(*m, 1, from + row * in, room.h[m->layers] + row * in, 0, room.dz[0]);
    }
    return nullptr;
}
}
