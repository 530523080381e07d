// MSAU in two passes, for a skip x of 16 channels and t, its first 1x1 convolution (line.cu makes both).
//
//   X1 = dw7x7(t)                                    three depthwise filters joined into one
//   g  = sigmoid(conv1x7(column means of X1))        X2 = E (X1 * g) + e
//   f  = MLP(mean(conv3x3(x))) + MLP'(max(conv3x3'(x)))
//   y  = x + X2 * f
//
// The mean of conv3x3(x) is a product with nine shifted means of x, and those follow from x's sums over
// the map, its first and last row and column, and its four corners.
//
//   x   [2, h, w, 8] f16        t, x1  [1, h, w, 8] f16        y  [2, h, w, 8] f16
//   column_sums  f32 [tiles down, w, 8]: sums of X1 over a tile's rows
//   parts        f32 [tiles, 96]: of x (16 channels each) the sum, those of the map's first row, last
//                row, first column, last column, where the tile has them; the maxima of conv3x3'(x)
//   weights      B fragments of conv3x3', K = 144 (tap, channel), 16 columns
//   constants    f32, in the order of `Constants`
// Sums are f32, in a fixed order. Limits: sizes of at most 2^15.
#include <math_constants.h>

#include "conv3x3.cuh"

struct MsauParams {
    const __half* map;
    const __half* reduced;
    __half* x1;
    __half* out;
    float* column_sums;
    float* parts;
    const __half* weights;
    const float* constants;
    int height, width;
    int tiles_x, tiles_y;
};

struct Constants {
    float max_bias[16];
    float taps[49 * 8];      // [column][row][channel]
    float gate[56 * 8];      // [in channel][column][out channel]
    float gate_bias[8];
    float expand[8 * 16];    // [in channel][out channel]
    float expand_bias[16];
    float mean[16 * 144];    // [out channel][in channel][tap]
    float mean_bias[16];
    float hidden[2][8 * 16]; // of the mean's MLP, then of the maximum's: [hidden][in channel]
    float hidden_bias[2][8];
    float outer[2][16 * 8];  // [out channel][hidden]
    float outer_bias[2][16];
};

using Max = Conv3x3<16, 16, 1, 8, 32, 2, 2>;
constexpr int ROWS = Max::ROWS, COLUMNS = Max::COLUMNS, THREADS = Max::THREADS, PARTS = 96;
constexpr int REACH = 3, T_H = ROWS + 2 * REACH, T_W = COLUMNS + 2 * REACH;

__device__ __forceinline__ float max_nan(float a, float b) {
    float max;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(max) : "f"(a), "f"(b));
    return max;
}

__device__ __forceinline__ float2 warp_sum(float2 value) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        value.x += __shfl_xor_sync(~0u, value.x, step);
        value.y += __shfl_xor_sync(~0u, value.y, step);
    }
    return value;
}

