// The head at any sizes; maths and arguments in head.cuh.
//
// `head_resized`: any sizes; rows are mixed into shared memory first, then columns in registers; up
//   to 4 pixels a thread. 1 to 255 classes, in rounds of 32.
#include "head.cuh"

namespace {

// Pixels of a tile that a thread of `head_resized` owns at most.
constexpr int kPixelsOfThread = 4;

// The three values at a tap, in its shares.
__device__ __forceinline__ float mixed_of(const AxisTap& tap, float a, float b, float c) {
    return tap.share[0] * a + tap.share[1] * b + tap.share[2] * c;
}

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
