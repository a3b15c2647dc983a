// The processor's vectors under names of our own: LANES floats or 32-bit integers, 16 of them with AVX-512, 8 with AVX2.
//
// All other files of the kernels are written once in these words. What differs is how integers and bfloat16 are multiplied: AVX-512's VNNI and
// bf16 have instructions for it, AVX2 takes two or three.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <immintrin.h>
#include <type_traits>

namespace kwen {

using bf16 = uint16_t;

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__AVX512VNNI__)
#define KWEN_AVX512

constexpr int LANES = 16;
using Floats = __m512;
using Words = __m512i;

inline Floats zeros() { return _mm512_setzero_ps(); }
inline Floats all(float x) { return _mm512_set1_ps(x); }
inline Floats load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Floats x) { _mm512_storeu_ps(p, x); }
inline Floats add(Floats x, Floats y) { return _mm512_add_ps(x, y); }
inline Floats subtract(Floats x, Floats y) { return _mm512_sub_ps(x, y); }
inline Floats multiply(Floats x, Floats y) { return _mm512_mul_ps(x, y); }
inline Floats divide(Floats x, Floats y) { return _mm512_div_ps(x, y); }
inline Floats largest(Floats x, Floats y) { return _mm512_max_ps(x, y); }
inline Floats magnitude(Floats x) { return _mm512_abs_ps(x); }
inline Floats multiply_add(Floats x, Floats y, Floats z) { return _mm512_fmadd_ps(x, y, z); }        // x * y + z
inline Floats negative_multiply_add(Floats x, Floats y, Floats z) { return _mm512_fnmadd_ps(x, y, z); }  // z - x * y
inline float sum_of(Floats x) { return _mm512_reduce_add_ps(x); }
inline float largest_of(Floats x) { return _mm512_reduce_max_ps(x); }

inline Words zero_words() { return _mm512_setzero_si512(); }
inline Words all_words(int32_t x) { return _mm512_set1_epi32(x); }
inline Words load_words(const void* p) { return _mm512_loadu_si512(p); }
inline void store_words(void* p, Words x) { _mm512_storeu_si512(p, x); }
inline Words add_words(Words x, Words y) { return _mm512_add_epi32(x, y); }
inline int32_t sum_of_words(Words x) { return _mm512_reduce_add_epi32(x); }
inline Floats to_floats(Words x) { return _mm512_cvtepi32_ps(x); }
inline Words to_words(Floats x) { return _mm512_cvtps_epi32(x); }  // to nearest, ties to even

// The first `n` of LANES, from none to all: the others are `fill`, or stay as they are in memory.
inline __mmask16 first_lanes(int n) { return static_cast<__mmask16>((1u << std::clamp(n, 0, 16)) - 1); }
inline Floats load_first(const float* p, int n, float fill = 0) { return _mm512_mask_loadu_ps(all(fill), first_lanes(n), p); }
inline void store_first(float* p, int n, Floats x) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }

// `x` where its lane number is at most `last`, elsewhere `other`.
inline Floats up_to(int last, Floats x, Floats other) { return _mm512_mask_mov_ps(other, first_lanes(std::min(last, 15) + 1), x); }

// One bit for each lane, set where x equals y.
inline uint32_t equal(Floats x, Floats y) { return _mm512_cmp_ps_mask(x, y, _CMP_EQ_OQ); }

inline Floats from_half(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline Floats from_bytes(const uint8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline void store_signed_bytes(void* p, Words x) { _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(x)); }
inline void store_unsigned_bytes(void* p, Words x) { _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtusepi32_epi8(x)); }

inline Floats load(const bf16* p) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

inline Words low_nibbles(Words x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
inline Words high_nibbles(Words x) { return low_nibbles(_mm512_srli_epi16(x, 4)); }

// In each lane: `sum` and the products of four unsigned bytes with four signed ones.
inline Words dot4(Words sum, Words bytes, Words signed_bytes) { return _mm512_dpbusd_epi32(sum, bytes, signed_bytes); }

#ifdef __AVX512BF16__
// In each lane: `sum` and the products of two bfloat16 with two others.
inline Floats dot2(Floats sum, Words x, Words y) { return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)y); }
inline void store_bf16(bf16* p, Floats x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
}
#else
inline Floats dot2(Floats sum, Words x, Words y) {
    const __m512i high = _mm512_set1_epi32(0xffff0000);
    sum = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)), _mm512_castsi512_ps(_mm512_slli_epi32(y, 16)), sum);
    return _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(x, high)), _mm512_castsi512_ps(_mm512_and_si512(y, high)), sum);
}
inline void store_bf16(bf16* p, Floats x) {
    const __m512i bits = _mm512_castps_si512(x), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i kept = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc00000));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16)));
}
#endif

