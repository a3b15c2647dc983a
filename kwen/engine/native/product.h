// Matrix products of activations (M rows) with weights packed in panels of 32 outputs.
//
// Every output element is one chain of additions over the inputs in their order, whatever M is and wherever its row stands:
// a row's result has the same bits alone and in any batch. Integer weights: within a chunk of inputs the sum is of integers and
// exact; chunks are added in their order.
//
//   float32  [panel][input][32]               activations float32
//   bfloat16 [panel][input / 2][32][2]        activations bfloat16, products added in float32
//   int8     [panel][input / 4][32][4]        unsigned levels; activations int8 with a scale for each chunk
//   int4     [panel][input / 4][16][4]        low nibbles the first 16 outputs, high ones the others
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "vectors.h"

namespace kwen {

enum Kind : int32_t { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2, INT4 = 3 };
constexpr int PANEL = 32;

// Weights (out, in), packed. Integer kinds: value = scale * (level - zero), scale float16 [panel][group][32], zero the same as
// bytes, or null where it is 128 (int8) or 8 (int4) throughout; or value = scale * level + minimum, minimum as scale.
struct Matrix {
    int32_t kind, out, in, group, form;  // form: which of the pass's `Rows` its input is, see forward.cpp
    const void* weight;
    const uint16_t* scale;
    const uint8_t* zero;
    const uint16_t* minimum;
    const float* bias;

    int chunk() const { return group % 64 == 0 ? 64 : 32; }
    bool integer() const { return kind >= INT8; }
    int width() const { return round_up(in, integer() ? 64 : 2); }  // inputs, padded
    int panels() const { return (out + PANEL - 1) / PANEL; }
    int groups() const { return (in + group - 1) / group; }
    size_t panel_bytes() const {
        const size_t w = width();
        return kind == FLOAT32 ? w * 128 : kind == BFLOAT16 ? w * 64 : kind == INT8 ? w * 32 : w * 16;
    }
};

// Rows of activations in the form that a matrix wants.
struct Rows {
    int kind, chunk, stride, chunks;  // stride in elements, chunks a row
    std::vector<float> f;
    std::vector<bf16> b;
    std::vector<int8_t> q;
    std::vector<float> scale;
    std::vector<int32_t> sum;

    explicit Rows(const Matrix& matrix)
        : kind(matrix.integer() ? INT8 : matrix.kind), chunk(matrix.chunk()), stride(matrix.width()),
          chunks(matrix.integer() ? stride / chunk : 0) {}

    bool fits(const Matrix& matrix) const {
        const Rows other(matrix);
        return kind == other.kind && stride == other.stride && chunks == other.chunks;
    }

    void reserve(int rows) {
        const size_t size = static_cast<size_t>(rows) * stride;
        if (kind == FLOAT32 && f.size() < size) f.resize(size);
        if (kind == BFLOAT16 && b.size() < size) b.resize(size);
        if (kind == INT8 && q.size() < size) {
            q.resize(size);
            scale.resize(static_cast<size_t>(rows) * chunks);
            sum.resize(static_cast<size_t>(rows) * chunks);
        }
    }

    // Row `row` from `n` floats.
    void fill(int row, const float* x, int n) {
        const size_t at = static_cast<size_t>(row) * stride;
        if (kind == FLOAT32) {
            std::memcpy(&f[at], x, n * sizeof(float));
            std::fill(&f[at] + n, &f[at] + stride, 0.0f);
        } else if (kind == BFLOAT16) {
            int i = 0;
            for (; i + 16 <= n; i += 16) _mm256_storeu_si256(reinterpret_cast<__m256i*>(&b[at + i]), to_bf16(load(x + i)));
            for (; i < stride; ++i) b[at + i] = i < n ? to_bf16(x[i]) : 0;
        } else {
            for (int c = 0; c < chunks; ++c) quantize(row, c, x + c * chunk, std::min(chunk, n - c * chunk));
        }
    }

private:
    void quantize(int row, int c, const float* x, int n) {
        const __m512 sign = _mm512_set1_ps(-0.0f);
        __m512 v[4], largest = _mm512_setzero_ps();
        const int vectors = chunk / 16;
        for (int i = 0; i < vectors; ++i) {
            const int left = std::clamp(n - 16 * i, 0, 16);
            v[i] = _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << left) - 1), x + 16 * i);
            largest = _mm512_max_ps(largest, _mm512_andnot_ps(sign, v[i]));
        }
        const float most = _mm512_reduce_max_ps(largest);
        const __m512 inverse = _mm512_set1_ps(most > 0 ? 127.0f / most : 0.0f);
        int8_t* out = &q[static_cast<size_t>(row) * stride + c * chunk];
        __m512i total = _mm512_setzero_si512();
        for (int i = 0; i < vectors; ++i) {
            const __m512i level = _mm512_cvtps_epi32(_mm512_mul_ps(v[i], inverse));
            total = _mm512_add_epi32(total, level);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16 * i), _mm512_cvtsepi32_epi8(level));
        }
        scale[static_cast<size_t>(row) * chunks + c] = most / 127.0f;
        sum[static_cast<size_t>(row) * chunks + c] = _mm512_reduce_add_epi32(total);
    }
};

