// Attention over a paged cache, one key/value head at a time.
//
// A block holds BLOCK positions of one head: keys as [dim][BLOCK], so that a vector holds positions; values as [BLOCK][dim]. bfloat16
// goes in pairs, as its product takes it: keys [dim / 2][BLOCK][2], values [BLOCK / 2][dim][2]; queries and weights are rounded to it.
// int8: a scale for each position and head; keys [dim / 4][BLOCK][4] of unsigned levels around 128, values [BLOCK / 4][dim][4]; queries are
// rounded to int8 and weights to unsigned bytes, a scale for each query and for each query and block.
//
// The context is gone through a CHUNK of blocks at a time, by all queries of an item before the next, so that its keys and values are
// read once from memory, and a tile's scores stay in the nearest cache. What a query has of the chunks before is scaled anew where a
// larger score comes. Its sums are chains of additions in an order that its own position alone fixes, so a query has the same bits in
// any batch and whatever it is computed with. Positions, and then dimensions, are done a PANEL at a time.
#pragma once

#include <algorithm>
#include <cmath>

#include "vectors.h"

namespace kwen {

constexpr int BLOCK = 32;
constexpr int CHUNK = 16;  // blocks

// Queries that share a reading of keys and values from the caches: as many as the registers hold sums of, which narrow kinds need two of.
template <typename T>
constexpr int TILE = LANES == 16 && std::is_same_v<T, float> ? 12 : 6;

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
            const size_t scale_at = at(block, head) * BLOCK + place;
            const Floats k_inverse = all(level(k, key_scale[scale_at])), v_inverse = all(level(v, value_scale[scale_at]));
            uint32_t* keys_at = reinterpret_cast<uint32_t*>(key(block, head)) + place;
            int8_t* values_at = value(block, head) + static_cast<size_t>(place / 4) * dim * 4 + place % 4;
            for (int e = 0; e < dim; e += LANES) {
                int8_t levels[LANES];
                store_signed_bytes(levels, to_words(multiply(load(k + e), k_inverse)));
                for (int i = 0; i < LANES; i += 4) {
                    uint32_t four;
                    std::memcpy(&four, levels + i, 4);
                    keys_at[(e + i) / 4 * BLOCK] = four ^ 0x80808080u;  // around 128
                }
                store_signed_bytes(levels, to_words(multiply(load(v + e), v_inverse)));
                for (int i = 0; i < LANES; ++i) values_at[(e + i) * 4] = levels[i];
            }
        } else if constexpr (std::is_same_v<T, bf16>) {
            uint32_t* pairs = reinterpret_cast<uint32_t*>(key(block, head)) + place;
            bf16* values_at = value(block, head) + static_cast<size_t>(place / 2) * dim * 2 + place % 2;
            for (int e = 0; e < dim; e += LANES) {
                alignas(32) bf16 narrow[LANES];
                store_bf16(narrow, load(k + e));
                for (int i = 0; i < LANES; i += 2) {
                    uint32_t pair;
                    std::memcpy(&pair, narrow + i, 4);
                    pairs[(e + i) / 2 * BLOCK] = pair;
                }
                store_bf16(narrow, load(v + e));
                for (int i = 0; i < LANES; ++i) values_at[(e + i) * 2] = narrow[i];
            }
        } else {
            T* key_at = key(block, head) + place;
            for (int e = 0; e < dim; ++e) key_at[e * BLOCK] = k[e];
            std::memcpy(value(block, head) + static_cast<size_t>(place) * dim, v, dim * sizeof(float));
        }
    }

private:
    float level(const float* x, float& scale) const {
        Floats magnitudes = zeros();
        for (int e = 0; e < dim; e += LANES) magnitudes = largest(magnitudes, magnitude(load(x + e)));
        const float most = largest_of(magnitudes);
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
        for (int e = 0; e < dim; e += LANES) store_bf16(reinterpret_cast<bf16*>(&words[e / 2]), load(x + e));
    }

    void fill_int8(const float* x, int dim) {
        Floats most = zeros();
        for (int e = 0; e < dim; e += LANES) most = largest(most, magnitude(load(x + e)));
        const float top = largest_of(most);
        const Floats inverse = all(top > 0 ? 127.0f / top : 0.0f);
        Words total = zero_words();
        for (int e = 0; e < dim; e += LANES) {
            const Words levels = to_words(multiply(load(x + e), inverse));
            total = add_words(total, levels);
            store_signed_bytes(&words[e / 4], levels);
        }
        scale = top / 127.0f;
        sum = sum_of_words(total);
    }
};

