// SS2D before its scan; IS_NORMED: with the layer norm that FFM has before it.
//
//   v = concat(parts),  [x | z] = W_in layer_norm(v) or W_in v,  gate = silu(z)
//   u = silu(dw3x3(x) + bias),  projected[k] = W_k u: dt, B and C of direction k
//
//   parts: f3 and the pooled skips (kernels/ffm_pool.cu) in FFM   [2, h, w, 8] each               f16
//   norm [2][48] weight and bias, taps [24][9][4], bias [96]                                      f32
//   W_in [3 k][24 n][32][4] fragments of B; W_k [12 m][6 k][32][8] fragments of A, whose rows are 4
//        directions of 3 + 16 + 16, then zeros up to 48                                           f16
//   gate [12, h, w, 8]   u [2][96][pitch] pixels row-major, then column-major   projected [4][35][pitch]
//
// Direction k's rows of `projected` lie by pixel row-major (k even) or column-major (k odd): the order of
// its scan, the backward ones (k >= 2) from the end, so that the scan reads runs.
//
// One block takes 4x4 pixels and computes x for them and the ring of pixels around them, zero off the map,
// so x never leaves the chip. 384 threads: a pixel's norm takes 8; then each of 12 warps takes 8 channels of x
// and of z, each thread 4 channels of u of a pixel, each warp 16 projected rows, whose products have pixels as
// columns, in the direction's order, so that their sums go to memory as they lie. Sums are f32. Any sizes from
// 1x1. What lies past the area up to the pitch becomes 0, since the scan reads whole words.
#pragma once

#include "half8.cuh"
#include "launch.cuh"
#include "mma.cuh"
#include "silu.cuh"

