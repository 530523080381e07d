// SS2D after its scan; IS_WHOLE: with what FFM has after it, instead of SS2D's own last product.
//
//   s = layer_norm(y_0 + y_2 + y_1 + y_3) * gate
//   out = f3 + m3 + W2 gelu(W1 s + b1) + b2,  gelu(x) = x (1 + erf(x / sqrt 2)) / 2,  or W1 s
//
// W1 is fc1 out_proj and W2, b2 are proj fc2: nothing lies between them, so the host multiplies them.
//
//   y     [4][96][pitch] pixels row-major (y_0, y_2) or column-major; gate [12, h, w, 8] = silu(z)  f16
//   norm  [2][96] weight and bias; b1 [192]; b2 [16]                                              f32
//   W1    [6 k][24 n][32][4], W2 [12 k][2 n][32][4] fragments; SS2D's W1 [6 k][6 n][32][4]        f16
//   f3    [2, h, w, 8], channel c of it lies at f3_places[c]; m3, out [2, h, w, 8]                f16
//         SS2D's out [6, h, w, 8]; it has nothing else of this
//
// One block takes 4x4 pixels; 12 warps take 16 of the 192 middle channels each, whose sums are
// at once their operand of W2, and the 12 partial sums of each output are added in order; or 6 of them take 8 of
// SS2D's channels each. Sums are f32.
#pragma once

#include "half8.cuh"
#include "launch.cuh"
#include "mma.cuh"

