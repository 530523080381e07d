// Up: a bilinear resize (half-pixel centres, borders repeated), a 3x3 convolution and PReLU, and a skip.
//
//   out = prelu(conv3x3(resize(x)) + bias) (+ skip)
//
//   x        [2, h, w, 8] f16
//   out      [2, h', w', 8] f16; skip likewise, or null
//   weights  B fragments, K = 144 (tap, channel), 16 columns
//   constants  f32 [2, 16]: bias, slope
//
// A block computes ROWS x COLUMNS outputs: it resizes what they read, with a border of one pixel (zeros
// outside of the map), into shared memory, a thread eight channels of a pixel at a time, in f16; then
// Conv3x3 says which warp does what. Sums are f32. Limits: sizes of at most 2^14.
#include "resized.cuh"

struct UpParams {
    const __half* map;
    const __half* skip;
    __half* out;
    const __half* weights;
    const float* constants;
    int height, width;
    int out_height, out_width;
};

template <class Conv>
__device__ __forceinline__ void up(const UpParams& p) {
    __shared__ __align__(16) __half weights[Conv::WEIGHTS];
    __shared__ __align__(16) __half patch[Conv::PATCH_HALFS];
    __shared__ ResizeTap taps[Conv::H + Conv::W];
    copy_async_block(weights, p.weights, Conv::WEIGHTS * 2);
    copy_async_commit();
    int top = blockIdx.y * Conv::ROWS, left = blockIdx.x * Conv::COLUMNS;
    resize_taps<Conv>(taps, top, left, p.height, p.width, p.out_height, p.out_width);
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    auto part = Conv::part();
    float sums[Conv::M][2][4];
    start_sums(sums, p.constants);
    float2 slopes[2];
#pragma unroll
    for (int n = 0; n < 2; n++) {
        slopes[n] = *reinterpret_cast<const float2*>(p.constants + 16 + n * 8 + t * 2);
    }
    __syncthreads();
    // Before its own wait: what comes next, a stage's kernel, has far more to prepare than this one takes.
    grid_dependency_release();
    grid_dependency_wait();
    // What the thread's outputs are added to, asked for beside what they are made of.
    size_t out_area = static_cast<size_t>(p.out_height) * p.out_width;
    unsigned skips[Conv::M][4] = {};
#pragma unroll
    for (int i = 0; i < Conv::M; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int y = top + part.row + i, x = left + part.column + g + 8 * (j % 2);
            if (p.skip == nullptr || y >= p.out_height || x >= p.out_width) continue;
            size_t pixel = j / 2 * out_area + static_cast<size_t>(y) * p.out_width + x;
            skips[i][j] = reinterpret_cast<const unsigned*>(p.skip + pixel * 8)[t];
        }
    }
    resize_patch<Conv>(patch, taps, p.map, p.height, p.width);
    copy_async_wait<0>();
    __syncthreads();
    Conv::add(sums, part, patch, weights, 0, 1);

#pragma unroll
    for (int i = 0; i < Conv::M; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int y = top + part.row + i, x = left + part.column + g + 8 * (j % 2);
            if (y >= p.out_height || x >= p.out_width) continue;
            const float* sum = &sums[i][j / 2][2 * (j % 2)];
            float2 slope = slopes[j / 2];
            float first = prelu(sum[0], slope.x), second = prelu(sum[1], slope.y);
            size_t pixel = j / 2 * out_area + static_cast<size_t>(y) * p.out_width + x;
            float2 skip = __half22float2(*reinterpret_cast<const __half2*>(&skips[i][j]));
            first += skip.x;
            second += skip.y;
            *reinterpret_cast<__half2*>(p.out + pixel * 8 + t * 2) = __floats2half2_rn(first, second);
        }
    }
}

using Up = Conv3x3<16, 16, 1, 8, 32, 2, 2>;
// For maps whose large tiles would leave most of the card idle.
using UpSmall = Conv3x3<16, 16, 1, 4, 16, 1, 2>;

extern "C" __global__ void __launch_bounds__(Up::THREADS) up_large(__grid_constant__ const UpParams p) {
    up<Up>(p);
}

extern "C" __global__ void __launch_bounds__(UpSmall::THREADS) up_small(__grid_constant__ const UpParams p) {
    up<UpSmall>(p);
}