// The two parts of e^x that follow the instructions: x rounded to whole numbers, and y * 2^n.
inline Floats rounded(Floats x) { return _mm512_roundscale_ps(x, 8); }
inline Floats times_power(Floats y, Floats n) { return _mm512_scalef_ps(y, n); }
inline Floats where_at_least(Floats x, float low, Floats y) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, all(low), _CMP_GE_OQ), y); }

#else

constexpr int LANES = 8;
using Floats = __m256;
using Words = __m256i;

inline Floats zeros() { return _mm256_setzero_ps(); }
inline Floats all(float x) { return _mm256_set1_ps(x); }
inline Floats load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Floats x) { _mm256_storeu_ps(p, x); }
inline Floats add(Floats x, Floats y) { return _mm256_add_ps(x, y); }
inline Floats subtract(Floats x, Floats y) { return _mm256_sub_ps(x, y); }
inline Floats multiply(Floats x, Floats y) { return _mm256_mul_ps(x, y); }
inline Floats divide(Floats x, Floats y) { return _mm256_div_ps(x, y); }
inline Floats largest(Floats x, Floats y) { return _mm256_max_ps(x, y); }
inline Floats magnitude(Floats x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
inline Floats multiply_add(Floats x, Floats y, Floats z) { return _mm256_fmadd_ps(x, y, z); }
inline Floats negative_multiply_add(Floats x, Floats y, Floats z) { return _mm256_fnmadd_ps(x, y, z); }
inline float sum_of(Floats x) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline float largest_of(Floats x) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

inline Words zero_words() { return _mm256_setzero_si256(); }
inline Words all_words(int32_t x) { return _mm256_set1_epi32(x); }
inline Words load_words(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store_words(void* p, Words x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }
inline Words add_words(Words x, Words y) { return _mm256_add_epi32(x, y); }
inline int32_t sum_of_words(Words x) {
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}
inline Floats to_floats(Words x) { return _mm256_cvtepi32_ps(x); }
inline Words to_words(Floats x) { return _mm256_cvtps_epi32(x); }

inline __m256i first_lanes(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Floats load_first(const float* p, int n, float fill = 0) {
    const __m256i mask = first_lanes(n);
    return _mm256_blendv_ps(all(fill), _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask));
}
inline void store_first(float* p, int n, Floats x) { _mm256_maskstore_ps(p, first_lanes(n), x); }
inline Floats up_to(int last, Floats x, Floats other) { return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(first_lanes(last + 1))); }
inline uint32_t equal(Floats x, Floats y) { return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(x, y, _CMP_EQ_OQ))); }

inline Floats from_half(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline Floats from_bytes(const uint8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
inline __m128i to_shorts(Words x) { return _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)); }
inline void store_signed_bytes(void* p, Words x) {
    const __m128i shorts = to_shorts(x);
    _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packs_epi16(shorts, shorts));
}
inline void store_unsigned_bytes(void* p, Words x) {
    const __m128i shorts = to_shorts(x);
    _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packus_epi16(shorts, shorts));
}

inline Floats load(const bf16* p) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}

inline Words low_nibbles(Words x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
inline Words high_nibbles(Words x) { return low_nibbles(_mm256_srli_epi16(x, 4)); }

#ifdef __AVXVNNI__
inline Words dot4(Words sum, Words bytes, Words signed_bytes) { return _mm256_dpbusd_avx_epi32(sum, bytes, signed_bytes); }
#endif

inline Floats dot2(Floats sum, Words x, Words y) {
    const __m256i high = _mm256_set1_epi32(static_cast<int>(0xffff0000));
    sum = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(x, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(y, 16)), sum);
    return _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(x, high)), _mm256_castsi256_ps(_mm256_and_si256(y, high)), sum);
}
inline void store_bf16(bf16* p, Floats x) {
    const __m256i bits = _mm256_castps_si256(x), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256 quiet = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
    const __m256i kept = _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(rounded), quiet, _mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
    const __m256i upper = _mm256_srli_epi32(kept, 16);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1)));
}

