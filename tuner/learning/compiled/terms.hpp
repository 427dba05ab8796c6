// A loss whose terms differ from column to column (tuner/data/terms.py): numbers, yes or no, levels, counts, and missing cells.
//
// Sixteen rows are turned at a time, so that a lane is a row and a column is a vector: a column has one kind, and a softmax
// over any columns needs no sum across lanes. A row's numbers never depend on the rows beside it.
#pragma once

#include "parts.hpp"

namespace tuner {

constexpr float MOST_LOG_RATE = 30.0f;  // of a count's output; exp goes on from there as its tangent does

// Choices by arithmetic on bits: GCC takes a comparison of sixteen floats apart where the processor has no AVX-512.
static INLINE I missing(V v) { return (0x7f800000 - (bits(v) & 0x7fffffff)) >> 31; }  // all bits where it is NaN
static INLINE I negative(V v) { return bits(v) >> 31; }
static INLINE V without(V v, I gone) { return floats(bits(v) & ~gone); }  // 0 there, whatever it was
static INLINE V chosen(I which, V a, V b) { return floats((bits(a) & which) | (bits(b) & ~which)); }

// The loss of sixteen rows' cells, not weighted, and its slope.
struct Cell {
    V loss, slope;
};

static INLINE Cell square(V out, V wanted) {
    V d = out - wanted;
    return {d * d, 2.0f * d};
}

static INLINE Cell huber(V out, V wanted, float delta) {
    V d = out - wanted, within = greatest(least(d, all(delta)), all(-delta));
    return {within * (d - 0.5f * within), within};
}

static INLINE Cell logistic(V out, V wanted) {
    V e = exp(-magnitude(out)), r = inverse(1.0f + e);
    I below = negative(out);
    return {without(out, below) + log1p(e) - out * wanted, chosen(below, e * r, r) - wanted};
}

// Half of Poisson's deviance, as t (exp(u) - 1 - u) with u = out - log t: the sum that defines it loses a large count's digits.
static INLINE Cell poisson(V out, V wanted) {
    V low = least(out, all(MOST_LOG_RATE)), rate = exp(low), u = low - log(greatest(wanted, all(1e-30f)));
    V loss = wanted > 0.0f ? wanted * (expm1(u) - u) : rate;
    return {loss + (rate - wanted) * (out - low), rate - wanted};
}

// What a tile of sixteen turned rows is worked on with.
struct Tile16 {
    float *out, *wanted;  // (columns, 16): outputs, which become slopes; targets
    float scale;          // of the slopes
    V total;              // each row's loss
};

// One column that is no level of a group.
static INLINE void column_loss(const Terms &terms, int64_t column, Tile16 &tile) {
    const int64_t at = column * LANES;
    V out = load(tile.out + at), wanted = load(tile.wanted + at);
    Cell cell;
    switch (terms.kinds[column]) {
        case LOGIT: cell = logistic(out, wanted); break;
        case HUBER: cell = huber(out, wanted, terms.deltas[column]); break;
        case POISSON: cell = poisson(out, wanted); break;
        default: cell = square(out, wanted);
    }
    const float weight = terms.weights[column];
    I gone = missing(wanted);
    tile.total += without(cell.loss * weight, gone);
    store(tile.out + at, without(cell.slope * (weight * tile.scale), gone));
}

// The levels first <= column < last: -sum of target * log softmax(out).
static INLINE void group_loss(const Terms &terms, int64_t first, int64_t last, Tile16 &tile) {
    const float *out = tile.out;
    V top = load(out + first * LANES), sums{}, wanted_sum{}, along{};
    for (int64_t column = first + 1; column < last; column++) top = greatest(top, load(out + column * LANES));
    for (int64_t column = first; column < last; column++) {
        V below = load(out + column * LANES) - top, wanted = load(tile.wanted + column * LANES), e = exp(below);
        sums += e;
        wanted_sum += wanted;
        along += wanted * below;
        store(tile.out + column * LANES, e);
    }
    // A missing cell makes `wanted_sum` NaN.
    const float weight = terms.weights[first];
    I gone = missing(wanted_sum);
    tile.total += without((wanted_sum * log(sums) - along) * weight, gone);
    V share = wanted_sum * inverse(sums);
    for (int64_t column = first; column < last; column++) {
        V slope = load(out + column * LANES) * share - load(tile.wanted + column * LANES);
        store(tile.out + column * LANES, without(slope * (weight * tile.scale), gone));
    }
}

// Sixteen columns of at most sixteen rows, turned; rows that are not there are zero.
static INLINE void turn_in(int64_t rows, const float *from, int64_t stride, float *to) {
    V block[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) block[i] = i < rows ? load(from + i * stride) : V{};
    exchange<LANES / 2>(block);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) store(to + i * LANES, block[i]);
}

