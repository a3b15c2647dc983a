// Matrix products of activations (M rows) with weights packed in panels of two vectors of outputs: P = 2 * LANES of them.
//
// Every output element is one chain of additions over the inputs in their order, whatever M is and wherever its row stands:
// a row's result has the same bits alone and in any batch. Integer weights: within a chunk of inputs the sum is of integers and
// exact; chunks are added in their order.
//
//   float32  [panel][input][P]                activations float32
//   bfloat16 [panel][input / 2][P][2]         activations bfloat16, products added in float32
//   int8     [panel][input / 4][P][4]         unsigned levels; activations int8 with a scale for each chunk
//   int4     [panel][input / 4][P / 2][4]     low nibbles the first P / 2 outputs, high ones the others
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "vectors.h"

namespace kwen {

enum Kind : int32_t { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2, INT4 = 3 };

// Weights (out, in), packed. Integer kinds: value = scale * (level - zero), scale float16 [panel][group][P], zero the same as
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
        return PANEL * (kind == FLOAT32 ? w * 4 : kind == BFLOAT16 ? w * 2 : kind == INT8 ? w : w / 2);
    }
};

constexpr bool SPREAD = sizeof(Level) > 1;

// Rows of activations in the form that a matrix wants.
struct Rows {
    int kind, chunk, stride, chunks;  // stride in elements, chunks a row
    std::vector<float> f;
    std::vector<bf16> b;
    std::vector<int8_t> q;
    std::vector<Level> levels;  // in the place of q for weights of 8 bits, where the processor wants more than bytes (SPREAD)
    std::vector<float> scale;
    std::vector<int32_t> sum;

    explicit Rows(const Matrix& matrix)
        : kind(matrix.integer() && !SPREAD ? INT8 : matrix.kind), chunk(matrix.chunk()),
          stride(matrix.width() + (matrix.integer() ? 0 : 16)),  // rows a power of two apart would share a cache's set
          chunks(matrix.integer() ? stride / chunk : 0) {}

    bool fits(const Matrix& matrix) const {
        const Rows other(matrix);
        return kind == other.kind && stride == other.stride && chunks == other.chunks;
    }