namespace into_scan {

constexpr int SIDE = 4, PIXELS = SIDE * SIDE;
constexpr int WIDE = SIDE + 2, WIDE_PIXELS = WIDE * WIDE, M_TILES = (WIDE_PIXELS + 15) / 16;
constexpr int WARPS = 12, THREADS = 32 * WARPS;
constexpr int JOINED = 48, WIDTH = 96, GROUPS = WIDTH / 8, TAPS = 9;
constexpr int IN_K_TILES = JOINED / 16, K_TILES = WIDTH / 16;
constexpr int DIRECTION_ROWS = 35, ROWS = 4 * DIRECTION_ROWS, WARPS_OF_DIRECTION = WARPS / 4;
static_assert(WARPS_OF_DIRECTION * 16 >= DIRECTION_ROWS, "a warp for each 16 rows");
constexpr int JOINED_ROW = JOINED + 8, ROW = WIDTH + 8;  // halfs of a pixel in shared memory
constexpr float EPS = 1e-5f;

struct Params {
    const Half8* parts[3];
    const float* norm;
    const uint2* in_weights;
    const float4* taps;
    const float4* bias;
    const uint4* weights;
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

// As `store_run`, of two.
__device__ __forceinline__ void store_pair(__half* to, __half2 pair, int some) {
    if (some >= 2 && reinterpret_cast<size_t>(to) % 4 == 0) {
        *reinterpret_cast<__half2*>(to) = pair;
        return;
    }
    if (some >= 1) to[0] = __low2half(pair);
    if (some >= 2) to[1] = __high2half(pair);
}

// Of four lanes that differ in the bits LOW and HIGH of their number, each with four channels of a pixel: the
// four pixels of one channel, that of the lane's place among them.
template <int LOW, int HIGH>
__device__ __forceinline__ uint2 turned(uint2 pixel) {
    bool const is_upper = threadIdx.x & HIGH, is_odd = threadIdx.x & LOW;
    // The lower two lanes keep the first two channels and get those of the pixel two on, the upper two the last
    // two and those of the pixel two before.
    unsigned const pair = __shfl_xor_sync(~0u, is_upper ? pixel.x : pixel.y, HIGH);
    unsigned const a = is_upper ? pair : pixel.x, b = is_upper ? pixel.y : pair;
    unsigned const low = __byte_perm(a, b, 0x5410), high = __byte_perm(a, b, 0x7632);
    unsigned const own = is_odd ? high : low, other = __shfl_xor_sync(~0u, is_odd ? low : high, LOW);
    unsigned const even = is_odd ? other : own, odd = is_odd ? own : other;
    return make_uint2(__byte_perm(even, odd, 0x5410), __byte_perm(even, odd, 0x7632));
}

// The row of the block's pixel `i` among those of the wide square.
__device__ __forceinline__ int wide_of(int i) { return (i / SIDE + 1) * WIDE + i % SIDE + 1; }

// Grid: (width / 4, height / 4), rounded up; 384 threads.
template <bool IS_NORMED>
__device__ __forceinline__ void into_scan(const Params& p) {
    __shared__ __align__(16) __half normed[M_TILES * 16][JOINED_ROW];
    __shared__ __align__(16) __half x[WIDE_PIXELS][ROW];
    __shared__ __align__(16) __half u[PIXELS][ROW];
    __shared__ __align__(16) float4 all_taps[WIDTH / 4 * TAPS];
    int const thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    int const height = p.size[0], width = p.size[1], area = height * width;
    int const left = blockIdx.x * SIDE, top = blockIdx.y * SIDE;

    // Weights: nothing that an earlier kernel writes. Plain loads: those of constants would be put off until
    // after the wait.
    uint2 x_weights[IN_K_TILES], z_weights[IN_K_TILES];
    uint4 weights[K_TILES];
#pragma unroll
    for (int k = 0; k < IN_K_TILES; k++) {
        x_weights[k] = p.in_weights[(k * 2 * GROUPS + warp) * 32 + lane];
        z_weights[k] = p.in_weights[(k * 2 * GROUPS + GROUPS + warp) * 32 + lane];
    }
#pragma unroll
    for (int k = 0; k < K_TILES; k++) weights[k] = p.weights[(warp * K_TILES + k) * 32 + lane];
    int const pixel = thread % PIXELS, four = thread / PIXELS;  // of u
    copy_async_block(all_taps, p.taps, sizeof(all_taps));
    copy_async_commit();
    float4 sum = p.bias[four];
    // Of the norm: a pixel of the wide square and 8 of its channels; two lanes in eight have none. Pixels off the
    // map take its nearest one, and their x is zeroed below.
    int const wide_pixel = thread / 8, group = thread % 8;
    bool const has_part = wide_pixel < WIDE_PIXELS && group < JOINED / 8;
    float norm_weight[8], norm_bias[8];
    if constexpr (IS_NORMED) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int const four_of = has_part ? group * 2 + i : 0;
            float4 const weight = reinterpret_cast<const float4*>(p.norm)[four_of];
            float4 const bias = reinterpret_cast<const float4*>(p.norm)[JOINED / 4 + four_of];
            norm_weight[4 * i] = weight.x, norm_weight[4 * i + 1] = weight.y;
            norm_weight[4 * i + 2] = weight.z, norm_weight[4 * i + 3] = weight.w;
            norm_bias[4 * i] = bias.x, norm_bias[4 * i + 1] = bias.y;
            norm_bias[4 * i + 2] = bias.z, norm_bias[4 * i + 3] = bias.w;
        }
    }
    int const near_y = min(max(top + wide_pixel / WIDE - 1, 0), height - 1);
    int const near_x = min(max(left + wide_pixel % WIDE - 1, 0), width - 1);
    grid_dependency_wait();
    grid_dependency_release();