// X1, and each block's part of the sums and maxima. A block owns 8 x 32 pixels. The first eight warps do
// the maxima, as Conv3x3 says, and the sums, warp w of channels 2 w and 2 w + 1, lane l of column l;
// meanwhile the last eight do the depthwise convolution, a thread two channels of four pixels in a column.
extern "C" __global__ void __launch_bounds__(2 * THREADS) msau_measure(__grid_constant__ const MsauParams p) {
    __shared__ __align__(16) __half weights[Max::WEIGHTS];
    __shared__ __align__(16) __half patch[Max::PATCH_HALFS];
    __shared__ __align__(16) __half2 t[T_H * T_W * 4];
    __shared__ __align__(16) float taps[49 * 8];
    __shared__ float2 sums_of_rows[2][COLUMNS * 4];
    __shared__ float maxima[Max::WARPS][16];
    const Constants& constants = *reinterpret_cast<const Constants*>(p.constants);
    copy_async_block(weights, p.weights, sizeof(weights));
    copy_async_block(taps, constants.taps, sizeof(taps));
    int top = blockIdx.y * ROWS, left = blockIdx.x * COLUMNS;
    float* of_tile = p.parts + static_cast<size_t>(blockIdx.y * gridDim.x + blockIdx.x) * PARTS;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;

    grid_dependency_wait();
    for (int i = threadIdx.x; i < T_H * T_W; i += 2 * THREADS) {
        int y = top - REACH + i / T_W, x = left - REACH + i % T_W;
        bool inside = static_cast<unsigned>(y) < static_cast<unsigned>(p.height) &&
                      static_cast<unsigned>(x) < static_cast<unsigned>(p.width);
        size_t pixel = inside ? static_cast<size_t>(y) * p.width + x : 0;
        copy_async_16(t + i * 4, p.reduced + pixel * 8, inside);
    }
    if (warp < Max::WARPS) Max::load_patch<2>(patch, p.map, p.height, p.width, top, left, 0);
    copy_async_commit();
    grid_dependency_release();
    copy_async_wait<0>();
    __syncthreads();

    if (warp >= Max::WARPS) {
        constexpr int R = ROWS / 2;
        int thread = threadIdx.x - THREADS;
        int pair = thread % 4, column = thread / 4 % COLUMNS, half = thread / 128;
        float2 sums[R] = {};
#pragma unroll 1
        for (int dx = 0; dx < 7; dx++) {
            float2 of_column[7];
#pragma unroll
            for (int dy = 0; dy < 7; dy++) {
                of_column[dy] = *reinterpret_cast<const float2*>(taps + (dx * 7 + dy) * 8 + pair * 2);
            }
#pragma unroll
            for (int j = 0; j < R + 6; j++) {
                float2 value = __half22float2(t[((half * R + j) * T_W + column + dx) * 4 + pair]);
#pragma unroll
                for (int dy = 0; dy < 7; dy++) {
                    if (j - dy < 0 || j - dy >= R) continue;
                    sums[j - dy].x = fmaf(of_column[dy].x, value.x, sums[j - dy].x);
                    sums[j - dy].y = fmaf(of_column[dy].y, value.y, sums[j - dy].y);
                }
            }
        }
        float2 of_rows = make_float2(0.f, 0.f);
        int x = left + column;
#pragma unroll
        for (int i = 0; i < R; i++) {
            int y = top + half * R + i;
            if (y >= p.height || x >= p.width) continue;
            of_rows.x += sums[i].x;
            of_rows.y += sums[i].y;
            size_t pixel = static_cast<size_t>(y) * p.width + x;
            *reinterpret_cast<__half2*>(p.x1 + pixel * 8 + pair * 2) =
                __floats2half2_rn(sums[i].x, sums[i].y);
        }
        sums_of_rows[half][thread % 128] = of_rows;
    } else {
        auto part = Max::part();
        float products[Max::M][2][4];
        start_sums(products, constants.max_bias);
        Max::add(products, part, patch, weights, 0, 1);
        float largest[2][2] = {{-CUDART_INF_F, -CUDART_INF_F}, {-CUDART_INF_F, -CUDART_INF_F}};
#pragma unroll
        for (int i = 0; i < 2 * Max::M; i++) {
            int y = top + part.row + i / 2, x = left + part.column + lane / 4 + 8 * (i % 2);
            if (y >= p.height || x >= p.width) continue;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                float& max = largest[j / 2][j % 2];
                max = max_nan(max, products[i / 2][j / 2][2 * (i % 2) + j % 2]);
            }
        }
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float& max = largest[j / 2][j % 2];
#pragma unroll
            for (int step = 4; step < 32; step *= 2) max = max_nan(max, __shfl_xor_sync(~0u, max, step));
            if (lane < 4) maxima[warp][j / 2 * 8 + lane * 2 + j % 2] = max;
        }

        float2 nothing = make_float2(0.f, 0.f), sum = nothing, first_row = nothing, last_row = nothing;
        int x = left + lane;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            // Pixels outside of the map are zeros in the patch.
            const __half* pixel = patch + ((i + 1) * Max::W + lane + 1) * Max::PIXEL + warp * 2;
            float2 value = __half22float2(*reinterpret_cast<const __half2*>(pixel));
            sum.x += value.x;
            sum.y += value.y;
            if (top + i == 0) first_row = value;
            if (top + i == p.height - 1) last_row = value;
        }
        float2* out = reinterpret_cast<float2*>(of_tile) + warp;
        int last = min(p.width - 1 - left, COLUMNS - 1);
        float2 of_rows[3] = {warp_sum(sum), warp_sum(first_row), warp_sum(last_row)};
        if (lane == 0) {
#pragma unroll
            for (int i = 0; i < 3; i++) out[i * 8] = of_rows[i];
            out[24] = x == 0 ? sum : nothing;
        }
        if (lane == last) out[32] = x == p.width - 1 ? sum : nothing;
    }
    __syncthreads();
    if (threadIdx.x < COLUMNS * 4) {
        int x = left + threadIdx.x / 4;
        float2 upper = sums_of_rows[0][threadIdx.x], lower = sums_of_rows[1][threadIdx.x];
        if (x < p.width) {
            size_t at = (static_cast<size_t>(blockIdx.y) * p.width + x) * 8 + threadIdx.x % 4 * 2;
            *reinterpret_cast<float2*>(p.column_sums + at) = make_float2(upper.x + lower.x, upper.y + lower.y);
        }
    } else if (threadIdx.x < COLUMNS * 4 + 16) {
        int channel = threadIdx.x - COLUMNS * 4;
        float max = maxima[0][channel];
#pragma unroll
        for (int i = 1; i < Max::WARPS; i++) max = max_nan(max, maxima[i][channel]);
        of_tile[80 + channel] = max;
    }
}

