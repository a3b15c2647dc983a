// Attention over a paged cache, one key/value head at a time.
//
// A block holds BLOCK positions of one head: keys as [dim][BLOCK], so that a vector holds positions; values as [BLOCK][dim]. A query's
// scores, the sum of their exponentials and the weighted values are chains of additions in the order of positions, so a query has the
// same bits in any batch and chunk. int8: a scale for each position and head.
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
            for (int e = 0; e < dim; ++e) key_at[e * BLOCK] = to_bf16(k[e]);
            for (int e = 0; e < dim; ++e) value_at[e] = to_bf16(v[e]);
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

// `Q` queries (rows of `dim` floats, scaled already) at `positions`, over the blocks of `table`; results go to `out` + row offsets.
template <int Q, typename T>
void attend_tile(const Pages<T>& pages, int head, const int32_t* table, const float* const* queries, const int32_t* positions,
                 float* const* out, float* scores, int stride) {
    const int dim = pages.dim;
    int furthest = 0;
    for (int q = 0; q < Q; ++q) furthest = std::max(furthest, positions[q]);
    const int blocks = furthest / BLOCK + 1;
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512 never = _mm512_set1_ps(-INFINITY);
    __m512 most[Q], total[Q];
    for (int q = 0; q < Q; ++q) most[q] = never, total[q] = _mm512_setzero_ps();
    for (int b = 0; b < blocks; ++b) {
        const T* key = pages.key(table[b], head);
        __m512 s[Q][2];
        for (int q = 0; q < Q; ++q) s[q][0] = s[q][1] = _mm512_setzero_ps();
        for (int e = 0; e < dim; ++e, key += BLOCK) {
            const __m512 k0 = load(key), k1 = load(key + 16);
#pragma GCC unroll 8
            for (int q = 0; q < Q; ++q) {
                const __m512 x = _mm512_set1_ps(queries[q][e]);
                s[q][0] = _mm512_fmadd_ps(x, k0, s[q][0]);
                s[q][1] = _mm512_fmadd_ps(x, k1, s[q][1]);
            }
        }
        for (int half = 0; half < 2; ++half) {
            const __m512i at = _mm512_add_epi32(lanes, _mm512_set1_epi32(b * BLOCK + half * 16));
            for (int q = 0; q < Q; ++q) {
                __m512 value = s[q][half];
                if constexpr (std::is_same_v<T, int8_t>)
                    value = _mm512_mul_ps(value, load(pages.key_scale + pages.at(table[b], head) * BLOCK + half * 16));
                const __mmask16 seen = _mm512_cmple_epi32_mask(at, _mm512_set1_epi32(positions[q]));
                value = _mm512_mask_mov_ps(never, seen, value);
                most[q] = _mm512_max_ps(most[q], value);
                _mm512_storeu_ps(scores + static_cast<size_t>(q) * stride + b * BLOCK + half * 16, value);
            }
        }
    }
    for (int q = 0; q < Q; ++q) {
        const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(most[q]));
        float* row = scores + static_cast<size_t>(q) * stride;
        for (int i = 0; i < blocks * BLOCK; i += 16) {
            const __m512 weight = exp_(_mm512_sub_ps(load(row + i), top));
            total[q] = _mm512_add_ps(total[q], weight);
            _mm512_storeu_ps(row + i, weight);
        }
    }
    if constexpr (std::is_same_v<T, int8_t>)
        for (int b = 0; b < blocks; ++b)
            for (int half = 0; half < BLOCK; half += 16) {
                const __m512 scale = load(pages.value_scale + pages.at(table[b], head) * BLOCK + half);
                for (int q = 0; q < Q; ++q) {
                    float* weight = scores + static_cast<size_t>(q) * stride + b * BLOCK + half;
                    _mm512_storeu_ps(weight, _mm512_mul_ps(load(weight), scale));
                }
            }
    // Two vectors of the head dim at a time, so that all sums stay in registers.
    for (int e = 0; e < dim; e += 32) {
        const bool second = e + 16 < dim;
        __m512 y[Q][2];
        for (int q = 0; q < Q; ++q) y[q][0] = y[q][1] = _mm512_setzero_ps();
        for (int b = 0; b < blocks; ++b) {
            const T* value = pages.value(table[b], head) + e;
            const int upto = std::min(BLOCK, furthest + 1 - b * BLOCK);
            for (int place = 0; place < upto; ++place, value += dim) {
                const __m512 v0 = load(value), v1 = second ? load(value + 16) : _mm512_setzero_ps();
#pragma GCC unroll 8
                for (int q = 0; q < Q; ++q) {
                    const __m512 weight = _mm512_set1_ps(scores[static_cast<size_t>(q) * stride + b * BLOCK + place]);
                    y[q][0] = _mm512_fmadd_ps(weight, v0, y[q][0]);
                    y[q][1] = _mm512_fmadd_ps(weight, v1, y[q][1]);
                }
            }
        }
        for (int q = 0; q < Q; ++q) {
            const __m512 inverse = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(total[q]));
            _mm512_storeu_ps(out[q] + e, _mm512_mul_ps(y[q][0], inverse));
            if (second) _mm512_storeu_ps(out[q] + e + 16, _mm512_mul_ps(y[q][1], inverse));
        }
    }
}

}  // namespace kwen
