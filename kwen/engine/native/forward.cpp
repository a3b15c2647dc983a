// One forward pass of the decoder over a ragged batch: any number of sequences, any number of new tokens of each.
//
// All threads walk through the same phases of each layer; work within a phase is handed out in pieces, so a thread that is held up
// does not hold up the others. The residual stream is float32 whatever the weights are.
// Legend: D hidden, H query heads, K key/value heads, E head dim, W feed-forward width, V vocabulary.

#include <memory>
#include <unistd.h>
#include <vector>

#include "attention.h"
#include "product.h"
#include "threads.h"

using namespace kwen;

extern "C" {

struct Layer {
    Matrix qkv, value;  // value: no outputs where the projection of values is part of qkv
    Matrix out, gate_up, down;  // gate_up: panels of LANES gates and their ups
    const float *attention_norm, *mlp_norm, *q_norm, *k_norm;
    int32_t window, group;  // how many positions a query sees, 0 for all; which tables its keys and values lie by
};

struct Model {
    int32_t layers, D, H, K, E, W, V, embedding_kind, cache_kind;  // cache_kind: 0 float32, 1 bfloat16, 2 int8
    float eps;
    const void* embedding;  // (V, D), float32 or bfloat16
    const float* norm;
    const Layer* layer;
    Matrix head;
};

struct Step {
    int32_t threads, tokens, sequences, table_stride, rows, logits_stride;
    const int32_t *token_ids, *positions;  // (tokens)
    const int32_t *starts;                 // (sequences + 1): the first token of each sequence
    const int32_t *tables;                 // (groups, sequences, table_stride): the blocks of each sequence
    const int32_t *row_tokens;             // (rows): the tokens whose logits are wanted
    const float *const *cos, *const *sin;  // of each sequence: (positions, E / 2)
    const float *query_scale;              // (tokens), or null: what each query is multiplied by
    void *const *keys, *const *values;     // a pointer a layer
    float *const *key_scales, *const *value_scales;
    float *logits;                         // (rows, V), rows `logits_stride` apart: not at the same place of a page
    int32_t *best;                         // (rows): the first largest logit
    float *most, *log_sum;                 // (rows): it, and log of the sum of exp(logit - it)
};
}

namespace {

constexpr int MOST_TILES = 16;  // of an item

struct Item {
    int sequence, head, first, count;  // queries [first, first + count) of those of one sequence and key/value head
};

// The queries of an item, what they have seen and where their sums go.
struct Asked {
    std::vector<const float*> queries;
    std::vector<float*> out;
    std::vector<int32_t> positions;
    std::vector<Narrow> narrow;
    std::vector<Seen> seen;
    std::vector<float> padded;

    void reserve(size_t count) {
        if (queries.size() >= count) return;
        queries.resize(count), out.resize(count), positions.resize(count), narrow.resize(count), seen.resize(count);
        padded.resize(count * 2 * 512);
    }
};

struct Engine {
    Model model;
    std::vector<float> x, normed, qkv, attended, wide;
    std::vector<Layer> layers;
    std::vector<Rows> rows;  // one for each form that a matrix's input has
    std::vector<Item> items;
    std::vector<Asked> asked;  // one for each thread
    std::unique_ptr<std::atomic<int>[]> counters;
    int counter_count = 0;

