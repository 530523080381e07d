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
// `head_doubled`: the image has the network's size (cropped or not), the low map half of it, so
//   that four low pixels give four pixels of the image with shares of 1/4 and 3/4: one such 2x2
//   square a thread. At most 32 classes.
// `head_decoded`: as `head_doubled`, of an image that fills the network's input, and the low map is not
//   read but made of the decoder's last blocks' as up (kernels/up.cu) makes it: `map` [2, h, w, 8] resized
//   to the low map's size, its 3x3 convolution and PReLU, `conv_weights` and `conv_constants` as up's. The
//   tensor cores' sums of that are the operand of the classification where they lie.
// `head_resized`: any sizes; rows are mixed into shared memory first, then columns in registers; up
//   to 4 pixels a thread. 1 to 255 classes, in rounds of 32.
// Accumulation f32; a logit's sum over 16 channels is one tensor-core step.

#include <cfloat>
#include <cstdint>
#include <cuda_fp16.h>

#include "launch.cuh"
#include "mma.cuh"
#include "resized.cuh"

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
// Classes of a round.
constexpr int kRoundClasses = 32;
constexpr int kRoundTiles = kRoundClasses / 8;
// Squares of `head_doubled`'s tile: their corners fill two tensor-core tiles a row.
constexpr int kSquareColumns = 31;
constexpr int kSquareRows = kWarps;
constexpr int kCornerColumns = kSquareColumns + 1;
constexpr int kCornerRows = kSquareRows + 1;
// Pixels of a tile that a thread of `head_resized` owns at most.
constexpr int kPixelsOfThread = 4;
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

// The quarters between two values: the one nearer to `low`, then the one nearer to `high`.
__device__ __forceinline__ void quarters(float low, float high, float& near_low,
                                         float& near_high) {
    const float difference = high - low;
    near_low = fmaf(0.25f, difference, low);
    near_high = fmaf(0.75f, difference, low);
}

// The three values at a tap, in its shares.
__device__ __forceinline__ float mixed_of(const AxisTap& tap, float a, float b, float c) {
    return tap.share[0] * a + tap.share[1] * b + tap.share[2] * c;
}

// Classifies all corners of the CTA's squares into shared memory: a warp its own row of corners, the
// first two the last row's halves besides.
__device__ __forceinline__ void classify_corners(const Params& p, const Fragments& weights,
                                                 int first_row, int first_column, float* logits) {
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int tiles = warp < 2 ? 3 : 2;
    // All loads first: they take longer than what is done with them.
    PixelChannels channels[3][2];
    bool bad = false;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
        if (i == tiles) break;
        const int row = i < 2 ? warp : kCornerRows - 1;
        const int half = i < 2 ? i : warp;
#pragma unroll
        for (int eight = 0; eight < 2; ++eight) {
            channels[i][eight] = load_pixel(p, first_row + row,
                                            first_column + half * 16 + eight * 8 + lane / 4);
            bad |= not_finite(channels[i][eight]);
        }
    }
    if (bad) *p.flag = 1;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
        if (i == tiles) break;
        const int tile = i < 2 ? warp * 2 + i : (kCornerRows - 1) * 2 + warp;
        classify(p, weights, channels[i], tile * 16, logits);
    }
}

// Walks the classes over the four pixels between four corners: `corner`, the one `right` floats on, and
// those `down` floats on.
template <bool kAddExponents>
__device__ __forceinline__ void walk_square(const Params& p, const float* corner, int right, int down,
                                            Best (&best)[4]) {
    const float* below = corner + down;
    for (int c = 0; c < p.classes; c += 4) {
        const float4 v00 = *reinterpret_cast<const float4*>(corner + c);
        const float4 v01 = *reinterpret_cast<const float4*>(corner + right + c);
        const float4 v10 = *reinterpret_cast<const float4*>(below + c);
        const float4 v11 = *reinterpret_cast<const float4*>(below + right + c);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            float left[2], right[2], value[4];
            quarters(lane_of(v00, i), lane_of(v10, i), left[0], left[1]);
            quarters(lane_of(v01, i), lane_of(v11, i), right[0], right[1]);
            quarters(left[0], right[0], value[0], value[1]);
            quarters(left[1], right[1], value[2], value[3]);
#pragma unroll
            for (int pixel = 0; pixel < 4; ++pixel) {
                if (!kAddExponents) {
                    compare(best[pixel], value[pixel], c + i);
                } else if (c + i < p.classes) {
                    add_exponent(p, best[pixel], value[pixel]);
                }
            }
        }
    }
}