// What a tile fetches into the cache while it computes: its share of the next panel, so many bytes with every few steps.
struct Fetch {
    const char* at;
    ptrdiff_t share;  // tiles of this panel: each fetches one part in so many

    void next(int bytes) {
        const char* end = at + bytes / share;
        if (share == 1)  // as fast as memory gives: not through the first cache, which has too few fetches under way
            for (; at < end; at += 64) _mm_prefetch(at, _MM_HINT_T1);
        else
            for (; at < end; at += 64) _mm_prefetch(at, _MM_HINT_T0);
    }
};

constexpr int STEPS = 16;  // inputs (bfloat16: pairs of them) between two such fetches

template <int MR>
inline void clear(__m512 (&y)[MR][2]) {
#pragma GCC unroll 8
    for (int m = 0; m < MR; ++m) y[m][0] = y[m][1] = _mm512_setzero_ps();
}

template <int MR>
inline void put(const __m512 (&y)[MR][2], float* out) {
#pragma GCC unroll 8
    for (int m = 0; m < MR; ++m) {
        _mm512_storeu_ps(out + m * PANEL, y[m][0]);
        _mm512_storeu_ps(out + m * PANEL + 16, y[m][1]);
    }
}

// MR rows times one panel, into `out` (MR, 32). The sums live in registers: these are functions of their own, never inlined, so that
// the compiler has all registers for them.
template <int MR>
[[gnu::noinline]] void tile_float32(const float* w, const float* a, int stride, int inputs, Fetch fetch, float* out) {
    __m512 y[MR][2];
    clear<MR>(y);
    for (int begin = 0; begin < inputs; begin += STEPS) {
        fetch.next(STEPS * 128);
        for (int k = begin; k < std::min(begin + STEPS, inputs); ++k, w += PANEL) {
            const __m512 w0 = _mm512_loadu_ps(w), w1 = _mm512_loadu_ps(w + 16);
#pragma GCC unroll 8
            for (int m = 0; m < MR; ++m) {
                const __m512 x = _mm512_set1_ps(a[static_cast<size_t>(m) * stride + k]);
                y[m][0] = _mm512_fmadd_ps(x, w0, y[m][0]);
                y[m][1] = _mm512_fmadd_ps(x, w1, y[m][1]);
            }
        }
    }
    put<MR>(y, out);
}

template <int MR>
[[gnu::noinline]] void tile_bfloat16(const bf16* w, const bf16* a, int stride, int inputs, Fetch fetch, float* out) {
    __m512 y[MR][2];
    clear<MR>(y);
    for (int begin = 0; begin < inputs; begin += 2 * STEPS) {
        fetch.next(STEPS * 128);
        for (int k = begin; k < std::min(begin + 2 * STEPS, inputs); k += 2, w += 2 * PANEL) {
            const __m512bh w0 = (__m512bh)_mm512_loadu_si512(w), w1 = (__m512bh)_mm512_loadu_si512(w + 32);
#pragma GCC unroll 8
            for (int m = 0; m < MR; ++m) {
                int32_t pair;
                std::memcpy(&pair, a + static_cast<size_t>(m) * stride + k, 4);
                const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
                y[m][0] = _mm512_dpbf16_ps(y[m][0], w0, x);
                y[m][1] = _mm512_dpbf16_ps(y[m][1], w1, x);
            }
        }
    }
    put<MR>(y, out);
}

// One panel's integer weights as the kernel reads them; `narrow`: two outputs to a byte.
struct Levels {
    const uint8_t* weight;
    const uint16_t* scale;
    const uint8_t* zero;
    const uint16_t* minimum;
    int chunk, chunks, per_group, offset;  // chunks that share a scale; the zero point of all
};

enum Offset { MIDDLE, ZERO, MINIMUM };  // what the levels are counted from