    explicit Engine(const Model& given) : model(given), layers(given.layer, given.layer + given.layers) {
        for (Layer& layer : layers)
            for (Matrix* matrix : {&layer.qkv, &layer.value, &layer.out, &layer.gate_up, &layer.down}) find_form(*matrix);
        find_form(model.head);
        model.layer = layers.data();
    }

private:
    void find_form(Matrix& matrix) {
        if (matrix.out == 0) return;
        for (matrix.form = 0; matrix.form < static_cast<int>(rows.size()); ++matrix.form)
            if (rows[matrix.form].fits(matrix)) return;
        rows.emplace_back(matrix);
    }
};

// Its threads outlive everything, so it is never destroyed; a forked process has none of them and gets its own.
Team& team() {
    static std::atomic<Team*> one{new Team};
    static std::atomic<pid_t> owner{getpid()};
    if (owner.exchange(getpid()) != getpid()) one.store(new Team);
    return *one.load();
}

void rms_norm(const float* x, const float* weight, int n, float eps, float* out) {
    Floats squares = zeros();
    int i = 0;
    for (; i + LANES <= n; i += LANES) squares = multiply_add(load(x + i), load(x + i), squares);
    float total = sum_of(squares);
    for (; i < n; ++i) total += x[i] * x[i];
    const float factor = 1.0f / std::sqrt(total / n + eps);
    for (i = 0; i < n; ++i) out[i] = weight[i] * (x[i] * factor);
}

void embed(const Model& m, int token, float* out) {
    const size_t at = static_cast<size_t>(token) * m.D;
    if (m.embedding_kind == FLOAT32) {
        std::memcpy(out, static_cast<const float*>(m.embedding) + at, m.D * sizeof(float));
        return;
    }
    const bf16* row = static_cast<const bf16*>(m.embedding) + at;
    for (int i = 0; i < m.D; ++i) {
        const uint32_t bits = static_cast<uint32_t>(row[i]) << 16;
        std::memcpy(out + i, &bits, 4);
    }
}

// Turn one head by the position's angles: pairs (i, i + E / 2); `factor` scales the result.
void rotate(const float* x, const float* cos, const float* sin, int E, float factor, float* out) {
    const int half = E / 2;
    for (int i = 0; i < half; ++i) {
        const float a = x[i], b = x[i + half];
        out[i] = (a * cos[i] - b * sin[i]) * factor;
        out[i + half] = (b * cos[i] + a * sin[i]) * factor;
    }
}

// How many panels a thread takes at a time: some four turns each, and all threads done at once.
int evenly(int panels, int threads) {
    const int least = std::max(1, panels / (4 * threads));
    auto longest = [&](int grain) { return ((panels + grain - 1) / grain + threads - 1) / threads * grain; };
    int best = least;
    for (int grain = least + 1; grain <= 2 * least; ++grain)
        if (longest(grain) < longest(best)) best = grain;
    return best;
}

template <typename T>
Pages<T> pages(const Model& m, const Step& s, int layer) {
    return {static_cast<T*>(s.keys[layer]), static_cast<T*>(s.values[layer]),
            m.cache_kind == 2 ? s.key_scales[layer] : nullptr, m.cache_kind == 2 ? s.value_scales[layer] : nullptr,
            m.K, round_up(m.E, 16)};
}

class Pass {
public:
    Pass(Engine& engine, const Step& step, Team& crew, const int* sequence_of, int thread)
        : e(engine), m(engine.model), s(step), crew(crew), sequence_of(sequence_of), thread(thread) {}

