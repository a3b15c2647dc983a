// Attention over a paged cache, one key/value head at a time.
//
// A block holds BLOCK positions of one head: keys as [dim][BLOCK], so that a vector holds positions; values as [BLOCK][dim]. bfloat16
// goes in pairs, as its product takes it: keys [dim / 2][BLOCK][2], values [BLOCK / 2][dim][2]; queries and weights are rounded to it.
// int8: a scale for each position and head; keys [dim / 4][BLOCK][4] of unsigned levels around 128, values [BLOCK / 4][dim][4]; queries are
// rounded to int8 and weights to unsigned bytes, a scale for each query and for each query and block. A query's scores, the sum of their exponentials and the weighted values are chains of
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
        if constexpr (std::is_same_v<T, int8_t>) {
            const float k_inverse = level(k, key_scale[at(block, head) * BLOCK + place]);
            const float v_inverse = level(v, value_scale[at(block, head) * BLOCK + place]);
            uint8_t* keys_at = reinterpret_cast<uint8_t*>(key(block, head)) + place * 4;
            int8_t* values_at = value(block, head) + static_cast<size_t>(place / 4) * dim * 4 + place % 4;
            for (int e = 0; e < dim; ++e) {
                keys_at[e / 4 * BLOCK * 4 + e % 4] = static_cast<uint8_t>(static_cast<int>(std::nearbyint(k[e] * k_inverse)) + 128);
                values_at[e * 4] = static_cast<int8_t>(std::nearbyint(v[e] * v_inverse));
            }
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
            T* key_at = key(block, head) + place;
            for (int e = 0; e < dim; ++e) key_at[e * BLOCK] = k[e];
            std::memcpy(value(block, head) + static_cast<size_t>(place) * dim, v, dim * sizeof(float));
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

// A query in the form that narrow keys are multiplied with: pairs of bfloat16, or fours of int8 with their scale and sum.
struct Narrow {
    int32_t words[256];
    float scale;
    int32_t sum;

    void fill_bf16(const float* x, int dim) {
        for (int e = 0; e < dim; e += 16) _mm256_storeu_si256(reinterpret_cast<__m256i*>(&words[e / 2]), to_bf16(load(x + e)));
    }

    void fill_int8(const float* x, int dim) {
        __m512 most = _mm512_setzero_ps();
        for (int e = 0; e < dim; e += 16) most = _mm512_max_ps(most, _mm512_abs_ps(load(x + e)));
        const float top = _mm512_reduce_max_ps(most);
        const __m512 inverse = _mm512_set1_ps(top > 0 ? 127.0f / top : 0.0f);
        __m512i total = _mm512_setzero_si512();
        for (int e = 0; e < dim; e += 16) {
            const __m512i levels = _mm512_cvtps_epi32(_mm512_mul_ps(load(x + e), inverse));
            total = _mm512_add_epi32(total, levels);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(&words[e / 4]), _mm512_cvtsepi32_epi8(levels));
        }
        scale = top / 127.0f;
        sum = _mm512_reduce_add_epi32(total);
    }
};

