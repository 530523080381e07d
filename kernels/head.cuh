// From the last decoder map to the mask: classify, resize, compare, in one pass.
//
//   logit(k, q) = offsets[k] + sum_c weights[k, c] * features[c, q]   at every pixel q of the low map
//   id(x, y)    = argmax_k of the logits resized to the image, ties to the lowest k
//   confidence  = round(255 / sum_k exp((logit_k - largest) / temperature))
//
// features    [2, low_height, low_width, 8] f16
// weights     [ceil(classes / 8), 32, 4] f16: fragments of the 16 x classes matrix; beyond the last
//             class class 0 again, which never wins against itself
// offsets     [classes] f32
// mask        [height, width] u8, class ids
// confidence  [height, width] u8, or null where nobody asked
// flag        u32, set to 1 where a logit is not finite; never set to 0 here
// rows        [height] taps (`head_resized` alone): three neighbouring rows of the low map and their
//             shares, the resize to the network's size and the one to the image's composed
// columns     [width] taps, likewise
//
// A CTA of 256 threads owns a tile of the image. Its warps classify the part of the low map that the
// tile reads, 16 pixels a tensor-core tile, into shared memory `[pixel][class]` in f32. Then a thread
// owns whole pixels of the image and walks the classes, four at a time.
// Accumulation f32; a logit's sum over 16 channels is one tensor-core step.
#pragma once

#include <cfloat>
#include <cstdint>
#include <cuda_fp16.h>

#include "launch.cuh"
#include "mma.cuh"

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
// Classes of a round.
constexpr int kRoundClasses = 32;
constexpr int kRoundTiles = kRoundClasses / 8;

struct __align__(16) AxisTap {
    uint32_t first;
    float share[3];
};

struct Params {
    const __half* features;
    const uint2* weights;
    const float* offsets;
    uint8_t* mask;
    uint8_t* confidence;
    uint32_t* flag;
    const AxisTap* rows;
    const AxisTap* columns;
    int low_height;
    int low_width;
    int height;
    int width;
    int classes;
    // log2(e) / temperature
    float exponent_scale;
    // Whether the tiles leave a part of the low map out, which then is only looked at for NaN.
    uint32_t looks_everywhere;
    // Floats a pixel in shared memory: a round's classes up to a multiple of 8, and 4 more, so that
    // no banks collide.
    int pixel_stride;
    // `head_resized` alone: its tile, and the most low columns and rows that one reads.
    int tile_height;
    int tile_width;
    int most_low_rows;
    int most_low_columns;
};

// Returns whether one of two f16 is infinite or NaN.
__device__ __forceinline__ bool not_finite(uint32_t pair) {
    return ((pair & 0x7c007c00u) + 0x04000400u) & 0x80008000u;
}

// This lane's part of a round: weights as the tensor cores want them, and the offset of the class
// `lane`, which the others fetch from it.
struct Fragments {
    uint2 tile[kRoundTiles];
    float offset;
};

__device__ __forceinline__ Fragments load_weights(const Params& p, int first_class) {
    Fragments fragments;
    const int tiles = (p.classes + 7) / 8;
    const int lane = threadIdx.x % 32;
    // Beyond the last class class 0's, as the weights are.
    const int own_class = first_class + lane;
    fragments.offset = p.offsets[own_class < p.classes ? own_class : 0];
#pragma unroll
    for (int t = 0; t < kRoundTiles; ++t) {
        const int tile = first_class / 8 + t;
        fragments.tile[t] = tile < tiles ? p.weights[tile * 32 + lane] : make_uint2(0, 0);
    }
    return fragments;
}

// Raises the flag where a weight is beyond f16.
__device__ __forceinline__ void check(const Params& p, const Fragments& weights) {
    bool bad = false;
#pragma unroll
    for (int t = 0; t < kRoundTiles; ++t) {
        bad |= not_finite(weights.tile[t].x) || not_finite(weights.tile[t].y);
    }
    if (bad) *p.flag = 1;
}

