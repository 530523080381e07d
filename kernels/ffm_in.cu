// FFM's first kernel: pooling, layer norm and SS2D's input projection.
//
//   v = concat(f3, pool(m1), pool(m2)),  [x | z] = W layer_norm(v),  out = [x | silu(z)]
//   pool: mean over rows floor(y H / h) .. ceil((y + 1) H / h) and columns likewise (adaptive average)
//
//   f3  [2, h, w, 8]     m1  [2, h1, w1, 8]     m2  [2, h2, w2, 8]                              f16
//   norm [2][48] weight and bias, f32; W [3 k][24 n][32][4] fragments, f16
//   out [24, h, w, 8]    x in the first 12 groups of channels, silu(z) in the others               f16
//
// One block takes 16 consecutive pixels. Each pooled group of 8 channels of a pixel is summed by four
// threads (m1) or two (m2), a row of its cell each; a pixel's norm by 8 threads; then 6 warps take four
// groups of output channels each. Sums are f32. Any sizes from 1x1.
#include "half8.cuh"
#include "launch.cuh"
#include "mma.cuh"
#include "silu.cuh"

namespace {

constexpr int PIXELS = 16, THREADS = 192;
constexpr int WIDTH = 48, GROUPS = 24, X_GROUPS = 12;
constexpr int K_TILES = WIDTH / 16, N_TILES = GROUPS / (THREADS / 32);
constexpr int ROW = WIDTH + 8;  // halfs of a pixel in shared memory
constexpr float EPS = 1e-5f;

struct FfmInParams {
    const Half8* f3;
    const Half8* m1;
    const Half8* m2;
    const float* norm;
    const uint2* weights;
    __half* out;
    int size[2], size1[2], size2[2];
};

// Adds up rows `part`, `part + PARTS`, ... of the cell of pixel (y, x) in group `group` of the map, lets
// the PARTS neighbouring lanes share their sums, and returns the mean of the cell.
template <int PARTS>
__device__ __forceinline__ void pool(float (&mean)[8], const Half8* map, const int (&from)[2],
                                     const int (&to)[2], int y, int x, int group, int part) {
    int const top = y * from[0] / to[0], bottom = ((y + 1) * from[0] + to[0] - 1) / to[0];
    int const left = x * from[1] / to[1], right = ((x + 1) * from[1] + to[1] - 1) / to[1];
    float sum[8] = {};
    for (int row = top + part; row < bottom; row += PARTS) {
        const Half8* of_row = map + (size_t(group) * from[0] + row) * from[1];
#pragma unroll 4
        for (int column = left; column < right; column++) {
            float one[8];
            floats_from_half8(one, of_row[column]);
#pragma unroll
            for (int i = 0; i < 8; i++) sum[i] += one[i];
        }
    }
    float const scale = 1.f / float((bottom - top) * (right - left));
#pragma unroll
    for (int i = 0; i < 8; i++) {
#pragma unroll
        for (int distance = 1; distance < PARTS; distance *= 2) {
            sum[i] += __shfl_xor_sync(~0u, sum[i], distance);
        }
        mean[i] = sum[i] * scale;
    }
}

}  // namespace

// Grid: pixels / 16, rounded up; 192 threads.
extern "C" __global__ void __launch_bounds__(THREADS, 1) ffm_in(const __grid_constant__ FfmInParams p) {
    __shared__ float joined[PIXELS][WIDTH + 1];
    __shared__ __align__(16) __half normed[PIXELS][ROW];
    int const thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    int const area = p.size[0] * p.size[1], first = blockIdx.x * PIXELS;

    uint2 weights[K_TILES][N_TILES];
#pragma unroll
    for (int k = 0; k < K_TILES; k++) {
#pragma unroll
        for (int n = 0; n < N_TILES; n++) {
            weights[k][n] = __ldg(p.weights + (k * GROUPS + warp * N_TILES + n) * 32 + lane);
        }
    }
    int const part_of_pixel = thread % 8, channel = part_of_pixel * 6;
    float norm_weight[6], norm_bias[6];
#pragma unroll
    for (int i = 0; i < 6; i++) {
        norm_weight[i] = __ldg(p.norm + channel + i);
        norm_bias[i] = __ldg(p.norm + WIDTH + channel + i);
    }
    grid_dependency_wait();
    grid_dependency_release();

    // Pixels past the map repeat its last one: their results go nowhere.
    {
        bool const is_first = thread < 128;
        int const item = is_first ? thread / 4 : (thread - 128) / 2;
        int const pixel = item / 2, group = item % 2;
        int const at = min(first + pixel, area - 1), y = at / p.size[1], x = at - y * p.size[1];
        float mean[8];
        if (is_first) {
            pool<4>(mean, p.m1, p.size1, p.size, y, x, group, thread % 4);
        } else {
            pool<2>(mean, p.m2, p.size2, p.size, y, x, group, thread % 2);
        }
        if (is_first ? thread % 4 == 0 : thread % 2 == 0) {
#pragma unroll
            for (int i = 0; i < 8; i++) joined[pixel][(is_first ? 16 : 32) + group * 8 + i] = mean[i];
        }
        if (thread >= 128 && thread % 2) {
            float one[8];
            floats_from_half8(one, p.f3[size_t(group) * area + at]);
#pragma unroll
            for (int i = 0; i < 8; i++) joined[pixel][group * 8 + i] = one[i];
        }
    }
    __syncthreads();

    if (thread < PIXELS * 8) {
        const float* of_pixel = joined[thread / 8] + channel;
        float value[6], sum = 0.f, squares = 0.f;
#pragma unroll
        for (int i = 0; i < 6; i++) sum += value[i] = of_pixel[i];
#pragma unroll
        for (int distance = 1; distance < 8; distance *= 2) sum += __shfl_xor_sync(~0u, sum, distance);
        float const mean = sum * (1.f / WIDTH);
#pragma unroll
        for (int i = 0; i < 6; i++) {
            value[i] -= mean;
            squares = fmaf(value[i], value[i], squares);
        }
#pragma unroll
        for (int distance = 1; distance < 8; distance *= 2) {
            squares += __shfl_xor_sync(~0u, squares, distance);
        }
        float const factor = rsqrtf(squares * (1.f / WIDTH) + EPS);
#pragma unroll
        for (int i = 0; i < 6; i += 2) {
            *reinterpret_cast<__half2*>(&normed[thread / 8][channel + i]) =
                __floats2half2_rn(fmaf(value[i] * factor, norm_weight[i], norm_bias[i]),
                                  fmaf(value[i + 1] * factor, norm_weight[i + 1], norm_bias[i + 1]));
        }
    }
    __syncthreads();

    float sums[N_TILES][4] = {};
#pragma unroll
    for (int k = 0; k < K_TILES; k++) {
        FragmentA const a = load_a(&normed[lane % 16][k * 16 + lane / 16 * 8]);
#pragma unroll
        for (int n = 0; n < N_TILES; n++) mma(sums[n], a, weights[k][n]);
    }
#pragma unroll
    for (int n = 0; n < N_TILES; n++) {
        int const group = warp * N_TILES + n;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int const pixel = first + lane / 4 + half * 8;
            float a = sums[n][half * 2], b = sums[n][half * 2 + 1];
            if (group >= X_GROUPS) a = silu(a), b = silu(b);
            if (pixel < area) {
                *reinterpret_cast<__half2*>(p.out + (size_t(group) * area + pixel) * 8 + lane % 4 * 2) =
                    __floats2half2_rn(a, b);
            }
        }
    }
}