// The scores of `Q` queries for two vectors of one block's positions, those from `key` on. The same positions of the next block's keys
// and part of this block's values are fetched meanwhile.
template <int Q, typename T>
inline void score_positions(const T* key, const T* next, const T* value, int dim, const float* queries, const Narrow* narrow,
                            Floats (&s)[Q][2]) {
#pragma GCC unroll 12
    for (int q = 0; q < Q; ++q) s[q][0] = s[q][1] = zeros();
    constexpr int inputs = 4 / sizeof(T), line = 64 / sizeof(T);  // inputs: of a query to one word
    auto fetch = [&] {
        for (int i = 0; i < inputs * PANEL; i += line) {
            _mm_prefetch(next + i, _MM_HINT_T0);
            _mm_prefetch(value + i, _MM_HINT_T1);
        }
    };
    auto move_on = [&] { key += inputs * BLOCK, next += inputs * BLOCK, value += inputs * PANEL; };
    if constexpr (std::is_same_v<T, int8_t>) {
        Words dot[Q][2];
#pragma GCC unroll 12
        for (int q = 0; q < Q; ++q) dot[q][0] = dot[q][1] = all_words(-128 * narrow[q].sum);
        for (int e = 0; e < dim / 4; ++e, move_on()) {
            fetch();
            const Words k0 = load_words(key), k1 = load_words(key + 4 * LANES);
#pragma GCC unroll 12
            for (int q = 0; q < Q; ++q) {
                const Words x = all_words(narrow[q].words[e]);
                dot[q][0] = dot4(dot[q][0], k0, x);
                dot[q][1] = dot4(dot[q][1], k1, x);
            }
        }
#pragma GCC unroll 12
        for (int q = 0; q < Q; ++q) {
            const Floats scale = all(narrow[q].scale);
            s[q][0] = multiply(to_floats(dot[q][0]), scale);
            s[q][1] = multiply(to_floats(dot[q][1]), scale);
        }
    } else if constexpr (std::is_same_v<T, bf16>) {
        for (int e = 0; e < dim / 2; ++e, move_on()) {
            fetch();
            const Words k0 = load_words(key), k1 = load_words(key + 2 * LANES);
#pragma GCC unroll 12
            for (int q = 0; q < Q; ++q) {
                const Words x = all_words(narrow[q].words[e]);
                s[q][0] = dot2(s[q][0], k0, x);
                s[q][1] = dot2(s[q][1], k1, x);
            }
        }
    } else {
        for (int e = 0; e < dim; ++e, move_on(), queries += Q) {
            fetch();
            const Floats k0 = load(key), k1 = load(key + LANES);
#pragma GCC unroll 12
            for (int q = 0; q < Q; ++q) {
                const Floats x = all(queries[q]);
                s[q][0] = multiply_add(x, k0, s[q][0]);
                s[q][1] = multiply_add(x, k1, s[q][1]);
            }
        }
    }
}