    template <typename T>
    void run() {
        const int N = s.tokens, D = m.D;
        each(N, 8, [&](int t) { embed(m, s.token_ids[t], &e.x[static_cast<size_t>(t) * D]); });
        meet();
        for (int l = 0; l < m.layers; ++l) layer<T>(m.layer[l], l);
        each(s.rows, 1, [&](int r) {
            float* row = &e.normed[static_cast<size_t>(thread) * e_stride()];
            rms_norm(&e.x[static_cast<size_t>(s.row_tokens[r]) * D], m.norm, D, m.eps, row);
            e.rows[m.head.form].fill(r, row, D);
        });
        meet();
        product(m.head, s.rows, [&](int row, int panel, Floats y0, Floats y1) {
            float* out = s.logits + static_cast<size_t>(row) * s.logits_stride + panel * PANEL;
            const int left = m.V - panel * PANEL;
            if (left >= PANEL) {
                store(out, y0);
                store(out + LANES, y1);
            } else {
                store_first(out, left, y0);
                store_first(out + LANES, left - LANES, y1);
            }
        });
        meet();
        each(s.rows, 1, [&](int r) { summarize(r); });
    }

private:
    template <typename T>
    void layer(const Layer& layer, int number) {
        const int N = s.tokens, H = m.H, K = m.K, E = m.E, G = H / K;
        const int qkv_stride = round_up((H + 2 * K) * E, PANEL) + PANEL, attended_stride = H * E + 16, wide_stride = round_up(m.W, 16);
        const Pages<T> cache = pages<T>(m, s, number);
        norm_rows(layer.attention_norm, layer.qkv, &layer.value);
        project(layer.qkv, 0, qkv_stride);
        if (layer.value.out) project(layer.value, layer.qkv.out, qkv_stride);
        meet();
        each(N, 4, [&](int t) {
            float* row = &e.qkv[static_cast<size_t>(t) * qkv_stride];
            const int position = s.positions[t];
            const size_t angles = static_cast<size_t>(position) * (E / 2);
            const float *cos = s.cos[sequence_of[t]] + angles, *sin = s.sin[sequence_of[t]] + angles;
            const int block = table(layer, sequence_of[t])[position / BLOCK];
            float k[512] = {0}, v[512] = {0}, turned[512];
            const float factor = (s.query_scale ? s.query_scale[t] : 1.0f) / std::sqrt(static_cast<float>(E));
            for (int h = 0; h < H; ++h) {
                float* q = row + h * E;
                if (layer.q_norm) rms_norm(q, layer.q_norm, E, m.eps, q);
                rotate(q, cos, sin, E, factor, turned);
                std::memcpy(q, turned, E * sizeof(float));
            }
            for (int h = 0; h < K; ++h) {
                float* key = row + (H + h) * E;
                if (layer.k_norm) rms_norm(key, layer.k_norm, E, m.eps, key);
                rotate(key, cos, sin, E, 1.0f, k);
                std::memcpy(v, row + (H + K + h) * E, E * sizeof(float));
                cache.write(block, h, position % BLOCK, k, v);
            }
        });
        meet();
        each(static_cast<int>(e.items.size()), 1, [&](int i) { attend(layer, cache, e.items[i], G, qkv_stride, attended_stride); });
        meet();
        each(N, 4, [&](int t) { e.rows[layer.out.form].fill(t, &e.attended[static_cast<size_t>(t) * attended_stride], H * E); });
        meet();
        product(layer.out, N, [&](int row, int panel, Floats y0, Floats y1) { add(layer.out, row, panel, y0, y1); });
        meet();
        norm_rows(layer.mlp_norm, layer.gate_up);
        product(layer.gate_up, N, [&](int row, int panel, Floats y0, Floats y1) {
            const Floats gate = biased(layer.gate_up, panel, 0, y0), up = biased(layer.gate_up, panel, LANES, y1);
            store(&e.wide[static_cast<size_t>(row) * wide_stride + panel * LANES], multiply(silu(gate), up));
        });
        meet();
        each(N, 4, [&](int t) { e.rows[layer.down.form].fill(t, &e.wide[static_cast<size_t>(t) * wide_stride], m.W); });
        meet();
        product(layer.down, N, [&](int row, int panel, Floats y0, Floats y1) { add(layer.down, row, panel, y0, y1); });
        meet();
    }

    // Queries, keys and values: the outputs of one matrix from `first` on of each token's row.
    void project(const Matrix& matrix, int first, int stride) {
        product(matrix, s.tokens, [&](int row, int panel, Floats y0, Floats y1) {
            float* out = &e.qkv[static_cast<size_t>(row) * stride + first + panel * PANEL];
            const int left = matrix.out - panel * PANEL;  // what follows is another matrix's
            store_first(out, left, biased(matrix, panel, 0, y0));
            store_first(out + LANES, left - LANES, biased(matrix, panel, LANES, y1));
        });
    }

    void norm_rows(const float* weight, const Matrix& matrix, const Matrix* other = nullptr) {
        each(s.tokens, 4, [&](int t) {
            float* row = &e.normed[static_cast<size_t>(thread) * e_stride()];
            rms_norm(&e.x[static_cast<size_t>(t) * m.D], weight, m.D, m.eps, row);
            e.rows[matrix.form].fill(t, row, m.D);
            if (other && other->out && other->form != matrix.form) e.rows[other->form].fill(t, row, m.D);
        });
        meet();
    }

