// FFM's kernel before the scan: from the encoder's features and the pooled skips to what SS2D's scan reads.
//
//   v = concat(f3, pool(m1), pool(m2)),  [x | z] = W_in layer_norm(v),  gate = silu(z)
//   u = silu(dw3x3(x) + bias),  projected[k] = W_k u: dt, B and C of direction k
//
//   parts: f3 and the pooled skips (kernels/ffm_pool.cu)   [2, h, w, 8] each                      f16
//   norm [2][48] weight and bias, taps [24][9][4], bias [96]                                      f32
//   W_in [3 k][24 n][32][4], W_k [6 k][18 n][32][4] fragments; the columns of W_k are 4 directions of
//        3 + 16 + 16, then zeros                                                                  f16
//   gate [12, h, w, 8]   u [2][96][pitch] pixels row-major, then column-major   projected [4][35][pitch]
//
// Direction k's rows of `projected` lie by pixel row-major (k even) or column-major (k odd): the order of
// its scan, the backward ones (k >= 2) from the end, so that the scan reads runs.
//
// One block takes 4x4 pixels and computes x for them and the ring of pixels around them, zero off the map,
// so x never leaves the chip. 384 threads: a pixel's norm takes 8; then each of 12 warps takes 8 channels of x and of z, each thread 4 channels of
// u of a pixel, each warp one or two groups of 8 projected rows. Sums are f32. Any sizes from 1x1. What lies
// past the area up to the pitch becomes 0, since the scan reads whole words.
#include "half8.cuh"
#include "launch.cuh"
#include "mma.cuh"
#include "silu.cuh"

namespace {

constexpr int SIDE = 4, PIXELS = SIDE * SIDE;
constexpr int WIDE = SIDE + 2, WIDE_PIXELS = WIDE * WIDE, M_TILES = (WIDE_PIXELS + 15) / 16;
constexpr int WARPS = 12, THREADS = 32 * WARPS;
constexpr int JOINED = 48, WIDTH = 96, GROUPS = WIDTH / 8, TAPS = 9;
constexpr int IN_K_TILES = JOINED / 16, K_TILES = WIDTH / 16;
constexpr int DIRECTION_ROWS = 35, ROWS = 4 * DIRECTION_ROWS, ROW_TILES = (ROWS + 7) / 8;
constexpr int JOINED_ROW = JOINED + 8, ROW = WIDTH + 8;  // halfs of a pixel in shared memory
constexpr int PROJECTED_ROW = PIXELS + 4;                // halfs of a projected row there
constexpr float EPS = 1e-5f;

struct FfmInParams {
    const Half8* parts[3];
    const float* norm;
    const uint2* in_weights;
    const float4* taps;
    const float4* bias;
    const uint2* weights;
    __half* gate;
    __half* u;
    __half* projected;
    int size[2];
    int pitch;
};

// Writes four halfs, of which the first `some` exist, to consecutive places.
__device__ __forceinline__ void store_run(__half* to, uint2 run, int some) {
    if (some == SIDE && reinterpret_cast<size_t>(to) % 8 == 0) {
        *reinterpret_cast<uint2*>(to) = run;
        return;
    }
    if (some == SIDE && reinterpret_cast<size_t>(to) % 4 == 0) {
        reinterpret_cast<unsigned*>(to)[0] = run.x;
        reinterpret_cast<unsigned*>(to)[1] = run.y;
        return;
    }
    const __half* from = reinterpret_cast<const __half*>(&run);
#pragma unroll
    for (int i = 0; i < SIDE; i++) {
        if (i < some) to[i] = from[i];
    }
}

// The row of the block's pixel `i` among those of the wide square.
__device__ __forceinline__ int wide_of(int i) { return (i / SIDE + 1) * WIDE + i % SIDE + 1; }

}  // namespace