// The weighted sum of one block's values in two vectors of the head's dimensions, or in one (`wide` false), added to `y`.
template <int Q, typename T>
inline void add_values(const T* value, int dim, bool wide, int upto, const float* scores, int stride, Floats (&y)[Q][2]) {
    if constexpr (std::is_same_v<T, int8_t>) {
        Words dot[Q][2];
#pragma GCC unroll 12
        for (int q = 0; q < Q; ++q) dot[q][0] = dot[q][1] = zero_words();
        for (int place = 0; place < upto; place += 4, value += 4 * dim) {
            const Words v0 = load_words(value), v1 = wide ? load_words(value + 4 * LANES) : zero_words();
#pragma GCC unroll 12
            for (int q = 0; q < Q; ++q) {
                int32_t four;  // the weights are stored as bytes in the place of their floats, their scale after them
                std::memcpy(&four, reinterpret_cast<const uint8_t*>(scores + static_cast<size_t>(q) * stride) + place, 4);
                const Words weight = all_words(four);
                dot[q][0] = dot4(dot[q][0], weight, v0);
                dot[q][1] = dot4(dot[q][1], weight, v1);
            }
        }
#pragma GCC unroll 12
        for (int q = 0; q < Q; ++q) {
            const Floats scale = all(scores[static_cast<size_t>(q) * stride + BLOCK / 4]);
            y[q][0] = multiply_add(to_floats(dot[q][0]), scale, y[q][0]);
            y[q][1] = multiply_add(to_floats(dot[q][1]), scale, y[q][1]);
        }
    } else if constexpr (std::is_same_v<T, bf16>) {
        for (int place = 0; place < upto; place += 2, value += 2 * dim) {
            const Words v0 = load_words(value), v1 = wide ? load_words(value + 2 * LANES) : zero_words();
#pragma GCC unroll 12
            for (int q = 0; q < Q; ++q) {
                int32_t pair;  // the weights are stored as bfloat16 in the place of their floats
                std::memcpy(&pair, reinterpret_cast<const bf16*>(scores + static_cast<size_t>(q) * stride) + place, 4);
                const Words weight = all_words(pair);
                y[q][0] = dot2(y[q][0], v0, weight);
                y[q][1] = dot2(y[q][1], v1, weight);
            }
        }
    } else {
        for (int place = 0; place < upto; ++place, value += dim) {
            const Floats v0 = load(value), v1 = wide ? load(value + LANES) : zeros();
#pragma GCC unroll 12
            for (int q = 0; q < Q; ++q) {
                const Floats weight = all(scores[static_cast<size_t>(q) * stride + place]);
                y[q][0] = multiply_add(weight, v0, y[q][0]);
                y[q][1] = multiply_add(weight, v1, y[q][1]);
            }
        }
    }
}

// What a query has seen so far: the largest score, and the sum of the exponentials of all relative to it, by lanes.
struct Seen {
    float most, total[LANES];
};