    void reserve(int rows) {
        const size_t size = static_cast<size_t>(rows) * stride;
        if (kind == FLOAT32 && f.size() < size) f.resize(size);
        if (kind == BFLOAT16 && b.size() < size) b.resize(size);
        if (kind >= INT8 && scale.size() < static_cast<size_t>(rows) * chunks) {
            if (SPREAD && kind == INT8) levels.resize(size);
            else q.resize(size);
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
            for (; i + LANES <= n; i += LANES) store_bf16(&b[at + i], load(x + i));
            for (; i < stride; ++i) b[at + i] = i < n ? to_bf16(x[i]) : 0;
        } else {
            for (int c = 0; c < chunks; ++c) quantize(row, c, x + c * chunk, std::min(chunk, n - c * chunk));
        }
    }

private:
    void quantize(int row, int c, const float* x, int n) {
        Floats v[64 / LANES], most = zeros();
        const int vectors = chunk / LANES;
        for (int i = 0; i < vectors; ++i) {
            v[i] = load_first(x + LANES * i, n - LANES * i);
            most = largest(most, magnitude(v[i]));
        }
        const float top = largest_of(most);
        const Floats inverse = all(top > 0 ? 127.0f / top : 0.0f);
        const size_t at = static_cast<size_t>(row) * stride + c * chunk;
        Words total = zero_words();
        for (int i = 0; i < vectors; ++i) {
            const Words level = to_words(multiply(v[i], inverse));
            total = add_words(total, level);
            if (SPREAD && kind == INT8) store_levels(&levels[at + LANES * i], level);
            else store_signed_bytes(&q[at + LANES * i], level);
        }
        scale[static_cast<size_t>(row) * chunks + c] = top / 127.0f;
        sum[static_cast<size_t>(row) * chunks + c] = sum_of_words(total);
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
inline void clear(Floats (&y)[MR][2]) {
#pragma GCC unroll 12
    for (int m = 0; m < MR; ++m) y[m][0] = y[m][1] = zeros();
}

template <int MR>
inline void put(const Floats (&y)[MR][2], float* out) {
#pragma GCC unroll 12
    for (int m = 0; m < MR; ++m) {
        store(out + m * PANEL, y[m][0]);
        store(out + m * PANEL + LANES, y[m][1]);
    }
}

// MR rows times one panel, into `out` (MR, P). The sums live in registers: these are functions of their own, never inlined, so that
// the compiler has all registers for them.
template <int MR>
[[gnu::noinline]] void tile_float32(const float* w, const float* a, int stride, int inputs, Fetch fetch, float* out) {
    Floats y[MR][2];
    clear<MR>(y);
    for (int begin = 0; begin < inputs; begin += STEPS) {
        fetch.next(STEPS * PANEL * 4);
        for (int k = begin; k < std::min(begin + STEPS, inputs); ++k, w += PANEL) {
            const Floats w0 = load(w), w1 = load(w + LANES);
#pragma GCC unroll 12
            for (int m = 0; m < MR; ++m) {
                const Floats x = all(a[static_cast<size_t>(m) * stride + k]);
                y[m][0] = multiply_add(x, w0, y[m][0]);
                y[m][1] = multiply_add(x, w1, y[m][1]);
            }
        }
    }
    put<MR>(y, out);
}

template <int MR>
[[gnu::noinline]] void tile_bfloat16(const bf16* w, const bf16* a, int stride, int inputs, Fetch fetch, float* out) {
    Floats y[MR][2];
    clear<MR>(y);
    for (int begin = 0; begin < inputs; begin += 2 * STEPS) {
        fetch.next(STEPS * PANEL * 4);
        for (int k = begin; k < std::min(begin + 2 * STEPS, inputs); k += 2, w += 2 * PANEL) {
            const Words w0 = load_words(w), w1 = load_words(w + PANEL);
#pragma GCC unroll 12
            for (int m = 0; m < MR; ++m) {
                int32_t pair;
                std::memcpy(&pair, a + static_cast<size_t>(m) * stride + k, 4);
                const Words x = all_words(pair);
                y[m][0] = dot2(y[m][0], w0, x);
                y[m][1] = dot2(y[m][1], w1, x);
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

// Add the products of 32 inputs: MR rows of activations at `a`, weights at `w`, which moves on.
template <int MR>
[[gnu::always_inline]] inline void add_bytes(const uint8_t*& w, const Level* a, int stride, Words (&dot)[MR][2]) {
    for (int k = 0; k < 32; k += 4, w += 4 * PANEL) {
        const Fours w0 = split(load_words(w)), w1 = split(load_words(w + 4 * LANES));
#pragma GCC unroll 12
        for (int m = 0; m < MR; ++m) {
            const Fours x = fours(a + static_cast<size_t>(m) * stride + k);
            dot[m][0] = dot4(dot[m][0], w0, x);
            dot[m][1] = dot4(dot[m][1], w1, x);
        }
    }
}

template <int MR>
[[gnu::always_inline]] inline void add_nibbles(const uint8_t*& w, const int8_t* a, int stride, Words (&dot)[MR][2]) {
    NibbleSums part[MR][2];
#pragma GCC unroll 12
    for (int m = 0; m < MR; ++m)
        for (int half = 0; half < 2; ++half) part[m][half] = SHORT_SUMS ? zero_words() : dot[m][half];
#pragma GCC unroll 4  // all eight, and the compiler adds up in pairs and spills every product
    for (int k = 0; k < 32; k += 4, w += 2 * PANEL) {
        const Words both = load_words(w), w0 = low_nibbles(both), w1 = high_nibbles(both);
#pragma GCC unroll 12
        for (int m = 0; m < MR; ++m) {
            int32_t four;
            std::memcpy(&four, a + static_cast<size_t>(m) * stride + k, 4);
            const Words x = all_words(four);
            part[m][0] = dot4_nibbles(part[m][0], w0, x);
            part[m][1] = dot4_nibbles(part[m][1], w1, x);
        }
    }
#pragma GCC unroll 12
    for (int m = 0; m < MR; ++m)
        for (int half = 0; half < 2; ++half) dot[m][half] = SHORT_SUMS ? add_words(dot[m][half], whole(part[m][half])) : part[m][half];
}

enum Offset { MIDDLE, ZERO, MINIMUM };  // what the levels are counted from

template <bool NARROW>
auto activations(const Rows& rows) {
    if constexpr (SPREAD && !NARROW) return rows.levels.data();
    else return rows.q.data();
}

template <int MR, bool NARROW, Offset OFFSET>
[[gnu::noinline]] void tile_integer(const Levels& p, const Rows& rows, int row, Fetch fetch, float* out) {
    Floats y[MR][2];
    clear<MR>(y);
    const uint8_t* w = p.weight;
    const auto* a = activations<NARROW>(rows) + static_cast<size_t>(row) * rows.stride;
    const float* a_scale = &rows.scale[static_cast<size_t>(row) * rows.chunks];
    const int32_t* a_sum = &rows.sum[static_cast<size_t>(row) * rows.chunks];
    for (int c = 0; c < p.chunks; ++c) {
        Words dot[MR][2];
#pragma GCC unroll 12
        for (int m = 0; m < MR; ++m) {
            const int32_t start = OFFSET != MIDDLE ? 0 : -p.offset * a_sum[static_cast<size_t>(m) * rows.chunks + c];
            dot[m][0] = dot[m][1] = all_words(start);
        }
        fetch.next(p.chunk * (NARROW ? PANEL / 2 : PANEL));
        for (int begin = 0; begin < p.chunk; begin += 32, a += 32) {
            if constexpr (NARROW) add_nibbles<MR>(w, a, rows.stride, dot);
            else add_bytes<MR>(w, a, rows.stride, dot);
        }
        const int group = c / p.per_group * PANEL;
        const Floats s0 = from_half(p.scale + group), s1 = from_half(p.scale + group + LANES);
        Floats z0, z1;  // what a level of zero is worth, negative
        if (OFFSET == MINIMUM) {
            z0 = subtract(zeros(), from_half(p.minimum + group));
            z1 = subtract(zeros(), from_half(p.minimum + group + LANES));
        } else if (OFFSET == ZERO) {
            z0 = multiply(s0, from_bytes(p.zero + group));
            z1 = multiply(s1, from_bytes(p.zero + group + LANES));
        }
#pragma GCC unroll 12
        for (int m = 0; m < MR; ++m) {
            const size_t at = static_cast<size_t>(m) * rows.chunks + c;
            const Floats s = all(a_scale[at]);
            y[m][0] = multiply_add(to_floats(dot[m][0]), multiply(s0, s), y[m][0]);
            y[m][1] = multiply_add(to_floats(dot[m][1]), multiply(s1, s), y[m][1]);
            if (OFFSET != MIDDLE) {
                const Floats total = all(a_scale[at] * static_cast<float>(a_sum[at]));
                y[m][0] = negative_multiply_add(z0, total, y[m][0]);
                y[m][1] = negative_multiply_add(z1, total, y[m][1]);
            }
        }
    }
    put<MR>(y, out);
}

// As many rows as the registers hold sums of: 32 registers with AVX-512, 16 without. A panel of floats does not stay in the nearest cache,
// so there it pays that more rows share a reading of it.
constexpr int tallest_tile(int kind) {
    if (LANES == 16) return kind >= INT8 ? 5 : kind == BFLOAT16 ? 6 : 12;
    return kind == FLOAT32 ? 6 : 4;
}

constexpr int TALLEST = tallest_tile(FLOAT32), TALLEST_NARROW = tallest_tile(BFLOAT16);

// MR rows from `row` on times one panel.
template <int MR>
void tile(const Matrix& matrix, const Levels& levels, bool narrow, int panel, const Rows& rows, int row, Fetch fetch, float* out) {
    const char* weight = static_cast<const char*>(matrix.weight) + panel * matrix.panel_bytes();
    const size_t at = static_cast<size_t>(row) * rows.stride;
    if (matrix.kind == FLOAT32)
        return tile_float32<MR>(reinterpret_cast<const float*>(weight), &rows.f[at], rows.stride, matrix.in, fetch, out);
    if constexpr (MR <= TALLEST_NARROW) {
        if (matrix.kind == BFLOAT16) {
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
}

constexpr bool WIDENS = LANES == 16;  // whether many rows are faster with bytes than with nibbles

// Rows [first, last) times panels [panel, panel_end); `take(row, panel, y0, y1)` takes the outputs of one row and panel.
template <typename Take>
void product(const Matrix& matrix, const Rows& rows, int first, int last, int panel, int panel_end, const Take& take) {
    const bool integer = matrix.integer();
    const int tallest = tallest_tile(matrix.kind);
    const int element = matrix.kind == FLOAT32 ? 4 : matrix.kind == BFLOAT16 ? 2 : 1;
    const int block = std::max(tallest, (1 << 19) / (matrix.width() * element) / tallest * tallest);  // rows that stay in cache
    static thread_local std::vector<uint8_t> wide;
    for (int begin = first; begin < last; begin += block) {
        const int end = std::min(last, begin + block);
        const bool widen = WIDENS && matrix.kind == INT4 && end - begin > 2 * tallest;
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
                    for (int k = 0; k < matrix.width() / 4; ++k) {
                        const Words both = load_words(levels.weight + 2 * PANEL * k);
                        store_words(&wide[4 * PANEL * k], low_nibbles(both));
                        store_words(&wide[4 * PANEL * k + 4 * LANES], high_nibbles(both));
                    }
                    levels.weight = wide.data();
                }
            }
            const bool narrow = matrix.kind == INT4 && !widen;
            alignas(64) float sums[TALLEST * PANEL];
            const char* following = static_cast<const char*>(matrix.weight) + std::min(p + 1, panel_end - 1) * matrix.panel_bytes();
            const int tiles = (end - begin + tallest - 1) / tallest;
            const ptrdiff_t share = widen ? 2 * tiles : tiles;
            auto go = [&](auto count, int row, int number) {
                constexpr int MR = decltype(count)::value;
                const Fetch fetch{following + number * matrix.panel_bytes() / tiles, share};
                tile<MR>(matrix, levels, narrow, p, rows, row, fetch, sums);
                for (int m = 0; m < MR; ++m) take(row + m, p, load(sums + m * PANEL), load(sums + m * PANEL + LANES));
            };
            // tiles of nearly equal heights: a last one of a single row would read the panel for little
            int row = begin;
            for (int number = 0; number < tiles; ++number) {
                const int height = (end - row + tiles - number - 1) / (tiles - number);
                with_constant<TALLEST>(height, [&](auto count) { go(count, row, number); });
                row += height;
            }
        }
    }
}

}  // namespace kwen