// Answers the square of low row `y` and column `x` and the ones after them; its corners as `walk_square`.
__device__ __forceinline__ void answer_square(const Params& p, const float* corner, int right, int down, int y,
                                              int x) {
    Best best[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) best[i] = {-FLT_MAX, 0.0f, 0};
    walk_square<false>(p, corner, right, down, best);
    if (p.confidence != nullptr) walk_square<true>(p, corner, right, down, best);
#pragma unroll
    for (int pixel = 0; pixel < 4; ++pixel) {
        const int to_y = 2 * y + 1 + pixel / 2;
        const int to_x = 2 * x + 1 + pixel % 2;
        if (to_y >= 0 && to_x >= 0 && to_y < p.height && to_x < p.width) {
            write_pixel(p, to_y, to_x, best[pixel]);
        }
    }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, 5)
    head_doubled(const __grid_constant__ Params p) {
    extern __shared__ float logits[];
    const int row = threadIdx.x / 32;
    const int column = threadIdx.x % 32;
    const int first_row = blockIdx.y * kSquareRows - 1;
    const int first_column = blockIdx.x * kSquareColumns - 1;
    const Fragments weights = load_weights(p, 0);
    grid_dependency_wait();
    grid_dependency_release();
    check(p, weights);
    classify_corners(p, weights, first_row, first_column, logits);
    if (p.looks_everywhere) look_everywhere(p);
    __syncthreads();

    if (column == kSquareColumns) return;
    const float* corner = logits + (row * kCornerColumns + column) * p.pixel_stride;
    answer_square(p, corner, p.pixel_stride, kCornerColumns * p.pixel_stride, first_row + row,
                  first_column + column);
}

namespace {

struct DecodedParams {
    Params head;
    const __half* map;
    const __half* conv_weights;
    const float* conv_constants;
    int map_height;
    int map_width;
};

// A tile's corners are the outputs of this: one row of them more than of its squares.
using Decoded = Conv3x3<16, 16, 1, 8, kCornerColumns, 2, 2>;
constexpr int kDecodedRows = Decoded::ROWS - 1;
static_assert(Decoded::THREADS == kThreads, "up's warps are the head's");

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, 4)
    head_decoded(const __grid_constant__ DecodedParams all) {
    extern __shared__ float logits[];
    __shared__ __align__(16) __half conv_weights[Decoded::WEIGHTS];
    __shared__ __align__(16) __half patch[Decoded::PATCH_HALFS];
    __shared__ ResizeTap taps[Decoded::H + Decoded::W];
    const Params& p = all.head;
    copy_async_block(conv_weights, all.conv_weights, sizeof(conv_weights));
    copy_async_commit();
    const int first_row = blockIdx.y * kDecodedRows - 1;
    const int first_column = blockIdx.x * kSquareColumns - 1;
    resize_taps<Decoded>(taps, first_row, first_column, all.map_height, all.map_width, p.low_height, p.low_width);
    const int lane = threadIdx.x % 32;
    const auto part = Decoded::part();
    float sums[Decoded::M][2][4];
    start_sums(sums, all.conv_constants);
    float2 slopes[2];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
        slopes[n] = *reinterpret_cast<const float2*>(all.conv_constants + 16 + n * 8 + lane % 4 * 2);
    }
    const Fragments weights = load_weights(p, 0);
    __syncthreads();
    grid_dependency_wait();
    resize_patch<Decoded>(patch, taps, all.map, all.map_height, all.map_width);
    grid_dependency_release();
    check(p, weights);
    copy_async_wait<0>();
    __syncthreads();
    Decoded::add(sums, part, patch, conv_weights, 0, 1);

    bool bad = false;