// Grid: (width / 4, height / 4), rounded up; 384 threads.
extern "C" __global__ void __launch_bounds__(THREADS, 1) ffm_in(const __grid_constant__ FfmInParams p) {
    __shared__ float joined[WIDE_PIXELS][JOINED + 1];
    __shared__ __align__(16) __half normed[M_TILES * 16][JOINED_ROW];
    __shared__ __align__(16) __half x[WIDE_PIXELS][ROW];
    __shared__ __align__(16) __half u[PIXELS][ROW];
    __shared__ __align__(16) __half projected[ROW_TILES * 8][PROJECTED_ROW];
    int const thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    int const height = p.size[0], width = p.size[1], area = height * width;
    int const left = blockIdx.x * SIDE, top = blockIdx.y * SIDE;

    // Weights: nothing that an earlier kernel writes.
    uint2 x_weights[IN_K_TILES], z_weights[IN_K_TILES], weights[2][K_TILES];
#pragma unroll
    for (int k = 0; k < IN_K_TILES; k++) {
        x_weights[k] = __ldg(p.in_weights + (k * 2 * GROUPS + warp) * 32 + lane);
        z_weights[k] = __ldg(p.in_weights + (k * 2 * GROUPS + GROUPS + warp) * 32 + lane);
    }
#pragma unroll
    for (int n = 0; n < 2; n++) {
#pragma unroll
        for (int k = 0; k < K_TILES; k++) {
            int const tile = min(n * WARPS + warp, ROW_TILES - 1);
            weights[n][k] = __ldg(p.weights + (k * ROW_TILES + tile) * 32 + lane);
        }
    }
    int const pixel = thread % PIXELS, four = thread / PIXELS;  // of u
    float4 taps[TAPS];
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) taps[tap] = __ldg(p.taps + four * TAPS + tap);
    float4 sum = __ldg(p.bias + four);
    int const channel = thread % 8 * 6;  // of the norm
    float norm_weight[6], norm_bias[6];
#pragma unroll
    for (int i = 0; i < 6; i++) {
        norm_weight[i] = __ldg(p.norm + channel + i);
        norm_bias[i] = __ldg(p.norm + JOINED + channel + i);
    }
    // Pixels off the map take its nearest one; their x is zeroed below.
    int const wide_pixel = thread % WIDE_PIXELS, group = thread / WIDE_PIXELS;
    int const near_y = min(max(top + wide_pixel / WIDE - 1, 0), height - 1);
    int const near_x = min(max(left + wide_pixel % WIDE - 1, 0), width - 1);
    grid_dependency_wait();
    grid_dependency_release();

    static_assert(WIDE_PIXELS * JOINED / 8 <= THREADS, "a thread for each pixel and group of 8 channels");
    if (group < JOINED / 8) {
        Half8 const eight = p.parts[group / 2][size_t(group % 2) * area + near_y * width + near_x];
        float value[8];
        floats_from_half8(value, eight);
#pragma unroll
        for (int i = 0; i < 8; i++) joined[wide_pixel][group * 8 + i] = value[i];
    }
    __syncthreads();

    if (thread < WIDE_PIXELS * 8) {
        const float* of_pixel = joined[thread / 8] + channel;
        float value[6], total = 0.f, squares = 0.f;
#pragma unroll
        for (int i = 0; i < 6; i++) total += value[i] = of_pixel[i];
#pragma unroll
        for (int distance = 1; distance < 8; distance *= 2) total += __shfl_xor_sync(~0u, total, distance);
        float const mean = total * (1.f / JOINED);
#pragma unroll
        for (int i = 0; i < 6; i++) {
            value[i] -= mean;
            squares = fmaf(value[i], value[i], squares);
        }
#pragma unroll
        for (int distance = 1; distance < 8; distance *= 2) {
            squares += __shfl_xor_sync(~0u, squares, distance);
        }
        float const factor = rsqrtf(squares * (1.f / JOINED) + EPS);
#pragma unroll
        for (int i = 0; i < 6; i += 2) {
            *reinterpret_cast<__half2*>(&normed[thread / 8][channel + i]) =
                __floats2half2_rn(fmaf(value[i] * factor, norm_weight[i], norm_bias[i]),
                                  fmaf(value[i + 1] * factor, norm_weight[i + 1], norm_bias[i + 1]));
        }
    }
    __syncthreads();

    {
        float z_sums[4] = {};
#pragma unroll
        for (int k = 0; k < IN_K_TILES; k++) {
            mma(z_sums, load_a(&normed[wide_of(lane % 16)][k * 16 + lane / 16 * 8]), z_weights[k]);
        }
#pragma unroll
        for (int tile = 0; tile < M_TILES; tile++) {
            float x_sums[4] = {};
#pragma unroll
            for (int k = 0; k < IN_K_TILES; k++) {
                // Rows past the wide square hold anything, and so do their sums, which nobody reads.
                mma(x_sums, load_a(&normed[tile * 16 + lane % 16][k * 16 + lane / 16 * 8]), x_weights[k]);
            }
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int const wide = tile * 16 + lane / 4 + half * 8;
                int const y = top + wide / WIDE - 1, column = left + wide % WIDE - 1;
                bool const is_inside = y >= 0 && y < height && column >= 0 && column < width;
                if (wide < WIDE_PIXELS) {
                    *reinterpret_cast<__half2*>(&x[wide][warp * 8 + lane % 4 * 2]) =
                        is_inside ? __floats2half2_rn(x_sums[half * 2], x_sums[half * 2 + 1])
                                  : __floats2half2_rn(0.f, 0.f);
                }
            }
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int const of = lane / 4 + half * 8, y = top + of / SIDE, column = left + of % SIDE;
            if (y < height && column < width) {
                __half* const to = p.gate + (size_t(warp) * area + y * width + column) * 8;
                *reinterpret_cast<__half2*>(to + lane % 4 * 2) =
                    __floats2half2_rn(silu(z_sums[half * 2]), silu(z_sums[half * 2 + 1]));
            }
        }
    }
    __syncthreads();

