// Products of small row-major matrices, c = a b (+ bias), in registers and L1.
//
// A tile of c stays in registers while its inner dimension runs; b comes in panels of at most four vectors' width, taken
// where they lie while b is small, else copied together (Goto and van de Geijn 2008, "Anatomy of high-performance matrix
// multiplication"). Where a tile is one vector wide, so are the strips that a panel is copied into: neighbours in a row of
// b are read together, for a row of a large b is a page of its own. The order of every sum follows from the shapes alone.
#pragma once

#include "vector.hpp"

namespace tuner {

// What fills the vector registers: 24 accumulators of 32 on AVX-512, 12 of 16 on AVX.
#if defined(__AVX512F__)
constexpr int WIDEST = 4, ACCUMULATORS = 24;
#else
constexpr int WIDEST = 1, ACCUMULATORS = 6;
#endif
constexpr int BROADEST = 4;                    // vectors of a panel's row
constexpr int DEEPEST = 128;                   // inner dimension of a panel: 32 kB at its widest
constexpr int64_t PANEL = DEEPEST * BROADEST * LANES;
constexpr int64_t SMALL = 8192;                // values of b that are used where they lie: 32 kB

// The left operand: rows whose values are neighbours, or columns whose values are (a transposed matrix).
enum class Major { rows, columns };

template <Major MAJOR>
struct Operand {
    const float *at;
    int64_t stride;  // from one row (column) to the next

    INLINE float value(int row, int64_t k) const { return MAJOR == Major::rows ? at[row * stride + k] : at[k * stride + row]; }
    INLINE Operand from(int64_t row, int64_t k) const {
        return {MAJOR == Major::rows ? at + row * stride + k : at + k * stride + row, stride};
    }
};

enum class From { zero, bias, c };  // what a tile's sum starts from

// A vector of one register. GCC 12 keeps a V that is wider than a register in memory, and a tile then runs at a tenth of
// its speed; each lane's sum is the same whatever registers it is in.
#if defined(__AVX512F__)
constexpr int REGISTER = 16;
#elif defined(__AVX__)
constexpr int REGISTER = 8;
#else
constexpr int REGISTER = 4;
#endif
typedef float R __attribute__((vector_size(REGISTER * sizeof(float))));

INLINE R load_register(const float *from) {
    R r;
    memcpy(&r, from, sizeof r);
    return r;
}
INLINE R all_lanes(float x) {
#if defined(__AVX512F__)
    return all(x);
#else
    return x - R{};  // a broadcast; x - 0 is x, whatever it is
#endif
}

template <Major MAJOR, int ROWS, int WIDTH>
static void tile(int64_t depth, Operand<MAJOR> a, const float *b, int64_t b_row, float *c, int64_t c_row, const float *bias, From from) {
    constexpr int PARTS = WIDTH * LANES / REGISTER;
    R sums[ROWS][PARTS];
#pragma GCC unroll 24
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < PARTS; j++)
            sums[i][j] = from == From::zero ? R{} : load_register((from == From::c ? c + i * c_row : bias) + j * REGISTER);
    for (int64_t k = 0; k < depth; k++) {
        R row[PARTS];
#pragma GCC unroll 4
        for (int j = 0; j < PARTS; j++) row[j] = load_register(b + k * b_row + j * REGISTER);
#pragma GCC unroll 24
        for (int i = 0; i < ROWS; i++) {
            R factor = all_lanes(a.value(i, k));
#pragma GCC unroll 4
            for (int j = 0; j < PARTS; j++) sums[i][j] += factor * row[j];
        }
    }
#pragma GCC unroll 24
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < PARTS; j++) memcpy(c + i * c_row + j * REGISTER, &sums[i][j], sizeof(R));
}

template <Major MAJOR>
using Tile = void (*)(int64_t, Operand<MAJOR>, const float *, int64_t, float *, int64_t, const float *, From);

// Rows of a tile at most. Each lying row needs a pointer of its own, and there are no more than 8 registers for those.
template <Major MAJOR>
static constexpr int highest(int width) {
    const int rows = ACCUMULATORS / width;
    return MAJOR == Major::rows && rows > 8 ? 8 : rows;
}

// The tiles of one width, by their rows.
template <Major MAJOR, int WIDTH, int ROWS = highest<MAJOR>(WIDTH)>
static INLINE Tile<MAJOR> tile_of(int rows) {
    if constexpr (ROWS == 1) return tile<MAJOR, 1, WIDTH>;
    else return rows == ROWS ? tile<MAJOR, ROWS, WIDTH> : tile_of<MAJOR, WIDTH, ROWS - 1>(rows);
}

template <Major MAJOR>
static INLINE Tile<MAJOR> tile_for(int width, int rows) {
#if defined(__AVX512F__)
    switch (width) {
        case 4: return tile_of<MAJOR, 4>(rows);
        case 3: return tile_of<MAJOR, 3>(rows);
        case 2: return tile_of<MAJOR, 2>(rows);
    }
#else
    (void)width;
#endif
    return tile_of<MAJOR, 1>(rows);
}

static INLINE int64_t pieces(int64_t total, int64_t most) { return (total + most - 1) / most; }