template <int MR, bool NARROW, Offset OFFSET>
[[gnu::noinline]] void tile_integer(const Levels& p, const Rows& rows, int row, Fetch fetch, float* out) {
    __m512 y[MR][2];
    clear<MR>(y);
    const __m512i nibble = _mm512_set1_epi8(15);
    const uint8_t* w = p.weight;
    const int8_t* a = &rows.q[static_cast<size_t>(row) * rows.stride];
    const float* a_scale = &rows.scale[static_cast<size_t>(row) * rows.chunks];
    const int32_t* a_sum = &rows.sum[static_cast<size_t>(row) * rows.chunks];
    for (int c = 0; c < p.chunks; ++c, a += p.chunk) {
        __m512i dot[MR][2];
#pragma GCC unroll 8
        for (int m = 0; m < MR; ++m) {
            const int32_t start = OFFSET != MIDDLE ? 0 : -p.offset * a_sum[static_cast<size_t>(m) * rows.chunks + c];
            dot[m][0] = dot[m][1] = _mm512_set1_epi32(start);
        }
        fetch.next(p.chunk * (NARROW ? 16 : 32));
        for (int k = 0; k < p.chunk; k += 4) {
            __m512i w0, w1;
            if (NARROW) {
                const __m512i both = _mm512_loadu_si512(w);
                w += 64;
                w0 = _mm512_and_si512(both, nibble);
                w1 = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
            } else {
                w0 = _mm512_loadu_si512(w);
                w1 = _mm512_loadu_si512(w + 64);
                w += 128;
            }
#pragma GCC unroll 8
            for (int m = 0; m < MR; ++m) {
                int32_t four;
                std::memcpy(&four, a + static_cast<size_t>(m) * rows.stride + k, 4);
                const __m512i x = _mm512_set1_epi32(four);
                dot[m][0] = _mm512_dpbusd_epi32(dot[m][0], w0, x);
                dot[m][1] = _mm512_dpbusd_epi32(dot[m][1], w1, x);
            }
        }
        const int group = c / p.per_group * PANEL;
        const __m512 s0 = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p.scale + group)));
        const __m512 s1 = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p.scale + group + 16)));
        __m512 z0, z1;  // what a level of zero is worth, negative
        if (OFFSET == MINIMUM) {
            const __m256i* minimum = reinterpret_cast<const __m256i*>(p.minimum + group);
            z0 = _mm512_sub_ps(_mm512_setzero_ps(), _mm512_cvtph_ps(_mm256_loadu_si256(minimum)));
            z1 = _mm512_sub_ps(_mm512_setzero_ps(), _mm512_cvtph_ps(_mm256_loadu_si256(minimum + 1)));
        } else if (OFFSET == ZERO) {
            const __m128i* zero = reinterpret_cast<const __m128i*>(p.zero + group);
            z0 = _mm512_mul_ps(s0, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(zero))));
            z1 = _mm512_mul_ps(s1, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(zero + 1))));
        }
#pragma GCC unroll 8
        for (int m = 0; m < MR; ++m) {
            const size_t at = static_cast<size_t>(m) * rows.chunks + c;
            const __m512 s = _mm512_set1_ps(a_scale[at]);
            y[m][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[m][0]), _mm512_mul_ps(s0, s), y[m][0]);
            y[m][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[m][1]), _mm512_mul_ps(s1, s), y[m][1]);
            if (OFFSET != MIDDLE) {
                const __m512 total = _mm512_set1_ps(a_scale[at] * static_cast<float>(a_sum[at]));
                y[m][0] = _mm512_fnmadd_ps(z0, total, y[m][0]);
                y[m][1] = _mm512_fnmadd_ps(z1, total, y[m][1]);
            }
        }
    }
    put<MR>(y, out);
}

// MR rows from `row` on times one panel.
template <int MR>
void tile(const Matrix& matrix, const Levels& levels, bool narrow, int panel, const Rows& rows, int row, Fetch fetch, float* out) {
    const char* weight = static_cast<const char*>(matrix.weight) + panel * matrix.panel_bytes();
    const size_t at = static_cast<size_t>(row) * rows.stride;
    if (matrix.kind == FLOAT32) {
        tile_float32<MR>(reinterpret_cast<const float*>(weight), &rows.f[at], rows.stride, matrix.in, fetch, out);
    } else if (matrix.kind == BFLOAT16) {
        tile_bfloat16<MR>(reinterpret_cast<const bf16*>(weight), &rows.b[at], rows.stride, matrix.width(), fetch, out);
    } else if (narrow) {
        if (levels.minimum) tile_integer<MR, true, MINIMUM>(levels, rows, row, fetch, out);
        else if (levels.zero) tile_integer<MR, true, ZERO>(levels, rows, row, fetch, out);
        else tile_integer<MR, true, MIDDLE>(levels, rows, row, fetch, out);
    } else {
        if (levels.minimum) tile_integer<MR, false, MINIMUM>(levels, rows, row, fetch, out);
        else if (levels.zero) tile_integer<MR, false, ZERO>(levels, rows, row, fetch, out);
        else tile_integer<MR, false, MIDDLE>(levels, rows, row, fetch, out);
    }
}