#pragma unroll
    for (int i = 0; i < Decoded::M; ++i) {
        const int y = first_row + part.row + i;
        PixelChannels pixels[2];
#pragma unroll
        for (int eight = 0; eight < 2; ++eight) {
            const int x = first_column + part.column + eight * 8 + lane / 4;
#pragma unroll
            for (int n = 0; n < 2; ++n) {
                const float* sum = &sums[i][n][2 * eight];
                const __half2 pair = __floats2half2_rn(prelu(sum[0], slopes[n].x), prelu(sum[1], slopes[n].y));
                pixels[eight].block[n] = *reinterpret_cast<const uint32_t*>(&pair);
            }
            const bool is_inside = y >= 0 && y < p.low_height && x >= 0 && x < p.low_width;
            bad |= is_inside && not_finite(pixels[eight]);
        }
        classify(p, weights, pixels, (part.row + i) * kCornerColumns + part.column, logits);
    }
    if (bad) *p.flag = 1;
    __syncthreads();

    // Beyond the map its border is repeated.
    const int row = threadIdx.x / 32, y = first_row + row, x = first_column + lane;
    if (row == kDecodedRows || lane == kSquareColumns) return;
    const int above = min(max(y, 0), p.low_height - 1), below = min(y + 1, p.low_height - 1);
    const int left = min(max(x, 0), p.low_width - 1), right = min(x + 1, p.low_width - 1);
    const float* corner =
        logits + ((above - first_row) * kCornerColumns + left - first_column) * p.pixel_stride;
    answer_square(p, corner, (right - left) * p.pixel_stride, (below - above) * kCornerColumns * p.pixel_stride, y, x);
}