// All rows of c for one panel of b, in tiles of nearly equal height.
template <Major MAJOR>
static void strip(int64_t rows, int width, int64_t depth, Operand<MAJOR> a, const float *b, int64_t b_row, float *c, int64_t c_row, const float *bias,
                  From from) {
    const int64_t count = pieces(rows, highest<MAJOR>(width)), least = rows / count, more = rows % count;
    const Tile<MAJOR> high = more ? tile_for<MAJOR>(width, int(least + 1)) : nullptr, low = tile_for<MAJOR>(width, int(least));
    for (int64_t t = 0, row = 0; t < count; t++) {
        (t < more ? high : low)(depth, a.from(row, 0), b, b_row, c + row * c_row, c_row, bias, from);
        row += least + (t < more);
    }
}

// Where the values of a panel lie: in rows of its whole width, or strip by strip.
struct Lying {
    int64_t row, strip;  // from one row to the next, and from one vector of a row to the next

    static INLINE Lying of(int64_t depth, int width) {
        if (WIDEST == 1) return {LANES, depth * LANES};
        return {width * LANES, LANES};
    }
};

static void copy_panel(const float *b, int64_t b_row, int64_t depth, int width, float *to) {
    const Lying lying = Lying::of(depth, width);
    for (int64_t k = 0; k < depth; k++)
        for (int j = 0; j < width; j++)
#pragma GCC unroll 4
            for (int part = 0; part < LANES; part += REGISTER) {
                R r = load_register(b + k * b_row + j * LANES + part);
                memcpy(to + k * lying.row + j * lying.strip + part, &r, sizeof r);
            }
}

template <typename T>
constexpr int lanes = int(sizeof(T) / sizeof(float));

template <typename T>
struct Order {
    typedef int32_t Lanes __attribute__((vector_size(sizeof(T))));
};

// Lane i is lane which[i] of a, or beyond it of b.
template <typename T>
static INLINE T picked(T a, T b, typename Order<T>::Lanes which) {
#if defined(__clang__)
    T v;
    for (int i = 0; i < lanes<T>; i++) v[i] = which[i] < lanes<T> ? a[which[i]] : b[which[i] - lanes<T>];
    return v;
#else
    return __builtin_shuffle(a, b, which);
#endif
}

// As many rows as each has values, transposed: rounds in which pairs of rows exchange halves, from the largest on.
template <int STEP, typename T>
static INLINE void exchange(T *rows) {
    typename Order<T>::Lanes low, high;
    for (int i = 0; i < lanes<T>; i++) {
        low[i] = (i & STEP) ? i - STEP + lanes<T> : i;
        high[i] = (i & STEP) ? i + lanes<T> : i + STEP;
    }
#pragma GCC unroll 16
    for (int i = 0; i < lanes<T>; i++) {
        if (i & STEP) continue;
        T a = rows[i], b = rows[i + STEP];
        rows[i] = picked<T>(a, b, low);
        rows[i + STEP] = picked<T>(a, b, high);
    }
    if constexpr (STEP > 1) exchange<STEP / 2>(rows);
}

static INLINE void turn_block(const float *from, int64_t from_row, float *to, int64_t to_row) {
    R rows[REGISTER];
#pragma GCC unroll 16
    for (int i = 0; i < REGISTER; i++) rows[i] = load_register(from + i * from_row);
    exchange<REGISTER / 2>(rows);
#pragma GCC unroll 16
    for (int i = 0; i < REGISTER; i++) memcpy(to + i * to_row, &rows[i], sizeof(R));
}

// A panel of the transposed matrix: value (k, j) comes from b[j * b_row + k]; depth and width are whole blocks.
static void transpose_panel(const float *b, int64_t b_row, int64_t depth, int width, float *to) {
    const Lying lying = Lying::of(depth, width);
    for (int j = 0; j < width * LANES; j += REGISTER)
        for (int64_t k = 0; k < depth; k += REGISTER)
            turn_block(b + j * b_row + k, b_row, to + k * lying.row + j / LANES * lying.strip + j % LANES, lying.row);
}

// c (rows, columns) = a (rows, depth) b (depth, columns) + bias (columns) where there is one.
//
// columns are a multiple of 16; with `transposed`, b is given as its transpose (columns, depth) and depth is a multiple of 16
// too. `panel` is room for PANEL values.
template <Major MAJOR>
static void product(int64_t rows, int64_t columns, int64_t depth, Operand<MAJOR> a, const float *b, bool transposed, const float *bias, float *c, float *panel) {
    const bool in_place = !transposed && (depth * columns <= SMALL || rows <= ACCUMULATORS);
    const int64_t layers = pieces(depth, DEEPEST), deep = pieces(pieces(depth, layers), LANES) * LANES;
    const int64_t vectors = columns / LANES, panels = pieces(vectors, BROADEST);
    for (int64_t p = 0, first = 0; p < panels; p++) {
        const int width = int(vectors / panels + (p < vectors % panels)), wide = width < WIDEST ? width : WIDEST;
        for (int64_t k = 0; k < depth; k += deep) {
            const int64_t layer = depth - k < deep ? depth - k : deep;
            const float *source = transposed ? b + first * LANES * depth + k : b + k * columns + first * LANES;
            if (transposed) transpose_panel(source, depth, layer, width, panel);
            else if (!in_place) copy_panel(source, columns, layer, width, panel);
            const Lying lying = in_place ? Lying{columns, LANES} : Lying::of(layer, width);
            for (int j = 0; j < width; j += wide) {
                const int64_t column = (first + j) * LANES;
                strip<MAJOR>(rows, wide, layer, a.from(0, k), (in_place ? source : panel) + j * lying.strip, lying.row, c + column, columns,
                      bias ? bias + column : nullptr, k ? From::c : bias ? From::bias : From::zero);
            }
        }
        first += width;
    }
}

}  // namespace tuner
