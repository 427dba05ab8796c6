// Sixteen floats as one value, and the functions of them that a training step needs.
//
// GCC's and Clang's vector extensions: one AVX-512 register, two of AVX, four of NEON. The functions are accurate to a
// few units in the last place of the result or of 1, whichever is larger (tests/learning/test_compiled.py compares them with
// float64); NaN goes in and comes out, so that a diverged model is seen.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))

namespace tuner {

constexpr int LANES = 16;

typedef float V __attribute__((vector_size(64)));
typedef int32_t I __attribute__((vector_size(64)));

INLINE V load(const float *from) {
    V v;
    memcpy(&v, from, sizeof v);
    return v;
}
INLINE void store(float *to, V v) { memcpy(to, &v, sizeof v); }
INLINE V all(float x) { return V{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
INLINE I bits(V v) { return (I)v; }
INLINE V floats(I i) { return (V)i; }
INLINE V least(V a, V b) { return b < a ? b : a; }     // a where either is NaN
INLINE V greatest(V a, V b) { return b > a ? b : a; }  // a where either is NaN
INLINE V magnitude(V v) { return floats(bits(v) & 0x7fffffff); }
INLINE float sum(V v) {
    float lanes[LANES], total = 0;
    store(lanes, v);
    for (float lane : lanes) total += lane;
    return total;
}

// 1 / d for a finite d that is not 0.
INLINE V inverse(V d) {
#if defined(__AVX512F__)
    V r = (V)_mm512_rcp14_ps((__m512)d);
    return r * (2.0f - d * r);  // one step of Newton's method: 2^-14 becomes 2^-27
#else
    return 1.0f / d;
#endif
}

// sqrt(v) for v >= 0.
INLINE V root(V v) {
#if defined(__AVX512F__)
    V r = (V)_mm512_rsqrt14_ps((__m512)greatest(v, all(1e-36f)));
    return v * (r * (1.5f - 0.5f * v * r * r));
#else
    V s;
    for (int i = 0; i < LANES; i++) s[i] = __builtin_sqrtf(v[i]);
    return s;
#endif
}

// exp(x) = 2^n (1 + q) with n whole and |q| < 0.42: Cody and Waite's reduction, then exp's Taylor polynomial.
struct Exponential {
    V power, q;  // 2^n, exp(r) - 1
};

INLINE Exponential exponential(V x) {
    x = least(greatest(x, all(-87.0f)), all(88.0f));
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number in the low bits
    V shifted = x * 1.44269504f + magic;
    V n = shifted - magic;
    V r = x - n * 0.693359375f + n * 2.12194440e-4f;  // ln 2 in two parts
    V q = r * (1.0f + r * (1.0f / 2 + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * (1.0f / 720 + r * (1.0f / 5040)))))));
    return {floats((bits(shifted) + 127) << 23), q};
}

INLINE V exp(V x) {
    Exponential e = exponential(x);
    return e.power + e.power * e.q;
}

INLINE V expm1(V x) {
    Exponential e = exponential(x);
    return (e.power - 1.0f) + e.power * e.q;  // exact for n = 0, so small x keep their digits
}

INLINE V sigmoid(V x) { return inverse(1.0f + exp(-x)); }

INLINE V tanh(V x) {
    V t = expm1(2.0f * least(greatest(x, all(-10.0f)), all(10.0f)));
    return t * inverse(t + 2.0f);
}

// log(1 + u) for 0 <= u <= 1, as 2 atanh(u / (2 + u)).
INLINE V log1p(V u) {
    V s = u * inverse(2.0f + u), t = s * s;
    return 2.0f * s * (1.0f + t * (1.0f / 3 + t * (1.0f / 5 + t * (1.0f / 7 + t * (1.0f / 9 + t * (1.0f / 11 + t * (1.0f / 13)))))));
}

// log(x) for a normal x > 0: x = 2^n m with m between sqrt(1/2) and sqrt(2), and log(m) = 2 atanh((m - 1) / (m + 1)).
INLINE V log(V x) {
    I whole = ((bits(x) - 0x3f3504f3) >> 23) << 23;
    V m = floats(bits(x) - whole), n = __builtin_convertvector(whole >> 23, V);
    V s = (m - 1.0f) * inverse(m + 1.0f), t = s * s;
    V series = 2.0f * s * (1.0f + t * (1.0f / 3 + t * (1.0f / 5 + t * (1.0f / 7 + t * (1.0f / 9)))));
    return x == x ? n * 0.693359375f + (n * -2.12194440e-4f + series) : x;  // ln 2 in two parts
}

}  // namespace tuner