// The gate, both MLPs, and y. A block owns 8 x 32 pixels, a thread one of them; every block adds up all
// parts itself.
extern "C" __global__ void __launch_bounds__(THREADS) msau_apply(__grid_constant__ const MsauParams p) {
    constexpr int QUADS = PARTS / 4, GROUPS = THREADS / QUADS, MEANS = COLUMNS + 2 * REACH;
    __shared__ __align__(16) Constants constants;
    __shared__ __align__(16) float4 of_groups[GROUPS][QUADS];
    __shared__ float of_map[PARTS];
    __shared__ float means[MEANS][8];
    __shared__ __align__(16) float gates[COLUMNS][8];
    __shared__ float features[2][16];
    __shared__ float hidden[2][8];
    __shared__ __align__(16) float expand[8 * 16];
    __shared__ __align__(16) float expand_bias[16];
    static_assert(sizeof(Constants) % 16 == 0, "copied in pieces of 16 bytes");
    copy_async_block(&constants, p.constants, sizeof(Constants));
    copy_async_commit();
    grid_dependency_wait();
    grid_dependency_release();

    int top = blockIdx.y * ROWS, left = blockIdx.x * COLUMNS, thread = threadIdx.x;
    int y = top + thread / COLUMNS, x = left + thread % COLUMNS;
    size_t area = static_cast<size_t>(p.height) * p.width, pixel = static_cast<size_t>(y) * p.width + x;
    bool inside = y < p.height && x < p.width;
    const Half8* map = reinterpret_cast<const Half8*>(p.map);
    Half8 skip[2] = {half8_zero(), half8_zero()}, local = half8_zero();
    if (inside) {
        skip[0] = map[pixel];
        skip[1] = map[area + pixel];
        local = reinterpret_cast<const Half8*>(p.x1)[pixel];
    }
    // The map's corners, of the input channel that is this thread's below: half a warp then has an output
    // channel, a lane an input channel.
    float corners[2][2];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const __half* of_channel = p.map + thread % 16 / 8 * area * 8 + thread % 8;
        size_t row = i / 2 * (p.height - 1), column = i % 2 * (p.width - 1);
        corners[i / 2][i % 2] = __half2float(of_channel[(row * p.width + column) * 8]);
    }
    // The column means that this block's gates read, two channels a thread, and the parts, four numbers a
    // thread; what most maps have of both is asked for at once.
    constexpr int TOGETHER = 16;
    bool has_column = thread < MEANS * 4;
    int column = left - REACH + thread / 4;
    bool is_column = has_column && column >= 0 && column < p.width;
    const float2* column_sums = reinterpret_cast<const float2*>(p.column_sums);
    if (is_column) column_sums += static_cast<size_t>(column) * 4 + thread % 4;
    bool has_quad = thread < QUADS * GROUPS;
    int quad = thread % QUADS, group = thread / QUADS, tiles = p.tiles_x * p.tiles_y;
    bool is_max = quad >= 20;
    float start = is_max ? -CUDART_INF_F : 0.f;
    float4 total = make_float4(start, start, start, start);
    const float4* parts = reinterpret_cast<const float4*>(p.parts) + quad;
    float2 of_columns[TOGETHER];
    float4 of_tiles[TOGETHER];
#pragma unroll
    for (int i = 0; i < TOGETHER; i++) {
        of_columns[i] = make_float2(0.f, 0.f);
        if (is_column && i < p.tiles_y) of_columns[i] = column_sums[static_cast<size_t>(i) * p.width * 4];
        int tile = group + i * GROUPS;
        of_tiles[i] = total;
        if (has_quad && tile < tiles) of_tiles[i] = parts[static_cast<size_t>(tile) * QUADS];
    }
    auto add = [&](const float4& part) {
        total.x = is_max ? max_nan(total.x, part.x) : total.x + part.x;
        total.y = is_max ? max_nan(total.y, part.y) : total.y + part.y;
        total.z = is_max ? max_nan(total.z, part.z) : total.z + part.z;
        total.w = is_max ? max_nan(total.w, part.w) : total.w + part.w;
    };
    float2 mean = make_float2(0.f, 0.f);
