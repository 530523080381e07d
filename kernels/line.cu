// Line: a 3x3 convolution to the skip's 16 channels, and with it what MSAU computes of each pixel first.
//
//   line     = prelu(conv3x3(x) + bias)
//   reduced  = prelu(R line + bias')             R [16, 8], a 1x1 convolution
//
//   x        [c / 8, h, w, 8] f16
//   line     [2, h, w, 8] f16            reduced  [1, h, w, 8] f16
//   weights  B fragments, K = 9 c (tap, channel), 16 columns; then R's, one fragment
//   constants  f32: bias [16], slope [16], bias' [8], slope' [8]
//
// A block computes ROWS x COLUMNS pixels; Conv3x3 says which warp does what. The line's sums, rounded to
// f16, are the second product's A operand where they lie. Sums are f32. Limits: sizes of at most 2^15.
#include "conv3x3.cuh"

struct LineParams {
    const __half* map;
    __half* line;
    __half* reduced;
    const __half* weights;
    const float* constants;
    int height, width;
};

template <class Conv>
__device__ __forceinline__ void line(const LineParams& p) {
    extern __shared__ __align__(16) __half shared[];
    __half* weights = shared;
    __half* patch = shared + Conv::WEIGHTS;
    copy_async_block(weights, p.weights, Conv::WEIGHTS * 2);
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    uint2 reduce = reinterpret_cast<const uint2*>(p.weights + Conv::WEIGHTS)[threadIdx.x % 32];
    const float* of_channels = p.constants + t * 2;
    auto pair_at = [&](int i) { return *reinterpret_cast<const float2*>(of_channels + i); };
    float2 slopes[2] = {pair_at(16), pair_at(24)}, reduced_bias = pair_at(32), reduced_slope = pair_at(40);
    auto part = Conv::part();
    float sums[Conv::M][2][4];
    start_sums(sums, part.share == 0 ? p.constants : nullptr);

    int top = blockIdx.y * Conv::ROWS, left = blockIdx.x * Conv::COLUMNS;
    grid_dependency_wait();
    Conv::load_and_add(sums, part, patch, weights, p.map, p.height, p.width, top, left);
    Conv::add_shares(sums, part, patch);
    if (part.share != 0) return;

    size_t area = static_cast<size_t>(p.height) * p.width;
#pragma unroll
    for (int i = 0; i < Conv::M; i++) {
        __half2 values[4];
        FragmentA a;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float* sum = &sums[i][j / 2][2 * (j % 2)];
            float2 slope = slopes[j / 2];
            values[j] = __floats2half2_rn(prelu(sum[0], slope.x), prelu(sum[1], slope.y));
            a.r[j] = *reinterpret_cast<unsigned*>(&values[j]);
        }
        float reduced[4] = {reduced_bias.x, reduced_bias.y, reduced_bias.x, reduced_bias.y};
        mma(reduced, a, reduce);
        int y = top + part.row + i;
#pragma unroll
        for (int j = 0; j < 2; j++) {
            int x = left + part.column + g + 8 * j;
            if (y >= p.height || x >= p.width) continue;
            size_t pixel = static_cast<size_t>(y) * p.width + x;
            *reinterpret_cast<__half2*>(p.line + pixel * 8 + t * 2) = values[j];
            *reinterpret_cast<__half2*>(p.line + (area + pixel) * 8 + t * 2) = values[2 + j];
            *reinterpret_cast<__half2*>(p.reduced + pixel * 8 + t * 2) =
                __floats2half2_rn(prelu(reduced[2 * j], reduced_slope.x),
                                  prelu(reduced[2 * j + 1], reduced_slope.y));
        }
    }
}

using Line1 = Conv3x3<64, 16, 1, 8, 32, 2, 2>;
using Line2 = Conv3x3<128, 16, 1, 4, 16, 2, 2, 4>;
using Line3 = Conv3x3<16, 16, 1, 4, 16, 1, 2>;

extern "C" __global__ void __launch_bounds__(Line1::THREADS) line1(__grid_constant__ const LineParams p) {
    line<Line1>(p);
}

extern "C" __global__ void __launch_bounds__(Line2::THREADS) line2(__grid_constant__ const LineParams p) {
    line<Line2>(p);
}

extern "C" __global__ void __launch_bounds__(Line3::THREADS) line3(__grid_constant__ const LineParams p) {
    line<Line3>(p);
}
