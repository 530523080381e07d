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
#include "conv3x3.cuh"

struct UpParams {
    const __half* map;
    const __half* skip;
    __half* out;
    const __half* weights;
    const float* constants;
    int height, width;
    int out_height, out_width;
};

// (1 - share) * in[low] + share * in[high]; low is negative where the output is outside of the map.
struct Tap {
    int low, high;
    __half2 share;
};

__device__ __forceinline__ Tap tap_of(int out, int n_in, int n_out) {
    if (out < 0 || out >= n_out) return {-1, -1, {}};
    int at = max((2 * out + 1) * n_in - n_out, 0);
    int low = min(at / (2 * n_out), n_in - 1);
    float share = static_cast<float>(at - low * 2 * n_out) / static_cast<float>(2 * n_out);
    return {low, min(low + 1, n_in - 1), __float2half2_rn(share)};
}

// low + share * (high - low), in f16: three of these round the resized map by at most 2^-9. By value: a
// reference to the device's memory would be read member by member.
__device__ __forceinline__ Half8 mixed(Half8 low, Half8 high, __half2 share) {
    Half8 out;
#pragma unroll
    for (int i = 0; i < 4; i++) out.v[i] = __hfma2(share, __hsub2(high.v[i], low.v[i]), low.v[i]);
    return out;
}

template <class Conv>
__device__ __forceinline__ void up(const UpParams& p) {
    __shared__ __align__(16) __half weights[Conv::WEIGHTS];
    __shared__ __align__(16) __half patch[Conv::PATCH_HALFS];
    __shared__ Tap taps[Conv::H + Conv::W];
    copy_async_block(weights, p.weights, Conv::WEIGHTS * 2);
    copy_async_commit();
    int top = blockIdx.y * Conv::ROWS, left = blockIdx.x * Conv::COLUMNS;
    for (int i = threadIdx.x; i < Conv::H + Conv::W; i += Conv::THREADS) {
        taps[i] = i < Conv::H ? tap_of(top - 1 + i, p.height, p.out_height)
                              : tap_of(left - 1 + i - Conv::H, p.width, p.out_width);
    }
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
    grid_dependency_wait();
    size_t area = static_cast<size_t>(p.height) * p.width;
    constexpr int ITEMS = 2 * Conv::H * Conv::W;
#pragma unroll 2
    for (int i = threadIdx.x; i < ITEMS; i += Conv::THREADS) {
        int group = i / (Conv::H * Conv::W), row = i / Conv::W % Conv::H, column = i % Conv::W;
        Tap y = taps[row], x = taps[Conv::H + column];
        Half8 value = half8_zero();
        if (y.low >= 0 && x.low >= 0) {
            const Half8* plane = reinterpret_cast<const Half8*>(p.map) + group * area;
            size_t low = static_cast<size_t>(y.low) * p.width, high = static_cast<size_t>(y.high) * p.width;
            Half8 left = mixed(plane[low + x.low], plane[high + x.low], y.share);
            Half8 right = mixed(plane[low + x.high], plane[high + x.high], y.share);
            value = mixed(left, right, x.share);
        }
        *reinterpret_cast<Half8*>(patch + (row * Conv::W + column) * Conv::PIXEL + group * 8) = value;
    }
    grid_dependency_release();
    copy_async_wait<0>();
    __syncthreads();
    Conv::add(sums, part, patch, weights, 0, 1);

    size_t out_area = static_cast<size_t>(p.out_height) * p.out_width;
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
            if (p.skip != nullptr) {
                const __half* from = p.skip + pixel * 8 + t * 2;
                float2 skip = __half22float2(*reinterpret_cast<const __half2*>(from));
                first += skip.x;
                second += skip.y;
            }
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