    const int32_t* table(const Layer& layer, int sequence) const {
        return s.tables + (static_cast<size_t>(layer.group) * s.sequences + sequence) * s.table_stride;
    }

    template <typename T>
    void attend(const Layer& layer, const Pages<T>& cache, const Item& item, int G, int qkv_stride, int attended_stride) {
        Asked& asked = e.asked[thread];
        asked.reserve(item.count);
        const int dim = cache.dim;
        const bool direct = dim == m.E;
        int furthest = 0, nearest = 1 << 30;
        for (int i = 0; i < item.count; ++i) {
            const int t = s.starts[item.sequence] + (item.first + i) / G, h = item.head * G + (item.first + i) % G;
            const float* query = &e.qkv[static_cast<size_t>(t) * qkv_stride + h * m.E];
            float* out = &e.attended[static_cast<size_t>(t) * attended_stride + h * m.E];
            if (!direct) {  // a head dim that is no multiple of the vectors'
                float* padded = &asked.padded[static_cast<size_t>(i) * 2 * 512];
                std::memcpy(padded, query, m.E * sizeof(float));
                std::fill(padded + m.E, padded + dim, 0.0f);
                query = padded, out = padded + 512;
            }
            asked.queries[i] = query, asked.out[i] = out, asked.positions[i] = s.positions[t];
            furthest = std::max(furthest, s.positions[t]), nearest = std::min(nearest, s.positions[t]);
            std::fill(out, out + dim, 0.0f);
            asked.seen[i] = {-INFINITY, {0}};
            if constexpr (std::is_same_v<T, bf16>) asked.narrow[i].fill_bf16(query, dim);
            if constexpr (std::is_same_v<T, int8_t>) asked.narrow[i].fill_int8(query, dim);
        }
        const int window = layer.window ? layer.window : 1 << 30;
        const int first_block = std::max(nearest - window + 1, 0) / BLOCK / CHUNK * CHUNK;
        for (int first = first_block; first <= furthest / BLOCK; first += CHUNK)
            for (int i = 0; i < item.count; i += TILE<T>)
                attend_chunk(std::min(TILE<T>, item.count - i), cache, item.head, table(layer, item.sequence), first, &asked.queries[i],
                             &asked.narrow[i], &asked.positions[i], window, &asked.seen[i], &asked.out[i]);
        for (int i = 0; i < item.count; ++i) {
            const Floats inverse = all(1.0f / sum_of(load(asked.seen[i].total)));
            float* out = asked.out[i];
            for (int k = 0; k < dim; k += LANES) store(out + k, multiply(load(out + k), inverse));
            if (direct) continue;
            const int t = s.starts[item.sequence] + (item.first + i) / G, h = item.head * G + (item.first + i) % G;
            std::memcpy(&e.attended[static_cast<size_t>(t) * attended_stride + h * m.E], out, m.E * sizeof(float));
        }
    }

    void add(const Matrix& matrix, int row, int panel, Floats y0, Floats y1) {
        float* out = &e.x[static_cast<size_t>(row) * m.D + panel * PANEL];
        const int left = m.D - panel * PANEL;
        y0 = kwen::add(load_first(out, left), biased(matrix, panel, 0, y0));
        y1 = kwen::add(load_first(out + LANES, left - LANES), biased(matrix, panel, LANES, y1));
        store_first(out, left, y0);
        store_first(out + LANES, left - LANES, y1);
    }

    // Biases are padded to whole panels.
    static Floats biased(const Matrix& matrix, int panel, int first, Floats y) {
        return matrix.bias ? kwen::add(y, load(matrix.bias + panel * PANEL + first)) : y;
    }

