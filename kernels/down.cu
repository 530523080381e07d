// Down: a 3x3 convolution of stride 2 and beside it, where channels are added, a 2x2 maximum; each then
// with its batch norm and PReLU.
//
//   out[.. n)  = prelu(conv3x3(x, stride 2) + bias)          the norm is folded into the weights
//   out[n ..)  = prelu(scale * max2x2(x) + shift)            where `pooled` is not null
//
//   x        [c / 8, h, w, 8] f16
//   out      [n / 8 (+ c / 8), ceil(h / 2), ceil(w / 2), 8] f16
//   weights  B fragments, K = 9 c (tap, channel), n columns
//   conv     f32 [2, n]: bias, slope          pooled  f32 [3, c]: scale, shift, slope
//
// A block computes ROWS x COLUMNS outputs, of one of `gridDim.z` parts of the n channels (the first also
// the maxima); Conv3x3 says which warp does what. A thread pools eight channels of a pixel at a time.
// Sums are f32. Limits: sizes of at most 2^15.
#include "conv3x3.cuh"

struct DownParams {
    const __half* map;
    __half* out;
    const __half* weights;
    const float* conv;
    const float* pooled;
    int height, width;
    int out_height, out_width;
    int channels;
};

__device__ __forceinline__ Half8 max8(const Half8& a, const Half8& b) {
    Half8 out;
#pragma unroll
    for (int i = 0; i < 4; i++) out.v[i] = __hmax2_nan(a.v[i], b.v[i]);
    return out;
}

template <class Conv>
__device__ __forceinline__ void down(const DownParams& p) {
    extern __shared__ __align__(16) __half shared[];
    __shared__ __align__(16) float pooled[3 * Conv::C];
    __half* weights = shared;
    __half* patch = shared + Conv::WEIGHTS;
    int n_first = blockIdx.z * Conv::N;
    // Of each 16 rows of the matrix, this block's columns.
    constexpr int CHUNKS = Conv::N / 8 * 16;
    for (int i = threadIdx.x; i < Conv::WEIGHTS / 8; i += Conv::THREADS) {
        int from = i / CHUNKS * (p.channels / 8 * 16) + n_first / 8 * 16 + i % CHUNKS;
        copy_async_16(weights + i * 8, p.weights + from * 8);
    }
    bool pools = p.pooled != nullptr && blockIdx.z == 0;
    if (pools) copy_async_block(pooled, p.pooled, sizeof(pooled));
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    auto part = Conv::part();
    float sums[Conv::M][Conv::NT][4];
    const float* of_channels = p.conv + n_first + part.n * 8;
    start_sums(sums, part.share == 0 ? of_channels : nullptr);
    float2 slopes[Conv::NT];
#pragma unroll
    for (int n = 0; n < Conv::NT; n++) {
        slopes[n] = *reinterpret_cast<const float2*>(of_channels + p.channels + n * 8 + t * 2);
    }
    int top = blockIdx.y * Conv::ROWS, left = blockIdx.x * Conv::COLUMNS;
    grid_dependency_wait();
    Conv::load_and_add(sums, part, patch, weights, p.map, p.height, p.width, top, left);

    if (pools) {
        for (int i = threadIdx.x; i < Conv::C / 8 * Conv::ROWS * Conv::COLUMNS; i += Conv::THREADS) {
            int group = i / (Conv::ROWS * Conv::COLUMNS);
            int row = i / Conv::COLUMNS % Conv::ROWS, column = i % Conv::COLUMNS;
            int y = top + row, x = left + column;
            if (y >= p.out_height || x >= p.out_width) continue;
            auto at = [&](int dy, int dx) {
                int pixel = (2 * row + 1 + dy) * Conv::W + Conv::slot(2 * column + 1 + dx);
                return *reinterpret_cast<const Half8*>(patch + pixel * Conv::PIXEL + group * 8);
            };
            bool has_below = 2 * y + 1 < p.height, has_right = 2 * x + 1 < p.width;
            Half8 value = at(0, 0);
            if (has_right) value = max8(value, at(0, 1));
            if (has_below) value = max8(value, at(1, 0));
            if (has_right && has_below) value = max8(value, at(1, 1));
            float values[8];
            floats_from_half8(values, value);
            const float* of_group = pooled + group * 8;
#pragma unroll
            for (int c = 0; c < 8; c++) {
                float normed = fmaf(values[c], of_group[c], of_group[Conv::C + c]);
                values[c] = prelu(normed, of_group[2 * Conv::C + c]);
            }
            size_t plane = p.channels / 8 + group;
            size_t pixel = (plane * p.out_height + y) * p.out_width + x;
            *reinterpret_cast<Half8*>(p.out + pixel * 8) = half8_from_floats(values);
        }
    }

    Conv::add_shares(sums, part, patch);
    if (part.share != 0) return;
#pragma unroll
    for (int n = 0; n < Conv::NT; n++) {
        float2 slope = slopes[n];
#pragma unroll
        for (int i = 0; i < 2 * Conv::M; i++) {
            int y = top + part.row + i / 2, x = left + part.column + g + 8 * (i % 2);
            if (y >= p.out_height || x >= p.out_width) continue;
            const float* sum = &sums[i / 2][n][2 * (i % 2)];
            size_t plane = n_first / 8 + part.n + n;
            size_t pixel = (plane * p.out_height + y) * p.out_width + x;
            *reinterpret_cast<__half2*>(p.out + pixel * 8 + t * 2) =
                __floats2half2_rn(prelu(sum[0], slope.x), prelu(sum[1], slope.y));
        }
    }
}

using Down1 = Conv3x3<32, 32, 2, 8, 32, 2, 2>;
using Down2 = Conv3x3<64, 64, 2, 4, 16, 2, 2>;
using Down3 = Conv3x3<128, 16, 2, 1, 16, 1, 2, 8>;
// For cards with 99 KB of shared memory a block, and for maps that have too few of the larger blocks:
// half of the pixels, half of the channels.
using Down1Small = Conv3x3<32, 32, 2, 8, 16, 2, 2>;
using Down2Small = Conv3x3<64, 32, 2, 4, 16, 2, 1>;

extern "C" __global__ void __launch_bounds__(Down1::THREADS) down1(__grid_constant__ const DownParams p) {
    down<Down1>(p);
}

extern "C" __global__ void __launch_bounds__(Down1Small::THREADS)
    down1_small(__grid_constant__ const DownParams p) {
    down<Down1Small>(p);
}

extern "C" __global__ void __launch_bounds__(Down2::THREADS) down2(__grid_constant__ const DownParams p) {
    down<Down2>(p);
}

extern "C" __global__ void __launch_bounds__(Down2Small::THREADS)
    down2_small(__grid_constant__ const DownParams p) {
    down<Down2Small>(p);
}

extern "C" __global__ void __launch_bounds__(Down3::THREADS) down3(__grid_constant__ const DownParams p) {
    down<Down3>(p);
}
