// Attention over a paged cache, one key/value head at a time.
//
// A block holds BLOCK positions of one head: keys as [dim][BLOCK], so that a vector holds positions; values as [BLOCK][dim]. bfloat16
// goes in pairs, as its product takes it: keys [dim / 2][BLOCK][2], values [BLOCK / 2][dim][2]; queries and weights are rounded to it.
// int8: a scale for each position and head. A query's scores, the sum of their exponentials and the weighted values are chains of
// additions in a fixed order, so a query has the same bits in any batch and chunk.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "vectors.h"

namespace kwen {

constexpr int BLOCK = 32;
constexpr int TILE = 6;  // queries that share a reading of keys and values

// Where one layer's keys and values are: [block][head][...]; `dim` is the head dim padded to 16.
template <typename T>
struct Pages {
    T *keys, *values;
    float *key_scale, *value_scale;  // [block][head][BLOCK], int8 only
    int heads, dim;

    size_t at(int block, int head) const { return (static_cast<size_t>(block) * heads + head); }
    T* key(int block, int head) const { return keys + at(block, head) * dim * BLOCK; }
    T* value(int block, int head) const { return values + at(block, head) * dim * BLOCK; }

    // Store the key and value (dim floats each) of one position.
    void write(int block, int head, int place, const float* k, const float* v) const {
        T *key_at = key(block, head) + place, *value_at = value(block, head) + static_cast<size_t>(place) * dim;
        if constexpr (std::is_same_v<T, int8_t>) {
            const float k_inverse = level(k, key_scale[at(block, head) * BLOCK + place]);
            const float v_inverse = level(v, value_scale[at(block, head) * BLOCK + place]);
            for (int e = 0; e < dim; ++e) key_at[e * BLOCK] = static_cast<int8_t>(std::nearbyint(k[e] * k_inverse));
            for (int e = 0; e < dim; ++e) value_at[e] = static_cast<int8_t>(std::nearbyint(v[e] * v_inverse));
        } else if constexpr (std::is_same_v<T, bf16>) {
            uint32_t* pairs = reinterpret_cast<uint32_t*>(key(block, head)) + place;
            bf16* values_at = value(block, head) + static_cast<size_t>(place / 2) * dim * 2 + place % 2;
            for (int e = 0; e < dim; e += 16) {
                alignas(32) bf16 narrow[16];
                _mm256_store_si256(reinterpret_cast<__m256i*>(narrow), to_bf16(load(k + e)));
                for (int i = 0; i < 16; i += 2) {
                    uint32_t pair;
                    std::memcpy(&pair, narrow + i, 4);
                    pairs[(e + i) / 2 * BLOCK] = pair;
                }
                _mm256_store_si256(reinterpret_cast<__m256i*>(narrow), to_bf16(load(v + e)));
                for (int i = 0; i < 16; ++i) values_at[(e + i) * 2] = narrow[i];
            }
        } else {
            for (int e = 0; e < dim; ++e) key_at[e * BLOCK] = k[e];
            std::memcpy(value_at, v, dim * sizeof(float));
        }
    }

private:
    float level(const float* x, float& scale) const {
        float most = 0;
        for (int e = 0; e < dim; ++e) most = std::max(most, std::fabs(x[e]));
        scale = most / 127.0f;
        return most > 0 ? 127.0f / most : 0.0f;
    }
};

// The scores of `Q` queries for one block's positions. The next block's keys and this block's values are fetched meanwhile.
template <int Q, typename T>
inline void score_block(const T* key, const T* next, const T* value, int dim, const float* const* queries, const uint32_t (*pairs)[256],
                        __m512 (&s)[Q][2]) {
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) s[q][0] = s[q][1] = _mm512_setzero_ps();
    constexpr int line = 64 / sizeof(T);
    if constexpr (std::is_same_v<T, bf16>) {
        for (int e = 0; e < dim / 2; ++e, key += 2 * BLOCK, next += 2 * BLOCK, value += 2 * BLOCK) {
            for (int i = 0; i < 2 * BLOCK; i += line) {
                _mm_prefetch(next + i, _MM_HINT_T0);
                _mm_prefetch(value + i, _MM_HINT_T1);
            }
            const __m512bh k0 = (__m512bh)_mm512_loadu_si512(key), k1 = (__m512bh)_mm512_loadu_si512(key + BLOCK);
#pragma GCC unroll 8
            for (int q = 0; q < Q; ++q) {
                const __m512bh x = (__m512bh)_mm512_set1_epi32(pairs[q][e]);
                s[q][0] = _mm512_dpbf16_ps(s[q][0], k0, x);
                s[q][1] = _mm512_dpbf16_ps(s[q][1], k1, x);
            }
        }
    } else {
        for (int e = 0; e < dim; ++e, key += BLOCK, next += BLOCK, value += BLOCK) {
            for (int i = 0; i < BLOCK; i += line) {
                _mm_prefetch(next + i, _MM_HINT_T0);
                _mm_prefetch(value + i, _MM_HINT_T1);
            }
            const __m512 k0 = load(key), k1 = load(key + 16);
#pragma GCC unroll 8
            for (int q = 0; q < Q; ++q) {
                const __m512 x = _mm512_set1_ps(queries[q][e]);
                s[q][0] = _mm512_fmadd_ps(x, k0, s[q][0]);
                s[q][1] = _mm512_fmadd_ps(x, k1, s[q][1]);
            }
        }
    }
}

