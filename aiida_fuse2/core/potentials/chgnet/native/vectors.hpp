// Vectors of floats of the width that the compiler is told to build for, and the functions CHGNet needs of them.
//
// GCC and Clang translate these types into SSE, AVX2, AVX-512, NEON, ... instructions.

#pragma once

#include <cstddef>
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define FUSE2_VECTOR_BYTES 64
#elif defined(__AVX__)
#define FUSE2_VECTOR_BYTES 32
#else
#define FUSE2_VECTOR_BYTES 16
#endif

namespace fuse2 {

typedef float vfloat __attribute__((vector_size(FUSE2_VECTOR_BYTES), may_alias));
typedef std::int32_t vint __attribute__((vector_size(FUSE2_VECTOR_BYTES), may_alias));

constexpr int LANES = FUSE2_VECTOR_BYTES / 4;
constexpr std::size_t ALIGNMENT = 64;

// Rows and vectors per row of the block that stays in registers during a matrix product.
constexpr int BLOCK_ROWS = 6;
constexpr int BLOCK_VECTORS = LANES == 16 ? 4 : 2;

inline vfloat load(const float* p) { return *reinterpret_cast<const vfloat*>(p); }
inline void store(float* p, vfloat x) { *reinterpret_cast<vfloat*>(p) = x; }
inline void add_to(float* p, vfloat x) { store(p, load(p) + x); }

// The sum of all lanes, by halves: a chain of single additions would cost as much as the rest of a row.
inline float sum_of_four(const float* x) { return (x[0] + x[2]) + (x[1] + x[3]); }

inline float sum(vfloat x) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)x);
#elif defined(__AVX__)
    const __m128 half = _mm_add_ps(_mm256_castps256_ps128((__m256)x), _mm256_extractf128_ps((__m256)x, 1));
    const __m128 quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
#else
    return sum_of_four(reinterpret_cast<const float*>(&x));
#endif
}

// While it lives, numbers below 1e-38 are zero, as far as the processor can be told: the weights of messages near the
// cutoffs make many of them, and each costs a hundred times as much as another number.
class FlushToZero {
  public:
#if defined(__SSE2__)
    FlushToZero() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040u); }
    ~FlushToZero() { _mm_setcsr(saved_); }

  private:
    unsigned saved_;
#else
    FlushToZero() = default;
#endif
};

// Memory that grows, shrinks after a structure that was far larger, and is never filled with zeros unless asked;
// aligned for vectors.
class Buffer {
  public:
    static inline thread_local bool was_released = false; // memory that was large, since this was last set

    Buffer() = default;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { release(); }

    float* get(std::size_t n) {
        const bool is_far_larger = capacity_ > KEPT && capacity_ / SHRINKING > n;
        if (n > capacity_ || is_far_larger) {
            was_released |= is_far_larger;
            release();
            capacity_ = n + std::min(n / 4, KEPT);
            data_ = static_cast<float*>(::operator new[](capacity_ * sizeof(float), std::align_val_t(ALIGNMENT)));
        }
        return data_;
    }

    float* zeros(std::size_t n) {
        float* p = get(n);
        for (std::size_t i = 0; i < n; ++i) p[i] = 0.0f;
        return p;
    }

    float* data() const { return data_; }

  private:
    static constexpr std::size_t KEPT = 1 << 18, SHRINKING = 8; // floats; factor

    void release() {
        if (data_) ::operator delete[](data_, std::align_val_t(ALIGNMENT));
        data_ = nullptr;
        capacity_ = 0;
    }

    float* data_ = nullptr;
    std::size_t capacity_ = 0;
};

// exp(x) for |x| <= 80, relative error below 2e-7: x = n ln 2 + r, a polynomial in r, and n into the exponent.
inline vfloat exponential(vfloat x) {
    constexpr float ROUND = 12582912.0f; // 1.5 * 2^23: adding it rounds to an integer in the lowest bits
    constexpr float LOG2_E = 1.44269504088896f, LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
    const vfloat shifted = x * LOG2_E + ROUND;
    const vfloat n = shifted - ROUND;
    const vfloat r = (x - n * LN2_HIGH) - n * LN2_LOW;
    vfloat p = r * (1.0f / 5040) + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = (p * r + 1.0f) * r + 1.0f;
    const vint exponent = ((vint)shifted << 23) + 0x3f800000;
    return p * (vfloat)exponent;
}