    static_assert(WIDE_PIXELS * 8 <= THREADS, "eight threads for each pixel");
    if (wide_pixel < WIDE_PIXELS) {
        Half8 eight = half8_zero();
        if (has_part) eight = p.parts[group / 2][size_t(group % 2) * area + near_y * width + near_x];
        if constexpr (IS_NORMED) {
            float value[8], total = 0.f, squares = 0.f;
            floats_from_half8(value, eight);
#pragma unroll
            for (int i = 0; i < 8; i++) total += value[i];
#pragma unroll
            for (int distance = 1; distance < 8; distance *= 2) total += __shfl_xor_sync(~0u, total, distance);
            float const mean = total * (1.f / JOINED);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                value[i] = has_part ? value[i] - mean : 0.f;
                squares = fmaf(value[i], value[i], squares);
            }
#pragma unroll
            for (int distance = 1; distance < 8; distance *= 2) {
                squares += __shfl_xor_sync(~0u, squares, distance);
            }
            float const factor = rsqrtf(squares * (1.f / JOINED) + EPS);
#pragma unroll
            for (int i = 0; i < 8; i++) value[i] = fmaf(value[i] * factor, norm_weight[i], norm_bias[i]);
            if (has_part) {
                *reinterpret_cast<Half8*>(&normed[wide_pixel][group * 8]) = half8_from_floats(value);
            }
        } else if (has_part) {
            *reinterpret_cast<Half8*>(&normed[wide_pixel][group * 8]) = eight;
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
    copy_async_wait<0>();
    __syncthreads();

    const float4* const taps = all_taps + four * TAPS;
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
    __half2 const first = __floats2half2_rn(silu(sum.x), silu(sum.y));
    __half2 const second = __floats2half2_rn(silu(sum.z), silu(sum.w));
    uint2 const own = make_uint2(*reinterpret_cast<const unsigned*>(&first),
                                 *reinterpret_cast<const unsigned*>(&second));
    *reinterpret_cast<uint2*>(&u[pixel][four * 4]) = own;
    __syncthreads();

    {
        // A run of the block's row, and one of its column, of a channel each.
        int const row = pixel / SIDE, column = pixel % SIDE;
        uint2 const by_rows = turned<1, 2>(own), by_columns = turned<4, 8>(own);
        if (top + row < height) {
            store_run(p.u + size_t(four * 4 + column) * p.pitch + (top + row) * width + left, by_rows,
                      min(width - left, SIDE));
        }
        if (left + column < width) {
            store_run(p.u + size_t(WIDTH + four * 4 + row) * p.pitch + (left + column) * height + top, by_columns,
                      min(height - top, SIDE));
        }
    }
    int const direction = warp / WARPS_OF_DIRECTION;
    bool const by_columns = direction % 2;
    float sums[2][4] = {};
    {
        int const of = lane / 16 * 8 + lane % 8;
        const __half* const from = &u[by_columns ? of % SIDE * SIDE + of / SIDE : of][lane / 8 % 2 * 8];
#pragma unroll
        for (int k = 0; k < K_TILES; k++) {
            // As an operand A is loaded: here two B, of 8 pixels each.
            FragmentA const b = load_a(from + k * 16);
            FragmentA const a = {{weights[k].x, weights[k].y, weights[k].z, weights[k].w}};
            mma(sums[0], a, make_uint2(b.r[0], b.r[1]));
            mma(sums[1], a, make_uint2(b.r[2], b.r[3]));
        }
    }
    {
        int const along = by_columns ? height : width, across = by_columns ? width : height;
        int const start = (by_columns ? top : left) + lane % 2 * 2;
#pragma unroll
        for (int n = 0; n < 2; n++) {
            int const at = (by_columns ? left : top) + n * 2 + lane % 4 / 2;
#pragma unroll
            for (int i = 0; i < 2; i++) {
                int const row = warp % WARPS_OF_DIRECTION * 16 + lane / 4 + 8 * i;
                if (row >= DIRECTION_ROWS || at >= across) continue;
                store_pair(p.projected + size_t(direction * DIRECTION_ROWS + row) * p.pitch + at * along + start,
                           __floats2half2_rn(sums[n][2 * i], sums[n][2 * i + 1]), along - start);
            }
        }
    }

    // The rows' ends, an element a thread of all blocks.
    int const blocks = gridDim.x * gridDim.y, spare = p.pitch - area;
    int const block = blockIdx.y * gridDim.x + blockIdx.x, ends = (2 * WIDTH + ROWS) * spare;
    for (int i = block * THREADS + thread; i < ends; i += blocks * THREADS) {
        int const row = i / spare;
        __half* const to = row < 2 * WIDTH ? p.u + size_t(row) * p.pitch
                                           : p.projected + size_t(row - 2 * WIDTH) * p.pitch;
        to[area + i % spare] = __ushort_as_half(0);
    }
}

}  // namespace into_scan
