// The head where four low pixels give a square of four of the image; maths and arguments in head.cuh.
//
// `head_doubled`: the image has the network's size (cropped or not), the low map half of it, so
//   that four low pixels give four pixels of the image with shares of 1/4 and 3/4: one such 2x2
//   square a thread. At most 32 classes.
// `head_decoded`: as `head_doubled`, of an image that fills the network's input, and the low map is not
//   read but made of the decoder's last blocks' as up (kernels/up.cu) makes it: `map` [2, h, w, 8] resized
//   to the low map's size, its 3x3 convolution and PReLU, `conv_weights` and `conv_constants` as up's. The
//   tensor cores' sums of that are the operand of the classification where they lie.
#include "head.cuh"
#include "resized.cuh"

namespace {

// Squares of `head_doubled`'s tile: their corners fill two tensor-core tiles a row.
constexpr int kSquareColumns = 31;
constexpr int kSquareRows = kWarps;
constexpr int kCornerColumns = kSquareColumns + 1;
constexpr int kCornerRows = kSquareRows + 1;

// The quarters between two values: the one nearer to `low`, then the one nearer to `high`.
__device__ __forceinline__ void quarters(float low, float high, float& near_low,
                                         float& near_high) {
    const float difference = high - low;
    near_low = fmaf(0.25f, difference, low);
    near_high = fmaf(0.75f, difference, low);
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