// Rows [first, last) times panels [panel, panel_end); `store(row, panel, y0, y1)` takes 32 outputs of a row.
template <typename Store>
void multiply(const Matrix& matrix, const Rows& rows, int first, int last, int panel, int panel_end, const Store& store) {
    const bool integer = matrix.integer();
    const int tallest = integer ? 5 : 6;  // as many rows as the registers hold
    const int element = matrix.kind == FLOAT32 ? 4 : matrix.kind == BFLOAT16 ? 2 : 1;
    const int block = std::max(tallest, (1 << 19) / (matrix.width() * element) / tallest * tallest);  // rows that stay in cache
    static thread_local std::vector<uint8_t> wide;
    for (int begin = first; begin < last; begin += block) {
        const int end = std::min(last, begin + block);
        const bool widen = matrix.kind == INT4 && end - begin > 2 * tallest;
        if (widen && wide.size() < static_cast<size_t>(matrix.width()) * PANEL) wide.resize(static_cast<size_t>(matrix.width()) * PANEL);
        for (int p = panel; p < panel_end; ++p) {
            Levels levels{};
            if (integer) {
                const size_t groups = static_cast<size_t>(p) * matrix.groups() * PANEL;
                levels = {static_cast<const uint8_t*>(matrix.weight) + p * matrix.panel_bytes(), matrix.scale + groups,
                          matrix.zero ? matrix.zero + groups : nullptr, matrix.minimum ? matrix.minimum + groups : nullptr,
                          matrix.chunk(), rows.chunks,
                          std::max(1, matrix.group / matrix.chunk()), matrix.kind == INT8 ? 128 : 8};
                levels.chunks = (matrix.in + levels.chunk - 1) / levels.chunk;
                if (widen) {  // nibbles to bytes once for all the rows
                    const __m512i nibble = _mm512_set1_epi8(15);
                    for (int k = 0; k < matrix.width() / 4; ++k) {
                        const __m512i both = _mm512_loadu_si512(levels.weight + 64 * k);
                        _mm512_storeu_si512(&wide[128 * k], _mm512_and_si512(both, nibble));
                        _mm512_storeu_si512(&wide[128 * k + 64], _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble));
                    }
                    levels.weight = wide.data();
                }
            }
            const bool narrow = matrix.kind == INT4 && !widen;
            alignas(64) float sums[6 * PANEL];
            const char* following = static_cast<const char*>(matrix.weight) + std::min(p + 1, panel_end - 1) * matrix.panel_bytes();
            const int tiles = (end - begin + tallest - 1) / tallest;
            const ptrdiff_t share = widen ? 2 * tiles : tiles;
            auto go = [&](auto count, int row, int number) {
                constexpr int MR = decltype(count)::value;
                const Fetch fetch{following + number * matrix.panel_bytes() / tiles, share};
                tile<MR>(matrix, levels, narrow, p, rows, row, fetch, sums);
                for (int m = 0; m < MR; ++m) store(row + m, p, load(sums + m * PANEL), load(sums + m * PANEL + 16));
            };
            // tiles of nearly equal heights: a last one of a single row would read the panel for little
            int row = begin;
            for (int number = 0; number < tiles; ++number) {
                const int height = (end - row + tiles - number - 1) / (tiles - number);
                switch (height) {
                    case 1: go(std::integral_constant<int, 1>{}, row, number); break;
                    case 2: go(std::integral_constant<int, 2>{}, row, number); break;
                    case 3: go(std::integral_constant<int, 3>{}, row, number); break;
                    case 4: go(std::integral_constant<int, 4>{}, row, number); break;
                    case 5: go(std::integral_constant<int, 5>{}, row, number); break;
                    default: go(std::integral_constant<int, 6>{}, row, number);
                }
                row += height;
            }
        }
    }
}

}  // namespace kwen