// The weighted sum of one block's values in 32 of the head's dimensions, or in 16 (`wide` false), added to `y`.
template <int Q, typename T>
inline void add_values(const T* value, int dim, bool wide, int upto, const float* scores, int stride, __m512 (&y)[Q][2]) {
    if constexpr (std::is_same_v<T, bf16>) {
        for (int place = 0; place < upto; place += 2, value += 2 * dim) {
            const __m512bh v0 = (__m512bh)_mm512_loadu_si512(value);
            const __m512bh v1 = wide ? (__m512bh)_mm512_loadu_si512(value + 32) : (__m512bh)_mm512_setzero_si512();
#pragma GCC unroll 8
            for (int q = 0; q < Q; ++q) {
                int32_t pair;  // the weights are stored as bfloat16 in the place of their floats
                std::memcpy(&pair, reinterpret_cast<const bf16*>(scores + static_cast<size_t>(q) * stride) + place, 4);
                const __m512bh weight = (__m512bh)_mm512_set1_epi32(pair);
                y[q][0] = _mm512_dpbf16_ps(y[q][0], v0, weight);
                y[q][1] = _mm512_dpbf16_ps(y[q][1], v1, weight);
            }
        }
    } else {
        for (int place = 0; place < upto; ++place, value += dim) {
            const __m512 v0 = load(value), v1 = wide ? load(value + 16) : _mm512_setzero_ps();
#pragma GCC unroll 8
            for (int q = 0; q < Q; ++q) {
                const __m512 weight = _mm512_set1_ps(scores[static_cast<size_t>(q) * stride + place]);
                y[q][0] = _mm512_fmadd_ps(weight, v0, y[q][0]);
                y[q][1] = _mm512_fmadd_ps(weight, v1, y[q][1]);
            }
        }
    }
}

// `Q` queries (rows of `dim` floats, scaled already) at `positions`, over the blocks of `table`; results go to the rows of `out`.
template <int Q, typename T>
[[gnu::noinline]] void attend_tile(const Pages<T>& pages, int head, const int32_t* table, const float* const* queries,
                                   const int32_t* positions, float* const* out, float* scores, int stride) {
    constexpr bool pairwise = std::is_same_v<T, bf16>, scaled = std::is_same_v<T, int8_t>;
    const int dim = pages.dim;
    int furthest = 0;
    for (int q = 0; q < Q; ++q) furthest = std::max(furthest, positions[q]);
    const int blocks = furthest / BLOCK + 1;
    uint32_t pairs[Q][256];
    for (int q = 0; pairwise && q < Q; ++q)
        for (int e = 0; e < dim; e += 16)
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(&pairs[q][e / 2]), to_bf16(load(queries[q] + e)));
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512 never = _mm512_set1_ps(-INFINITY);
    __m512 most[Q];
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) most[q] = never;
    for (int b = 0; b < blocks; ++b) {
        __m512 s[Q][2];
        score_block<Q>(pages.key(table[b], head), pages.key(table[std::min(b + 1, blocks - 1)], head), pages.value(table[b], head), dim,
                       queries, pairs, s);
        const float* key_scale = scaled ? pages.key_scale + pages.at(table[b], head) * BLOCK : nullptr;
        const __m512i first = _mm512_add_epi32(lanes, _mm512_set1_epi32(b * BLOCK)), second = _mm512_add_epi32(first, _mm512_set1_epi32(16));
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
            const __m512i last = _mm512_set1_epi32(positions[q]);
            __m512 s0 = s[q][0], s1 = s[q][1];
            if constexpr (scaled) s0 = _mm512_mul_ps(s0, load(key_scale)), s1 = _mm512_mul_ps(s1, load(key_scale + 16));
            s0 = _mm512_mask_mov_ps(never, _mm512_cmple_epi32_mask(first, last), s0);
            s1 = _mm512_mask_mov_ps(never, _mm512_cmple_epi32_mask(second, last), s1);
            most[q] = _mm512_max_ps(most[q], _mm512_max_ps(s0, s1));
            float* row = scores + static_cast<size_t>(q) * stride + b * BLOCK;
            _mm512_storeu_ps(row, s0);
            _mm512_storeu_ps(row + 16, s1);
        }
    }
    float inverse[Q];
    for (int q = 0; q < Q; ++q) {
        const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(most[q]));
        float* row = scores + static_cast<size_t>(q) * stride;
        __m512 total = _mm512_setzero_ps();
        for (int b = 0; b < blocks; ++b)
            for (int half = 0; half < BLOCK; half += 16) {
                float* at = row + b * BLOCK + half;
                __m512 weight = exp_(_mm512_sub_ps(load(at), top));
                total = _mm512_add_ps(total, weight);
                if constexpr (scaled) weight = _mm512_mul_ps(weight, load(pages.value_scale + pages.at(table[b], head) * BLOCK + half));
                // bfloat16 weights take the first half of their block's floats
                if constexpr (pairwise) _mm256_storeu_si256(reinterpret_cast<__m256i*>(row + b * BLOCK + half / 2), to_bf16(weight));
                else _mm512_storeu_ps(at, weight);
            }
        inverse[q] = 1.0f / _mm512_reduce_add_ps(total);
    }
    for (int e = 0; e < dim; e += 32) {  // as many dimensions as the registers hold sums of
        const bool wide = e + 16 < dim;
        __m512 y[Q][2];
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) y[q][0] = y[q][1] = _mm512_setzero_ps();
        for (int b = 0; b < blocks; ++b)
            add_values<Q>(pages.value(table[b], head) + (pairwise ? 2 * e : e), dim, wide, std::min(BLOCK, furthest + 1 - b * BLOCK),
                          scores + b * BLOCK, stride, y);
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
            _mm512_storeu_ps(out[q] + e, _mm512_mul_ps(y[q][0], _mm512_set1_ps(inverse[q])));
            if (wide) _mm512_storeu_ps(out[q] + e + 16, _mm512_mul_ps(y[q][1], _mm512_set1_ps(inverse[q])));
        }
    }
}

}  // namespace kwen