#pragma unroll
    for (int i = 0; i < TOGETHER; i++) {
        mean.x += of_columns[i].x;
        mean.y += of_columns[i].y;
        add(of_tiles[i]);
    }
    if (is_column) {
#pragma unroll 8
        for (int tile = TOGETHER; tile < p.tiles_y; tile++) {
            float2 of_tile = column_sums[static_cast<size_t>(tile) * p.width * 4];
            mean.x += of_tile.x;
            mean.y += of_tile.y;
        }
    }
    if (has_quad) {
#pragma unroll 8
        for (int tile = group + TOGETHER * GROUPS; tile < tiles; tile += GROUPS) {
            add(parts[static_cast<size_t>(tile) * QUADS]);
        }
        of_groups[group][quad] = total;
    }
    if (has_column) {
        means[thread / 4][thread % 4 * 2] = mean.x / p.height;
        means[thread / 4][thread % 4 * 2 + 1] = mean.y / p.height;
    }
    copy_async_wait<0>();
    __syncthreads();
    if (thread < PARTS) {
        float total = reinterpret_cast<const float*>(of_groups[0])[thread];
#pragma unroll
        for (int group = 1; group < GROUPS; group++) {
            float other = reinterpret_cast<const float*>(of_groups[group])[thread];
            total = thread >= 80 ? max_nan(total, other) : total + other;
        }
        of_map[thread] = total;
    }
    {
        int channel = thread % 8, column = thread / 8;
        float sum = constants.gate_bias[channel];
#pragma unroll
        for (int c = 0; c < 8; c++) {
#pragma unroll
            for (int dx = 0; dx < 7; dx++) {
                sum = fmaf(constants.gate[(c * 7 + dx) * 8 + channel], means[column + dx][c], sum);
            }
        }
        gates[column][channel] = sigmoid(sum);
    }
    __syncthreads();
    {
        int out = thread / 16, c = thread % 16;
        float sum = 0.f;
#pragma unroll
        for (int dy = 0; dy < 3; dy++) {
#pragma unroll
            for (int dx = 0; dx < 3; dx++) {
                // A tap above the middle never sees the last row, one below it never the first.
                float seen = of_map[c];
                if (dy != 1) seen -= of_map[(dy == 0 ? 32 : 16) + c];
                if (dx != 1) seen -= of_map[(dx == 0 ? 64 : 48) + c];
                if (dy != 1 && dx != 1) seen += corners[dy == 0][dx == 0];
                sum = fmaf(constants.mean[out * 144 + c * 9 + dy * 3 + dx], seen, sum);
            }
        }
#pragma unroll
        for (int step = 8; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
        if (c == 0) {
            features[0][out] = constants.mean_bias[out] + sum / static_cast<float>(area);
            features[1][out] = of_map[80 + out];
        }
    }
    __syncthreads();
    if (thread < 16) {
        int mlp = thread / 8, i = thread % 8;
        float sum = constants.hidden_bias[mlp][i];
#pragma unroll
        for (int c = 0; c < 16; c++) sum = fmaf(constants.hidden[mlp][i * 16 + c], features[mlp][c], sum);
        hidden[mlp][i] = sum < 0.f ? 0.f : sum;
    }
    __syncthreads();
    if (thread < 128) {
        int c = thread % 16, in = thread / 16;
        float factor = constants.outer_bias[0][c] + constants.outer_bias[1][c];
#pragma unroll
        for (int mlp = 0; mlp < 2; mlp++) {
#pragma unroll
            for (int i = 0; i < 8; i++) factor = fmaf(constants.outer[mlp][c * 8 + i], hidden[mlp][i], factor);
        }
        expand[in * 16 + c] = constants.expand[in * 16 + c] * factor;
        if (in == 0) expand_bias[c] = constants.expand_bias[c] * factor;
    }
    __syncthreads();
    if (!inside) return;
    float gated[8], sums[16];
    floats_from_half8(gated, local);
    const float* gate = gates[thread % COLUMNS];
#pragma unroll
    for (int c = 0; c < 8; c++) gated[c] *= gate[c];
#pragma unroll
    for (int c = 0; c < 16; c++) sums[c] = expand_bias[c];
#pragma unroll
    for (int in = 0; in < 8; in++) {
#pragma unroll
        for (int c = 0; c < 16; c++) sums[c] = fmaf(expand[in * 16 + c], gated[in], sums[c]);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float values[8];
        floats_from_half8(values, skip[half]);
#pragma unroll
        for (int c = 0; c < 8; c++) values[c] += sums[half * 8 + c];
        reinterpret_cast<Half8*>(p.out)[half * area + pixel] = half8_from_floats(values);
    }
}