namespace out_of_scan {

constexpr int SIDE = 4, PIXELS = SIDE * SIDE, WARPS = 12, THREADS = 32 * WARPS;
constexpr int WIDTH = 96, MIDDLE = 192, OUT = 16;
constexpr int K_TILES = WIDTH / 16, MIDDLE_TILES = MIDDLE / 8, ALONE_TILES = 6;
constexpr int SUM_ROW = WIDTH + 4;  // floats of a pixel in shared memory
constexpr int ROW = WIDTH + 8;      // halfs of a pixel there
constexpr float EPS = 1e-5f;

struct Params {
    const __half* y;
    const __half* gate;
    const float* norm;
    const uint2* weights1;
    const float* bias1;
    const uint2* weights2;
    const float* bias2;
    const __half* f3;
    const __half* m3;
    __half* out;
    int height, width, pitch;
    int f3_places[OUT];
};

// x (1 + erf(x / sqrt 2)) / 2, with Abramowitz and Stegun's 7.1.26 for erf: off by at most 1.5e-7.
__device__ __forceinline__ float gelu(float x) {
    float const z = fabsf(x) * 0.70710678f, t = __fdividef(1.f, fmaf(0.3275911f, z, 1.f));
    float series = fmaf(t, 0.5f * 1.061405429f, 0.5f * -1.453152027f);
    series = fmaf(t, series, 0.5f * 1.421413741f);
    series = fmaf(t, series, 0.5f * -0.284496736f);
    series = fmaf(t, series, 0.5f * 0.254829592f);
    float const outside = t * series * __expf(-z * z);
    return x * (x < 0.f ? outside : 1.f - outside);
}

// Four halfs, the lowest bits first.
using Run = unsigned long long;

// `*at` where it `is_needed`, and then at once: a plain load may be put off into the branch that needs it.
__device__ __forceinline__ Run run_where(bool is_needed, const Run* at) {
    Run run;
    asm volatile("{\n.reg .pred needed;\nsetp.ne.u32 needed, %2, 0;\nmov.b64 %0, 0;\n@needed ld.global.b64 %0, [%1];\n}"
                 : "=l"(run)
                 : "l"(at), "r"(unsigned(is_needed)));
    return run;
}

__device__ __forceinline__ void add_run(float (&sum)[SIDE], Run run) {
#pragma unroll
    for (int i = 0; i < SIDE; i++) {
        sum[i] += __half2float(__ushort_as_half(static_cast<unsigned short>(run >> 16 * i)));
    }
}

__device__ __forceinline__ unsigned halfs(float a, float b) {
    __half2 two = __floats2half2_rn(a, b);
    return *reinterpret_cast<unsigned*>(&two);
}

// Grid: (width / 4, height / 4), rounded up; 384 threads.
template <bool IS_WHOLE>
__device__ __forceinline__ void out_of_scan(const Params& p) {
    __shared__ __align__(16) float merged[PIXELS][SUM_ROW];
    __shared__ __align__(16) __half gated[PIXELS][ROW];
    __shared__ __align__(16) float norm[2 * WIDTH];
    __shared__ float partial[WARPS][PIXELS][OUT + 1];
    int const thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    int const left = blockIdx.x * SIDE, top = blockIdx.y * SIDE, area = p.height * p.width;
    // The place of a pixel of the block; pixels off the map take the last row or column, and go nowhere.
    auto place_of = [&](int pixel) {
        int const y = min(top + pixel / SIDE, p.height - 1), x = min(left + pixel % SIDE, p.width - 1);
        return y * p.width + x;
    };

    // Weights: nothing that an earlier kernel writes. Plain loads: those of constants would be put off until
    // after the wait.
    uint2 weights1[K_TILES][2], weights2[2];
    float2 bias1[2];
    if constexpr (IS_WHOLE) {
#pragma unroll
        for (int n = 0; n < 2; n++) {
#pragma unroll
            for (int k = 0; k < K_TILES; k++) {
                weights1[k][n] = p.weights1[(k * MIDDLE_TILES + warp * 2 + n) * 32 + lane];
            }
            weights2[n] = p.weights2[(warp * 2 + n) * 32 + lane];
        }
#pragma unroll
        for (int n = 0; n < 2; n++) {
            bias1[n] = *reinterpret_cast<const float2*>(p.bias1 + (warp * 2 + n) * 8 + lane % 4 * 2);
        }
    } else if (warp < ALONE_TILES) {
#pragma unroll
        for (int k = 0; k < K_TILES; k++) weights1[k][0] = p.weights1[(k * ALONE_TILES + warp) * 32 + lane];
    }
    // A pixel's norm by 16 threads, channels 2 j + 32 i and the next of each.
    int const of_pixel = thread / 16, j = thread % 16;
    copy_async_block(norm, p.norm, sizeof(norm));
    copy_async_commit();
    int const out_group = thread / 128, out_pixel = thread % 128 / 8, out_channel = out_group * 8 + thread % 8;
    bool const has_output = IS_WHOLE && thread < PIXELS * OUT && top + out_pixel / SIDE < p.height &&
                            left + out_pixel % SIDE < p.width;
    int const out_place = place_of(out_pixel);
    float const bias2 = has_output ? p.bias2[out_channel] : 0.f;
    grid_dependency_wait();
    grid_dependency_release();

    // A thread takes a row of the block's pixels of one channel, and a column.
    int const channel = thread / SIDE, line = thread % SIDE;
    // All loads first: each takes longer than what is done with it. Rows and columns off the map are the last
    // ones; a run that lies in two words comes from both, and what lies past the map's end is anything.
    int const starts[2] = {min(top + line, p.height - 1) * p.width + left,
                           min(left + line, p.width - 1) * p.height + top};
    Run low[4], high[4];
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const Run* const row = reinterpret_cast<const Run*>(p.y + (size_t(k) * WIDTH + channel) * p.pitch);
        low[k] = run_where(true, row + starts[k % 2] / SIDE);
        high[k] = run_where(starts[k % 2] % SIDE != 0, row + min(starts[k % 2] / SIDE + 1, (area - 1) / SIDE));
    }
    __half2 gate[3];
    if (thread < PIXELS * 16) {
        int const place = place_of(of_pixel);
#pragma unroll
        for (int i = 0; i < 3; i++) {
            int const first = 2 * j + 32 * i;
            gate[i] = *reinterpret_cast<const __half2*>(p.gate + (size_t(first / 8) * area + place) * 8 + first % 8);
        }
    }
    __half skips[2];
    if (has_output) {
        int const f3_place = p.f3_places[out_channel];
        skips[0] = p.f3[(size_t(f3_place / 8) * area + out_place) * 8 + f3_place % 8];
        skips[1] = p.m3[(size_t(out_group) * area + out_place) * 8 + thread % 8];
    }
    float by_rows[SIDE] = {}, by_columns[SIDE] = {};
#pragma unroll
    for (int k = 0; k < 4; k++) {
        int const shift = starts[k % 2] % SIDE * 16;
        add_run(k % 2 ? by_columns : by_rows, low[k] >> shift | (high[k] << 1) << (63 - shift));
    }
#pragma unroll
    for (int i = 0; i < SIDE; i++) merged[line * SIDE + i][channel] = by_rows[i];
    copy_async_wait<0>();
    __syncthreads();
#pragma unroll
    for (int i = 0; i < SIDE; i++) merged[i * SIDE + line][channel] += by_columns[i];
    __syncthreads();