// The scores of `Q` queries for one block's positions. The next block's keys and this block's values are fetched meanwhile.
template <int Q, typename T>
inline void score_block(const T* key, const T* next, const T* value, int dim, const float* const* queries, const Narrow* narrow,
                        __m512 (&s)[Q][2]) {
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) s[q][0] = s[q][1] = _mm512_setzero_ps();
    constexpr int line = 64 / sizeof(T);
    if constexpr (std::is_same_v<T, int8_t>) {
        __m512i dot[Q][2];
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) dot[q][0] = dot[q][1] = _mm512_set1_epi32(-128 * narrow[q].sum);
        for (int e = 0; e < dim / 4; ++e, key += 4 * BLOCK, next += 4 * BLOCK, value += 4 * BLOCK) {
            for (int i = 0; i < 4 * BLOCK; i += line) {
                _mm_prefetch(next + i, _MM_HINT_T0);
                _mm_prefetch(value + i, _MM_HINT_T1);
            }
            const __m512i k0 = _mm512_loadu_si512(key), k1 = _mm512_loadu_si512(key + 64);
#pragma GCC unroll 8
            for (int q = 0; q < Q; ++q) {
                const __m512i x = _mm512_set1_epi32(narrow[q].words[e]);
                dot[q][0] = _mm512_dpbusd_epi32(dot[q][0], k0, x);
                dot[q][1] = _mm512_dpbusd_epi32(dot[q][1], k1, x);
            }
        }
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
            const __m512 scale = _mm512_set1_ps(narrow[q].scale);
            s[q][0] = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[q][0]), scale);
            s[q][1] = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[q][1]), scale);
        }
    } else if constexpr (std::is_same_v<T, bf16>) {
        for (int e = 0; e < dim / 2; ++e, key += 2 * BLOCK, next += 2 * BLOCK, value += 2 * BLOCK) {
            for (int i = 0; i < 2 * BLOCK; i += line) {
                _mm_prefetch(next + i, _MM_HINT_T0);
                _mm_prefetch(value + i, _MM_HINT_T1);
            }
            const __m512bh k0 = (__m512bh)_mm512_loadu_si512(key), k1 = (__m512bh)_mm512_loadu_si512(key + BLOCK);
#pragma GCC unroll 8
            for (int q = 0; q < Q; ++q) {
                const __m512bh x = (__m512bh)_mm512_set1_epi32(narrow[q].words[e]);
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
    if constexpr (std::is_same_v<T, int8_t>) {
        __m512i dot[Q][2];
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) dot[q][0] = dot[q][1] = _mm512_setzero_si512();
        for (int place = 0; place < upto; place += 4, value += 4 * dim) {
            const __m512i v0 = _mm512_loadu_si512(value), v1 = wide ? _mm512_loadu_si512(value + 64) : _mm512_setzero_si512();
#pragma GCC unroll 8
            for (int q = 0; q < Q; ++q) {
                int32_t four;  // the weights are stored as bytes in the place of their floats, their scale after them
                std::memcpy(&four, reinterpret_cast<const uint8_t*>(scores + static_cast<size_t>(q) * stride) + place, 4);
                const __m512i weight = _mm512_set1_epi32(four);
                dot[q][0] = _mm512_dpbusd_epi32(dot[q][0], weight, v0);
                dot[q][1] = _mm512_dpbusd_epi32(dot[q][1], weight, v1);
            }
        }
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
            const __m512 scale = _mm512_set1_ps(scores[static_cast<size_t>(q) * stride + BLOCK / 4]);
            y[q][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[q][0]), scale, y[q][0]);
            y[q][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[q][1]), scale, y[q][1]);
        }
    } else if constexpr (std::is_same_v<T, bf16>) {
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
    Narrow narrow[Q];
    for (int q = 0; q < Q; ++q) {
        if constexpr (pairwise) narrow[q].fill_bf16(queries[q], dim);
        if constexpr (scaled) narrow[q].fill_int8(queries[q], dim);
    }
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512 never = _mm512_set1_ps(-INFINITY);
    __m512 most[Q];
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) most[q] = never;
    for (int b = 0; b < blocks; ++b) {
        __m512 s[Q][2];
        score_block<Q>(pages.key(table[b], head), pages.key(table[std::min(b + 1, blocks - 1)], head), pages.value(table[b], head), dim,
                       queries, narrow, s);
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
        for (int b = 0; b < blocks; ++b) {
            float* at = row + b * BLOCK;
            __m512 w0 = exp_(_mm512_sub_ps(load(at), top)), w1 = exp_(_mm512_sub_ps(load(at + 16), top));
            total = _mm512_add_ps(_mm512_add_ps(total, w0), w1);
            // narrow weights take the first part of their block's floats
            if constexpr (scaled) {
                const float* scale = pages.value_scale + pages.at(table[b], head) * BLOCK;
                w0 = _mm512_mul_ps(w0, load(scale)), w1 = _mm512_mul_ps(w1, load(scale + 16));
                const float largest = _mm512_reduce_max_ps(_mm512_max_ps(w0, w1));
                const __m512 to_byte = _mm512_set1_ps(largest > 0 ? 255.0f / largest : 0.0f);
                uint8_t* bytes = reinterpret_cast<uint8_t*>(at);
                _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes), _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(w0, to_byte))));
                _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + 16), _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(w1, to_byte))));
                at[BLOCK / 4] = largest / 255.0f;
            } else if constexpr (pairwise) {
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), to_bf16(w0));
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(at + 8), to_bf16(w1));
            } else {
                _mm512_storeu_ps(at, w0);
                _mm512_storeu_ps(at + 16, w1);
            }
        }
        inverse[q] = 1.0f / _mm512_reduce_add_ps(total);
    }
    for (int e = 0; e < dim; e += 32) {  // as many dimensions as the registers hold sums of
        const bool wide = e + 16 < dim;
        __m512 y[Q][2];
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) y[q][0] = y[q][1] = _mm512_setzero_ps();
        for (int b = 0; b < blocks; ++b)
            add_values<Q>(pages.value(table[b], head) + e * (scaled ? 4 : pairwise ? 2 : 1), dim, wide, std::min(BLOCK, furthest + 1 - b * BLOCK),
                          scores + b * BLOCK, stride, y);
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
            _mm512_storeu_ps(out[q] + e, _mm512_mul_ps(y[q][0], _mm512_set1_ps(inverse[q])));
            if (wide) _mm512_storeu_ps(out[q] + e + 16, _mm512_mul_ps(y[q][1], _mm512_set1_ps(inverse[q])));
        }
    }
}

}  // namespace kwen