namespace {

// What a CTA of `head_resized` works on.
struct Tile {
    int top;
    int left;
    int height;
    int width;
    int first_low_row;
    int first_low_column;
    int low_rows;
    int low_columns;
};

__device__ __forceinline__ Tile own_tile(const Params& p) {
    Tile t;
    t.top = blockIdx.y * p.tile_height;
    t.left = blockIdx.x * p.tile_width;
    t.height = min(p.tile_height, p.height - t.top);
    t.width = min(p.tile_width, p.width - t.left);
    t.first_low_row = p.rows[t.top].first;
    t.first_low_column = p.columns[t.left].first;
    t.low_rows = p.rows[t.top + t.height - 1].first + 3 - t.first_low_row;
    t.low_columns = p.columns[t.left + t.width - 1].first + 3 - t.first_low_column;
    return t;
}

// Classifies a round of the low pixels that the tile reads, [low_rows][low_columns][pixel_stride],
// and some of the last one's copies up to a multiple of 16.
__device__ __forceinline__ void classify_tile(const Params& p, const Fragments& weights,
                                              const Tile& t, float* logits) {
    const int lane = threadIdx.x % 32;
    const int pixels = t.low_rows * t.low_columns;
    bool bad = false;
    for (int first = threadIdx.x / 32 * 16; first < pixels; first += kWarps * 16) {
        PixelChannels channels[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int pixel = min(first + half * 8 + lane / 4, pixels - 1);
            channels[half] = load_pixel(p, t.first_low_row + pixel / t.low_columns,
                                        t.first_low_column + pixel % t.low_columns);
            bad |= not_finite(channels[half]);
        }
        classify(p, weights, channels, first, logits);
    }
    if (bad) *p.flag = 1;
}

// Mixes the rows: [low_rows] to [tile height], columns as they are.
__device__ __forceinline__ void mix_rows(const Params& p, const Tile& t, int classes,
                                         const float* logits, float* mixed) {
    const int groups = (classes + 3) / 4;
    const int row_values = t.low_columns * groups;
    const int below = t.low_columns * p.pixel_stride;
    for (int i = threadIdx.x; i < t.height * row_values; i += kThreads) {
        const int row = i / row_values;
        const int column = (i - row * row_values) / groups;
        const int group = i - row * row_values - column * groups;
        const AxisTap tap = p.rows[t.top + row];
        const int place = column * p.pixel_stride + group * 4;
        const float* from = logits + (tap.first - t.first_low_row) * below + place;
        const float4 a = *reinterpret_cast<const float4*>(from);
        const float4 b = *reinterpret_cast<const float4*>(from + below);
        const float4 c = *reinterpret_cast<const float4*>(from + 2 * below);
        *reinterpret_cast<float4*>(mixed + row * below + place) =
            make_float4(mixed_of(tap, a.x, b.x, c.x), mixed_of(tap, a.y, b.y, c.y),
                        mixed_of(tap, a.z, b.z, c.z), mixed_of(tap, a.w, b.w, c.w));
    }
}

// Walks the classes of a round over this thread's pixels, columns mixed on the way.
template <bool kAddExponents>
__device__ __forceinline__ void walk_pixels(const Params& p, const Tile& t, int first_class,
                                            const float* mixed, Best (&best)[kPixelsOfThread]) {
    const int classes = min(p.classes - first_class, kRoundClasses);
#pragma unroll
    for (int n = 0; n < kPixelsOfThread; ++n) {
        const int pixel = n * kThreads + threadIdx.x;
        if (pixel >= t.height * t.width) break;
        const int row = pixel / t.width;
        const AxisTap tap = p.columns[t.left + pixel - row * t.width];
        const float* from =
            mixed + (row * t.low_columns + tap.first - t.first_low_column) * p.pixel_stride;
        for (int c = 0; c < classes; c += 4) {
            const float4 v0 = *reinterpret_cast<const float4*>(from + c);
            const float4 v1 = *reinterpret_cast<const float4*>(from + p.pixel_stride + c);
            const float4 v2 = *reinterpret_cast<const float4*>(from + 2 * p.pixel_stride + c);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float value = mixed_of(tap, lane_of(v0, i), lane_of(v1, i), lane_of(v2, i));
                if (!kAddExponents) {
                    compare(best[n], value, first_class + c + i);
                } else if (c + i < classes) {
                    add_exponent(p, best[n], value);
                }
            }
        }
    }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads)
    head_resized(const __grid_constant__ Params p) {
    extern __shared__ float logits[];
    // [tile height][low columns][pixel_stride]
    float* mixed = logits + (p.most_low_rows * p.most_low_columns + 15) / 16 * 16 * p.pixel_stride;
    const Tile t = own_tile(p);
    Fragments weights = load_weights(p, 0);
    grid_dependency_wait();
    grid_dependency_release();
    if (p.looks_everywhere) look_everywhere(p);

    Best best[kPixelsOfThread];
#pragma unroll
    for (int i = 0; i < kPixelsOfThread; ++i) best[i] = {-FLT_MAX, 0.0f, 0};
    auto next_round = [&](int first_class) {
        check(p, weights);
        classify_tile(p, weights, t, logits);
        __syncthreads();
        mix_rows(p, t, min(p.classes - first_class, kRoundClasses), logits, mixed);
        __syncthreads();
    };
    for (int c = 0; c < p.classes; c += kRoundClasses) {
        if (c > 0) weights = load_weights(p, c);
        next_round(c);
        walk_pixels<false>(p, t, c, mixed, best);
    }
    if (p.confidence != nullptr) {
        for (int c = 0; c < p.classes; c += kRoundClasses) {
            // A single round's logits still lie there.
            if (p.classes > kRoundClasses) {
                weights = load_weights(p, c);
                next_round(c);
            }
            walk_pixels<true>(p, t, c, mixed, best);
        }
    }
#pragma unroll
    for (int n = 0; n < kPixelsOfThread; ++n) {
        const int pixel = n * kThreads + threadIdx.x;
        if (pixel >= t.height * t.width) break;
        const int row = pixel / t.width;
        write_pixel(p, t.top + row, t.left + pixel - row * t.width, best[n]);
    }
}