    void summarize(int r) {
        const float* row = s.logits + static_cast<size_t>(r) * s.logits_stride;
        Floats most = all(-INFINITY);
        for (int i = 0; i < m.V; i += LANES) most = largest(load_first(row + i, m.V - i, -INFINITY), most);
        const float top = largest_of(most);
        Floats total = zeros();
        int best = -1;
        for (int i = 0; i < m.V; i += LANES) {
            const Floats value = load_first(row + i, m.V - i, -INFINITY);
            const int left = std::min(LANES, m.V - i);  // beyond it all are -infinity, as `top` is where no logit is a number
            const uint32_t found = equal(value, all(top)) & ((1u << left) - 1);
            if (best < 0 && found) best = i + __builtin_ctz(found);
            total = kwen::add(total, exp_(subtract(value, all(top))));
        }
        s.best[r] = std::max(best, 0);
        s.most[r] = top;
        s.log_sum[r] = best < 0 ? NAN : std::log(sum_of(total));
    }

    int e_stride() const { return round_up(m.D, 16) + 16; }

    void meet() { crew.barrier(); }

    // Hand out `count` pieces of work, `grain` at a time.
    template <typename F>
    void each(int count, int grain, const F& work) {
        std::atomic<int>& next = e.counters[phase++];
        if (count <= grain && thread > 0) return;
        for (int first; (first = next.fetch_add(grain, std::memory_order_relaxed)) < count;)
            for (int i = first; i < std::min(count, first + grain); ++i) work(i);
    }

    template <typename Take>
    void product(const Matrix& matrix, int count, const Take& take) {
        std::atomic<int>& next = e.counters[phase++];
        const int panels = matrix.panels(), grain = evenly(panels, s.threads);
        for (int first; (first = next.fetch_add(grain, std::memory_order_relaxed)) < panels;)
            kwen::product(matrix, e.rows[matrix.form], 0, count, first, std::min(panels, first + grain), take);
    }

    Engine& e;
    const Model& m;
    const Step& s;
    Team& crew;
    const int* sequence_of;
    int thread, phase = 0;
};

}  // namespace