static INLINE void turn_out(int64_t rows, const float *from, float *to, int64_t stride) {
    V block[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) block[i] = load(from + i * LANES);
    exchange<LANES / 2>(block);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        if (i < rows) store(to + i * stride, block[i]);
}

static INLINE void tile_losses(const Model &m, const float *turned, Tile16 &tile) {
    const Terms &terms = *m.terms;
    tile.total = V{};
    for (int64_t column = 0, group = 0; column < m.features;) {
        if (!turned[column / LANES]) {
            column += LANES;
        } else if (terms.kinds[column] != SOFTMAX) {
            column_loss(terms, column++, tile);
        } else {
            column = terms.groups[2 * group + 1];
            group_loss(terms, terms.groups[2 * group], column, tile);
            group++;
        }
    }
}

// Whether sixteen columns hold more than squares, and are therefore turned.
static void choose(const Model &m, float *turned) {
    for (int64_t column = 0; column < m.sizes[m.layers]; column++) {
        if (column % LANES == 0) turned[column / LANES] = 0;
        if (column < m.features && m.terms->kinds[column] != SQUARE) turned[column / LANES] = 1;
    }
}

// A row's squares in the columns that are not turned; padding has weight 0.
static INLINE float square_losses(const Model &m, const float *turned, const float *y, const float *target, float scale, float *dz) {
    V sums{};
    for (int64_t column = 0; column < m.sizes[m.layers]; column += LANES) {
        if (turned[column / LANES]) continue;
        V wanted = load(target + column), d = load(y + column) - wanted, share = d * load(m.terms->weights + column);
        I gone = missing(wanted);
        sums += without(d * share, gone);
        if (dz) store(dz + column, without(share * (2.0f * scale), gone));
    }
    return paired_sum(sums);
}

// The sum of all cells' losses, and each row's where it is asked for; leaves the gradient of `scale` times that sum in dz, if that is
// asked for.
__attribute__((noinline)) static double term_losses(const Model &m, int64_t rows, const float *target, const float *y, float scale, const Room &r, float *dz,
                                                    double *sums) {
    const int64_t size = m.sizes[m.layers];
    float *turned = r.tile + 2 * size * LANES;
    choose(m, turned);
    Tile16 tile{r.tile, r.tile + size * LANES, scale, V{}};
    double total = 0;
    for (int64_t row = 0; row < rows; row += LANES) {
        const int64_t here = rows - row < LANES ? rows - row : LANES, at = row * size;
        for (int64_t column = 0; column < size; column += LANES) {
            if (!turned[column / LANES]) continue;
            turn_in(here, y + at + column, size, tile.out + column * LANES);
            turn_in(here, target + at + column, size, tile.wanted + column * LANES);
        }
        tile_losses(m, turned, tile);
        memset(tile.out + m.features * LANES, 0, (size - m.features) * LANES * sizeof(float));
        for (int64_t column = 0; dz && column < size; column += LANES)
            if (turned[column / LANES]) turn_out(here, tile.out + column * LANES, dz + at + column, size);
        float lanes[LANES];
        store(lanes, tile.total);
        for (int64_t lane = 0; lane < here; lane++) {
            const int64_t place = at + lane * size;
            lanes[lane] += square_losses(m, turned, y + place, target + place, scale, dz ? dz + place : nullptr);
            total += lanes[lane];
            if (sums) sums[row + lane] = lanes[lane];
        }
    }
    return total;
}

// What the network reads: a missing value is taken for its column's `fill`.
static void fill_in(const Model &m, int64_t rows, const float *from, float *to) {
    const int64_t size = m.sizes[0];
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = 0; column < size; column += LANES) {
            V value = load(from + row * size + column);
            store(to + row * size + column, chosen(missing(value), load(m.terms->fill + column), value));
        }
}

}  // namespace tuner