inline Floats rounded(Floats x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// n from -126 to 128 and beyond: from 128 on it is infinity.
inline Floats times_power(Floats y, Floats n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_min_ps(n, all(128.0f))), _mm256_set1_epi32(127));
    return _mm256_mul_ps(y, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
inline Floats where_at_least(Floats x, float low, Floats y) { return _mm256_and_ps(_mm256_cmp_ps(x, all(low), _CMP_GE_OQ), y); }

#endif

#if defined(KWEN_AVX512) || defined(__AVXVNNI__)

// Four bytes for each lane, as `dot4` takes them.
using Level = int8_t;
using Fours = Words;
inline Fours split(Words bytes) { return bytes; }
inline Fours fours(const Level* p) {
    int32_t four;
    std::memcpy(&four, p, 4);
    return all_words(four);
}
inline void store_levels(Level* p, Words x) { store_signed_bytes(p, x); }

// `dot4` where the unsigned bytes are nibbles: summed up to eight times, then `whole`.
using NibbleSums = Words;
inline NibbleSums dot4_nibbles(NibbleSums sum, Words nibbles, Words signed_bytes) { return dot4(sum, nibbles, signed_bytes); }
inline Words whole(NibbleSums sum) { return sum; }
constexpr bool SHORT_SUMS = false;

#else

// The bytes of even places and of odd ones as shorts: the products of whole bytes do not fit the sums of `_mm256_maddubs_epi16`.
struct Fours {
    Words even, odd;
};
inline Fours split(Words bytes) { return {_mm256_and_si256(bytes, _mm256_set1_epi16(255)), _mm256_srli_epi16(bytes, 8)}; }
inline Words dot4(Words sum, Fours x, Fours y) {
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x.even, y.even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(x.odd, y.odd));
}
inline Words dot4(Words sum, Words bytes, Words signed_bytes) {
    return dot4(sum, split(bytes), {_mm256_srai_epi16(_mm256_slli_epi16(signed_bytes, 8), 8), _mm256_srai_epi16(signed_bytes, 8)});
}

// Activations that meet whole bytes are kept as such shorts, of each four the even places first.
using Level = int16_t;
inline Fours fours(const Level* p) {
    int32_t even, odd;
    std::memcpy(&even, p, 4);
    std::memcpy(&odd, p + 2, 4);
    return {all_words(even), all_words(odd)};
}
inline void store_levels(Level* p, Words x) {
    const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_shuffle_epi8(to_shorts(x), order));
}

// Shorts: eight times two products of 15 and 128 at most fit.
using NibbleSums = Words;
inline NibbleSums dot4_nibbles(NibbleSums sum, Words nibbles, Words signed_bytes) {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(nibbles, signed_bytes));
}
inline Words whole(NibbleSums sum) { return _mm256_madd_epi16(sum, _mm256_set1_epi16(1)); }
constexpr bool SHORT_SUMS = true;

#endif

// e^x, relative error below 2e-7: 2^n times a polynomial of degree 6 on [-ln2/2, ln2/2]. Below -87.3 it is 0.
inline Floats exp_(Floats x) {
    const Floats n = rounded(multiply(x, all(1.44269504088896341f)));
    Floats r = negative_multiply_add(n, all(0.693145751953125f), x);
    r = negative_multiply_add(n, all(1.42860682030941723212e-6f), r);
    Floats y = all(1.0f / 720);
    y = multiply_add(y, r, all(1.0f / 120));
    y = multiply_add(y, r, all(1.0f / 24));
    y = multiply_add(y, r, all(1.0f / 6));
    y = multiply_add(y, r, all(0.5f));
    y = multiply_add(y, r, all(1.0f));
    y = multiply_add(y, r, all(1.0f));
    return where_at_least(x, -87.3f, times_power(y, n));
}

inline Floats silu(Floats x) {
    const Floats one = all(1.0f);
    return divide(x, add(one, exp_(subtract(zeros(), x))));
}

// Round to nearest, ties to even, as `store_bf16` does.
inline bf16 to_bf16(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<bf16>((bits >> 16) | 64);
    return static_cast<bf16>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

constexpr int PANEL = 2 * LANES;  // outputs, positions or dimensions that are done together: so many sums fit the registers

inline int round_up(int value, int step) { return (value + step - 1) / step * step; }

// Call `go` with `count`, from 1 to MOST, as a constant.
template <int MOST, typename Go>
inline void with_constant(int count, const Go& go) {
    if constexpr (MOST > 1) {
        if (count < MOST) return with_constant<MOST - 1>(count, go);
    }
    go(std::integral_constant<int, MOST>{});
}

}  // namespace kwen