// A pixel's channels of this lane: (lane % 4) * 2 and the next one of each block of eight.
struct PixelChannels {
    uint32_t block[2];
};

__device__ __forceinline__ PixelChannels load_pixel(const Params& p, int y, int x) {
    y = min(max(y, 0), p.low_height - 1);
    x = min(max(x, 0), p.low_width - 1);
    const size_t map = static_cast<size_t>(p.low_height) * p.low_width;
    const size_t pixel = static_cast<size_t>(y) * p.low_width + x;
    const uint32_t* pairs = reinterpret_cast<const uint32_t*>(p.features) + threadIdx.x % 4;
    return {{pairs[pixel * 4], pairs[(map + pixel) * 4]}};
}

// Writes a round's logits of pixels `first` + lane / 4 and + 8 to shared memory, whose pixels are a
// multiple of 16.
__device__ __forceinline__ void classify(const Params& p, const Fragments& weights,
                                         const PixelChannels (&pixels)[2], int first,
                                         float* __restrict__ logits) {
    const int lane = threadIdx.x % 32;
    const FragmentA a = {
        {pixels[0].block[0], pixels[1].block[0], pixels[0].block[1], pixels[1].block[1]}};
    float* upper = logits + (first + lane / 4) * p.pixel_stride + lane % 4 * 2;
    float* lower = upper + 8 * p.pixel_stride;
#pragma unroll
    for (int t = 0; t < kRoundTiles; ++t) {
        if (t * 8 + 4 >= p.pixel_stride) break;
        const int column = t * 8 + lane % 4 * 2;
        const float even = __shfl_sync(~0u, weights.offset, column);
        const float odd = __shfl_sync(~0u, weights.offset, column + 1);
        float c[4] = {even, odd, even, odd};
        mma(c, a, weights.tile[t]);
        *reinterpret_cast<float2*>(upper + t * 8) = make_float2(c[0], c[1]);
        *reinterpret_cast<float2*>(lower + t * 8) = make_float2(c[2], c[3]);
    }
}

__device__ __forceinline__ bool not_finite(const PixelChannels& pixel) {
    return not_finite(pixel.block[0]) || not_finite(pixel.block[1]);
}

// Raises the flag where this thread's part of the whole low map is not finite.
__device__ __forceinline__ void look_everywhere(const Params& p) {
    const size_t vectors = 2 * static_cast<size_t>(p.low_height) * p.low_width;
    const size_t threads = static_cast<size_t>(gridDim.x) * gridDim.y * kThreads;
    const size_t block = static_cast<size_t>(blockIdx.y) * gridDim.x + blockIdx.x;
    const uint4* features = reinterpret_cast<const uint4*>(p.features);
    bool bad = false;
    for (size_t i = block * kThreads + threadIdx.x; i < vectors; i += threads) {
        const uint4 v = features[i];
        bad |= not_finite(v.x) || not_finite(v.y) || not_finite(v.z) || not_finite(v.w);
    }
    if (bad) *p.flag = 1;
}

// The running answer of one pixel.
struct Best {
    float logit;
    float sum;
    int id;
};

__device__ __forceinline__ void compare(Best& best, float logit, int id) {
    if (logit > best.logit) {
        best.logit = logit;
        best.id = id;
    }
}

__device__ __forceinline__ void add_exponent(const Params& p, Best& best, float logit) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"((logit - best.logit) * p.exponent_scale));
    best.sum += power;
}

__device__ __forceinline__ uint8_t confidence_from_sum(float sum) {
    return static_cast<uint8_t>(roundf(255.0f / sum));
}

__device__ __forceinline__ void write_pixel(const Params& p, int y, int x, const Best& best) {
    const size_t at = static_cast<size_t>(y) * p.width + x;
    p.mask[at] = static_cast<uint8_t>(best.id);
    if (p.confidence != nullptr) p.confidence[at] = confidence_from_sum(best.sum);
}

__device__ __forceinline__ float lane_of(const float4& v, int i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

}  // namespace