    if (thread < PIXELS * 16) {
        float2 value[3];
        float sum = 0.f, squares = 0.f;
#pragma unroll
        for (int i = 0; i < 3; i++) {
            value[i] = *reinterpret_cast<const float2*>(&merged[of_pixel][2 * j + 32 * i]);
            sum += value[i].x + value[i].y;
        }
#pragma unroll
        for (int distance = 1; distance < 16; distance *= 2) sum += __shfl_xor_sync(~0u, sum, distance);
        float const mean = sum * (1.f / WIDTH);
#pragma unroll
        for (int i = 0; i < 3; i++) {
            value[i].x -= mean;
            value[i].y -= mean;
            squares = fmaf(value[i].x, value[i].x, fmaf(value[i].y, value[i].y, squares));
        }
#pragma unroll
        for (int distance = 1; distance < 16; distance *= 2) {
            squares += __shfl_xor_sync(~0u, squares, distance);
        }
        float const factor = rsqrtf(squares * (1.f / WIDTH) + EPS);
#pragma unroll
        for (int i = 0; i < 3; i++) {
            int const first = 2 * j + 32 * i;
            float2 const by = __half22float2(gate[i]), weight = *reinterpret_cast<const float2*>(norm + first),
                         bias = *reinterpret_cast<const float2*>(norm + WIDTH + first);
            *reinterpret_cast<__half2*>(&gated[of_pixel][first]) =
                __floats2half2_rn(fmaf(value[i].x * factor, weight.x, bias.x) * by.x,
                                  fmaf(value[i].y * factor, weight.y, bias.y) * by.y);
        }
    }
    __syncthreads();

    if constexpr (!IS_WHOLE) {
        if (warp >= ALONE_TILES) return;
        // Two sums under way together.
        float sums[2][4] = {};
#pragma unroll
        for (int k = 0; k < K_TILES; k++) {
            mma(sums[k % 2], load_a(&gated[lane % 16][k * 16 + lane / 16 * 8]), weights1[k][0]);
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int const of = lane / 4 + half * 8;
            if (top + of / SIDE >= p.height || left + of % SIDE >= p.width) continue;
            __half* const to = p.out + (size_t(warp) * area + place_of(of)) * 8 + lane % 4 * 2;
            *reinterpret_cast<__half2*>(to) = __floats2half2_rn(sums[0][half * 2] + sums[1][half * 2],
                                                                sums[0][half * 2 + 1] + sums[1][half * 2 + 1]);
        }
    } else {
        float middle[2][4];
#pragma unroll
        for (int n = 0; n < 2; n++) {
            middle[n][0] = middle[n][2] = bias1[n].x;
            middle[n][1] = middle[n][3] = bias1[n].y;
        }
#pragma unroll
        for (int k = 0; k < K_TILES; k++) {
            FragmentA const a = load_a(&gated[lane % 16][k * 16 + lane / 16 * 8]);
            mma(middle[0], a, weights1[k][0]);
            mma(middle[1], a, weights1[k][1]);
        }
        // Two groups of sums lie in the lanes as one operand of 16 channels does.
        FragmentA a;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float* two = middle[i / 2] + i % 2 * 2;
            a.r[i] = halfs(gelu(two[0]), gelu(two[1]));
        }
#pragma unroll
        for (int n = 0; n < 2; n++) {
            float sums[4] = {};
            mma(sums, a, weights2[n]);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                partial[warp][lane / 4 + i / 2 * 8][n * 8 + lane % 4 * 2 + i % 2] = sums[i];
            }
        }
        __syncthreads();

        if (has_output) {
            float sum = bias2;
#pragma unroll
            for (int w = 0; w < WARPS; w++) sum += partial[w][out_pixel][out_channel];
            sum += __half2float(skips[0]) + __half2float(skips[1]);
            p.out[(size_t(out_group) * area + out_place) * 8 + thread % 8] = __float2half_rn(sum);
        }
    }
}

}  // namespace out_of_scan