// `Q` queries (rows of `dim` floats, scaled already) at `positions`, over the blocks [first, first + CHUNK) of `table`: `seen` and the
// sums in the rows of `out` are brought forward. A query sees `window` positions, its own the last; the blocks before those that any of
// the queries sees are not looked at. Where one query sees a block and another does not, the other's weights there are 0, which changes
// no bit of its sums.
template <int Q, typename T>
[[gnu::noinline]] void attend_chunk(const Pages<T>& pages, int head, const int32_t* table, int first, const float* const* queries,
                                    const Narrow* narrow, const int32_t* positions, int window, Seen* seen, float* const* out) {
    constexpr bool pairwise = std::is_same_v<T, bf16>, scaled = std::is_same_v<T, int8_t>;
    constexpr int inputs = 4 / sizeof(T), stride = CHUNK * BLOCK + 16;  // rows that lie a power of two apart would share a cache's set
    const int dim = pages.dim;
    int furthest = 0, nearest = positions[0];
    for (int q = 0; q < Q; ++q) furthest = std::max(furthest, positions[q]), nearest = std::min(nearest, positions[q]);
    const int begin = std::max(first, std::max(nearest - window + 1, 0) / BLOCK), end = std::min(first + CHUNK, furthest / BLOCK + 1);
    if (begin >= end) return;
    alignas(64) float scores[Q * stride];
    float packed[pairwise || scaled ? 1 : Q * 512];  // [dim][Q]: one pointer for all queries
    if constexpr (std::is_same_v<T, float>)
        for (int q = 0; q < Q; ++q)
            for (int e = 0; e < dim; ++e) packed[e * Q + q] = queries[q][e];
    Floats most[Q];
#pragma GCC unroll 12
    for (int q = 0; q < Q; ++q) most[q] = all(seen[q].most);
    for (int b = begin; b < end; ++b) {
        const T *keys = pages.key(table[b], head), *next = pages.key(table[std::min(b + 1, end - 1)], head);
        for (int place = 0; place < BLOCK; place += PANEL) {
            Floats s[Q][2];
            const T* values = pages.value(table[b], head) + static_cast<size_t>(place) * dim;
            score_positions<Q>(keys + place * inputs, next + place * inputs, values, dim, packed, narrow, s);
            const float* key_scale = scaled ? pages.key_scale + pages.at(table[b], head) * BLOCK + place : nullptr;
#pragma GCC unroll 12
            for (int q = 0; q < Q; ++q) {
                const int last = positions[q] - b * BLOCK - place;
                Floats s0 = s[q][0], s1 = s[q][1];
                if constexpr (scaled) s0 = multiply(s0, load(key_scale)), s1 = multiply(s1, load(key_scale + LANES));
                s0 = up_to(last, s0, all(-INFINITY));
                s1 = up_to(last - LANES, s1, all(-INFINITY));
                if (const int unseen = last - window; unseen >= 0) {  // the last position before the window
                    s0 = up_to(unseen, all(-INFINITY), s0);
                    s1 = up_to(unseen - LANES, all(-INFINITY), s1);
                }
                most[q] = largest(most[q], largest(s0, s1));
                float* row = scores + q * stride + (b - first) * BLOCK + place;
                store(row, s0);
                store(row + LANES, s1);
            }
        }
    }
    Floats kept[Q];  // what the sums so far are multiplied by; 0 where there is none, 1 where the largest score is an older one
    for (int q = 0; q < Q; ++q) {
        const float top = largest_of(most[q]);
        kept[q] = exp_(all(seen[q].most - top));
        Floats total = multiply(load(seen[q].total), kept[q]);
        for (int b = begin; b < end; ++b) {
            float* at = scores + q * stride + (b - first) * BLOCK;
            Floats w[BLOCK / LANES], heaviest = zeros();
            const float* scale = scaled ? pages.value_scale + pages.at(table[b], head) * BLOCK : nullptr;
#pragma GCC unroll 12
            for (int i = 0; i < BLOCK / LANES; ++i) {
                w[i] = exp_(subtract(load(at + i * LANES), all(top)));  // of -infinity 0, also where nothing was seen yet
                total = add(total, w[i]);
                if constexpr (scaled) {
                    w[i] = multiply(w[i], load(scale + i * LANES));
                    heaviest = largest(heaviest, w[i]);
                }
            }
            // narrow weights take the first part of their block's floats
            const float most_heavy = scaled ? largest_of(heaviest) : 0.0f;
            const Floats to_byte = all(most_heavy > 0 ? 255.0f / most_heavy : 0.0f);
#pragma GCC unroll 12
            for (int i = 0; i < BLOCK / LANES; ++i) {
                if constexpr (scaled) store_unsigned_bytes(reinterpret_cast<uint8_t*>(at) + i * LANES, to_words(multiply(w[i], to_byte)));
                else if constexpr (pairwise) store_bf16(reinterpret_cast<bf16*>(at) + i * LANES, w[i]);
                else store(at + i * LANES, w[i]);
            }
            if constexpr (scaled) at[BLOCK / 4] = most_heavy / 255.0f;
        }
        store(seen[q].total, total);
        seen[q].most = top;
    }
    for (int e = 0; e < dim; e += PANEL) {  // as many dimensions as the registers hold sums of
        const bool wide = e + LANES < dim;
        Floats y[Q][2];
#pragma GCC unroll 12
        for (int q = 0; q < Q; ++q) {
            y[q][0] = multiply(load(out[q] + e), kept[q]);
            y[q][1] = wide ? multiply(load(out[q] + e + LANES), kept[q]) : zeros();
        }
        for (int b = begin; b < end; ++b)
            add_values<Q>(pages.value(table[b], head) + e * inputs, dim, wide, std::min(BLOCK, furthest + 1 - b * BLOCK),
                          scores + (b - first) * BLOCK, stride, y);
#pragma GCC unroll 12
        for (int q = 0; q < Q; ++q) {
            store(out[q] + e, y[q][0]);
            if (wide) store(out[q] + e + LANES, y[q][1]);
        }
    }
}

// The same for any number of queries up to TILE<T>.
template <typename T>
void attend_chunk(int count, const Pages<T>& pages, int head, const int32_t* table, int first, const float* const* queries,
                  const Narrow* narrow, const int32_t* positions, int window, Seen* seen, float* const* out) {
    with_constant<TILE<T>>(count, [&](auto queries_at_once) {
        attend_chunk<decltype(queries_at_once)::value>(pages, head, table, first, queries, narrow, positions, window, seen, out);
    });
}

}  // namespace kwen