#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) {
        int const wide = wide_of(pixel) + (tap / 3 - 1) * WIDE + tap % 3 - 1;
        uint2 const bits = *reinterpret_cast<const uint2*>(&x[wide][four * 4]);
        float2 const a = __half22float2(*reinterpret_cast<const __half2*>(&bits.x));
        float2 const b = __half22float2(*reinterpret_cast<const __half2*>(&bits.y));
        sum.x = fmaf(taps[tap].x, a.x, sum.x);
        sum.y = fmaf(taps[tap].y, a.y, sum.y);
        sum.z = fmaf(taps[tap].z, b.x, sum.z);
        sum.w = fmaf(taps[tap].w, b.y, sum.w);
    }
    {
        __half2* const to = reinterpret_cast<__half2*>(&u[pixel][four * 4]);
        to[0] = __floats2half2_rn(silu(sum.x), silu(sum.y));
        to[1] = __floats2half2_rn(silu(sum.z), silu(sum.w));
    }
    __syncthreads();

    // A run is a row or a column of the block's pixels, of one channel.
    for (int run = thread; run < 2 * WIDTH * SIDE; run += THREADS) {
        bool const by_columns = run >= WIDTH * SIDE;
        int const of = run / SIDE % WIDTH, line = run % SIDE;
        int const along = by_columns ? height : width, across = by_columns ? width : height;
        int const start = by_columns ? top : left, at = (by_columns ? left : top) + line;
        if (at < across) {
            __align__(8) __half values[SIDE];
#pragma unroll
            for (int i = 0; i < SIDE; i++) values[i] = u[by_columns ? i * SIDE + line : line * SIDE + i][of];
            store_run(p.u + size_t(run / SIDE) * p.pitch + at * along + start,
                      *reinterpret_cast<const uint2*>(values), min(along - start, SIDE));
        }
    }
    float sums[2][4] = {};
#pragma unroll
    for (int k = 0; k < K_TILES; k++) {
        FragmentA const a = load_a(&u[lane % 16][k * 16 + lane / 16 * 8]);
        mma(sums[0], a, weights[0][k]);
        if (warp + WARPS < ROW_TILES) mma(sums[1], a, weights[1][k]);
    }
#pragma unroll
    for (int n = 0; n < 2; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int const of = lane / 4 + i / 2 * 8;
            int const row = (n * WARPS + warp) * 8 + lane % 4 * 2 + i % 2;
            bool const by_columns = row / DIRECTION_ROWS % 2;
            int const place = by_columns ? of % SIDE * SIDE + of / SIDE : of;
            if (row < ROWS) projected[row][place] = __float2half_rn(sums[n][i]);
        }
    }
    __syncthreads();

    // The rows' ends, an element a thread of all blocks.
    int const blocks = gridDim.x * gridDim.y, spare = p.pitch - area;
    int const block = blockIdx.y * gridDim.x + blockIdx.x, ends = (2 * WIDTH + ROWS) * spare;
    for (int i = block * THREADS + thread; i < ends; i += blocks * THREADS) {
        int const row = i / spare;
        __half* const to = row < 2 * WIDTH ? p.u + size_t(row) * p.pitch
                                           : p.projected + size_t(row - 2 * WIDTH) * p.pitch;
        to[area + i % spare] = __ushort_as_half(0);
    }
    for (int run = thread; run < ROWS * SIDE; run += THREADS) {
        int const row = run / SIDE, line = run % SIDE;
        bool const by_columns = row / DIRECTION_ROWS % 2;
        int const along = by_columns ? height : width, across = by_columns ? width : height;
        int const start = by_columns ? top : left, at = (by_columns ? left : top) + line;
        if (at < across) {
            store_run(p.projected + size_t(row) * p.pitch + at * along + start,
                      *reinterpret_cast<const uint2*>(&projected[row][line * SIDE]),
                      min(along - start, SIDE));
        }
    }
}