inline vfloat sigmoid(vfloat x) {
    constexpr float LIMIT = 80.0f;
    x = x < -LIMIT ? -LIMIT + (vfloat){} : x;
    x = x > LIMIT ? LIMIT + (vfloat){} : x;
    return 1.0f / (1.0f + exponential(-x));
}

// Sine and cosine of x = n pi/2 + r with |r| <= pi/4; errors below 1e-7.
inline void sine_cosine(vfloat r, vint n, vfloat& sine, vfloat& cosine) {
    const vfloat r2 = r * r;
    vfloat s = r2 * -1.9515295891e-4f + 8.3321608736e-3f;
    s = s * r2 + -1.6666654611e-1f;
    s = s * r2 * r + r;
    vfloat c = r2 * 2.443315711809948e-5f + -1.388731625493765e-3f;
    c = c * r2 + 4.166664568298827e-2f;
    c = c * r2 * r2 + (1.0f - 0.5f * r2);
    const vint odd = (n & 1) != 0;
    const vint sine_negative = (n & 2) << 30;
    const vint cosine_negative = ((n + 1) & 2) << 30;
    sine = (vfloat)((vint)(odd ? c : s) ^ sine_negative);
    cosine = (vfloat)((vint)(odd ? s : c) ^ cosine_negative);
}

// --- matrix products ----------------------------------------------------------------------------

template <int R, int V>
inline void block_product(const float* a, std::size_t lda, const float* w, std::size_t ldw, int k, float* c,
                          std::size_t ldc, bool accumulate) {
    vfloat sums[R][V];
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) sums[i][j] = accumulate ? load(c + i * ldc + j * LANES) : (vfloat){};
    for (int l = 0; l < k; ++l) {
        vfloat row[V];
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) row[j] = load(w + l * ldw + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
            for (int j = 0; j < V; ++j) sums[i][j] += a[i * lda + l] * row[j];
    }
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) store(c + i * ldc + j * LANES, sums[i][j]);
}

template <int V>
inline void few_rows_product(int rows, const float* a, std::size_t lda, const float* w, std::size_t ldw, int k,
                             float* c, std::size_t ldc, bool accumulate) {
    switch (rows) {
    case 5: return block_product<5, V>(a, lda, w, ldw, k, c, ldc, accumulate);
    case 4: return block_product<4, V>(a, lda, w, ldw, k, c, ldc, accumulate);
    case 3: return block_product<3, V>(a, lda, w, ldw, k, c, ldc, accumulate);
    case 2: return block_product<2, V>(a, lda, w, ldw, k, c, ldc, accumulate);
    case 1: return block_product<1, V>(a, lda, w, ldw, k, c, ldc, accumulate);
    default: return;
    }
}

template <int V>
inline void panel_product(int m, const float* a, std::size_t lda, const float* w, std::size_t ldw, int k, float* c,
                          std::size_t ldc, bool accumulate) {
    int i = 0;
    for (; i + BLOCK_ROWS <= m; i += BLOCK_ROWS)
        block_product<BLOCK_ROWS, V>(a + i * lda, lda, w, ldw, k, c + i * ldc, ldc, accumulate);
    few_rows_product<V>(m - i, a + i * lda, lda, w, ldw, k, c + i * ldc, ldc, accumulate);
}

// c (m x n) = a (m x k) w (k x n), added to c if `accumulate`; rows of w and c begin at aligned addresses, and n is a
// multiple of 32.
inline void product(int m, int k, int n, const float* a, std::size_t lda, const float* w, std::size_t ldw, float* c,
                    std::size_t ldc, bool accumulate = false) {
    constexpr int WIDTH = BLOCK_VECTORS * LANES;
    int j = 0;
    for (; j + WIDTH <= n; j += WIDTH)
        panel_product<BLOCK_VECTORS>(m, a, lda, w + j, ldw, k, c + j, ldc, accumulate);
    for (; j < n; j += LANES) panel_product<1>(m, a, lda, w + j, ldw, k, c + j, ldc, accumulate);
}

} // namespace fuse2