extern "C" {

void* kwen_create(const Model* model) { return new Engine(*model); }

void kwen_destroy(void* handle) { delete static_cast<Engine*>(handle); }

// Outputs of a panel: what scales, zero points and biases are padded to.
int32_t kwen_panel() { return PANEL; }

// Bytes of a matrix once it is packed.
int64_t kwen_packed_bytes(int32_t kind, int32_t out, int32_t in) {
    const Matrix matrix{kind, out, in, 64, 0, nullptr, nullptr, nullptr, nullptr, nullptr};
    return static_cast<int64_t>(matrix.panels()) * matrix.panel_bytes();
}

// Pack rows (out, in) of float32, bfloat16, uint8 levels, or two 4-bit levels a byte, into panels; `to` is zeroed.
void kwen_pack(int32_t kind, int32_t out, int32_t in, const void* from, void* to, int32_t threads) {
    const Matrix matrix{kind, out, in, 64, 0, nullptr, nullptr, nullptr, nullptr, nullptr};
    std::atomic<int> next{0};
    team().run(threads, [&](int) {
        for (int p; (p = next.fetch_add(1)) < matrix.panels();) {
            char* panel = static_cast<char*>(to) + p * matrix.panel_bytes();
            for (int n = 0; n < PANEL && p * PANEL + n < out; ++n) {
                const size_t row = p * PANEL + n;
                if (kind == FLOAT32) {
                    const float* x = static_cast<const float*>(from) + row * in;
                    for (int k = 0; k < in; ++k) reinterpret_cast<float*>(panel)[k * PANEL + n] = x[k];
                } else if (kind == BFLOAT16) {
                    const bf16* x = static_cast<const bf16*>(from) + row * in;
                    for (int k = 0; k < in; ++k) reinterpret_cast<bf16*>(panel)[(k / 2 * PANEL + n) * 2 + k % 2] = x[k];
                } else if (kind == INT8) {
                    const uint8_t* x = static_cast<const uint8_t*>(from) + row * in;
                    for (int k = 0; k < in; ++k) reinterpret_cast<uint8_t*>(panel)[(k / 4 * PANEL + n) * 4 + k % 4] = x[k];
                } else {
                    const uint8_t* x = static_cast<const uint8_t*>(from) + row * ((in + 1) / 2);
                    for (int k = 0; k < in; ++k) {
                        const uint8_t level = k % 2 ? x[k / 2] >> 4 : x[k / 2] & 15;
                        reinterpret_cast<uint8_t*>(panel)[(k / 4 * LANES + n % LANES) * 4 + k % 4] |= n < LANES ? level : level << 4;
                    }
                }
            }
        }
    });
}

// One matrix product of float rows (count, in), without bias, to (count, out): what the phases above do, for comparison.
void kwen_product(const Matrix* matrix, int32_t count, const float* x, float* y) {
    Rows rows(*matrix);
    rows.reserve(count);
    for (int row = 0; row < count; ++row) rows.fill(row, x + static_cast<size_t>(row) * matrix->in, matrix->in);
    product(*matrix, rows, 0, count, 0, matrix->panels(), [&](int row, int panel, Floats y0, Floats y1) {
        float held[PANEL];
        store(held, y0);
        store(held + LANES, y1);
        const int left = std::min(PANEL, matrix->out - panel * PANEL);
        std::memcpy(y + static_cast<size_t>(row) * matrix->out + panel * PANEL, held, left * sizeof(float));
    });
}

// Run one step; 0, or 1 where a size is beyond what the buffers on the stack hold.
int32_t kwen_step(void* handle, const Step* step) {
    Engine& e = *static_cast<Engine*>(handle);
    const Model& m = e.model;
    const Step& s = *step;
    if (m.E > 512) return 1;
    const size_t N = s.tokens, G = m.H / m.K;
    auto room = [](std::vector<float>& buffer, size_t size) { if (buffer.size() < size) buffer.resize(size); };
    room(e.x, N * m.D + 32);
    room(e.normed, static_cast<size_t>(s.threads) * (round_up(m.D, 16) + 16));
    room(e.qkv, N * (round_up((m.H + 2 * m.K) * m.E, PANEL) + PANEL) + 32);
    room(e.attended, N * (m.H * m.E + 16) + 32);
    room(e.wide, N * round_up(m.W, 16) + 32);
    if (e.asked.size() < static_cast<size_t>(s.threads)) e.asked.resize(s.threads);
    const int counters = m.layers * 16 + 16;
    if (e.counter_count < counters) e.counters.reset(new std::atomic<int>[counters]), e.counter_count = counters;
    for (int i = 0; i < counters; ++i) e.counters[i].store(0, std::memory_order_relaxed);
    e.items.clear();
    const int tile = m.cache_kind == 0 ? TILE<float> : m.cache_kind == 1 ? TILE<bf16> : TILE<int8_t>;
    std::vector<int> sequence_of(N);
    for (int q = 0; q < s.sequences; ++q) {
        const int count = (s.starts[q + 1] - s.starts[q]) * static_cast<int>(G);
        for (int t = s.starts[q]; t < s.starts[q + 1]; ++t) sequence_of[t] = q;
        // the further back they look, the more queries go through a chunk together, as long as every thread has enough items
        const int context = s.positions[s.starts[q + 1] - 1] + 1, tiles = (count + tile - 1) / tile * m.K;
        const int size = tile * std::max(1, std::min({MOST_TILES, context / (CHUNK * BLOCK), tiles / (4 * s.threads)}));
        for (int h = 0; h < m.K; ++h)
            for (int first = 0; first < count; first += size) e.items.push_back({q, h, first, std::min(size, count - first)});
    }
    for (Rows& rows : e.rows) rows.reserve(s.tokens);
    Team& crew = team();
    crew.run(s.threads, [&](int thread) {
        Pass pass(e, s, crew, sequence_of.data(), thread);
        if (m.cache_kind == 0) pass.run<float>();
        else if (m.cache_kind == 1) pass.run<bf16>();
        else pass.run<int8_t>();
    });
    return 0;
}
}
