// EDAB's two depthwise branches and the sums that its attentions need (src/network/edab.rs).
//
//   l = A(l2 * A(l1 * u)),  g = A(g2 * A(g1 * u)),   l1, g1 of 3x1 taps, l2, g2 of 1x3, A = prelu(. + bias)
//   row_means = mean over x of g,  column_means = mean over y of g,  local_sums = sum over both of l
//
// g's taps are `dilation` pixels apart, l's one. u, l, g are f16 [h/8, H, W, 8]. Means and sums come in
// parts, added up by kernels/edab_dense.cuh in a fixed order, one of each tile: f16 row_means [tiles_x, H, h]
// and column_means [tiles_y, W, h], f32 local_sums [tiles_y * tiles_x, h]. taps: f32 [h/8, 20, 8] = l1's
// three taps, bias, slope, then l2, g1, g2.
//
// A block makes ROWS x tile_w pixels of 8 channels; a thread makes two channels of every 64th column:
// first the vertical taps, of the columns that the horizontal ones reach, into shared memory, then the
// horizontal ones. f32 arithmetic; what lies between the taps is rounded to f16. All loads of a column are
// under way together. Limit: 2 ROWS (tile_w + 2 dilation) pixels of 16 bytes in shared memory.
#pragma once
#include "half8.cuh"
#include "launch.cuh"
#include "strip.cuh"

struct EdabBranches {
    const __half* u;
    __half* l;
    __half* g;
    __half* row_means;
    __half* column_means;
    float* local_sums;
    int height, width, dilation;
    int tile_w, tiles_x, tiles_y;
};

__device__ __forceinline__ float2 operator+(float2 a, float2 b) { return make_float2(a.x + b.x, a.y + b.y); }

// Sum over the eight columns of a warp, for each channel pair.
__device__ __forceinline__ float2 warp_columns_sum(float2 v) {
#pragma unroll
    for (int step = 4; step < 32; step *= 2) {
        v.x += __shfl_xor_sync(~0u, v.x, step);
        v.y += __shfl_xor_sync(~0u, v.y, step);
    }
    return v;
}

// Two channels, past the first-level cache, which may hold what was there before.
__device__ __forceinline__ __half2 half2_fetch(const __half2* at) {
    unsigned word = __ldcg(reinterpret_cast<const unsigned*>(at));
    return *reinterpret_cast<__half2*>(&word);
}

// `index` counts the tiles of all channels, those of 8 channels in turn; `h` channels in all. `shared` is
// free again, and `parts` with it, after a barrier of the block.
template <int ROWS, int WARPS>
__device__ __forceinline__ void edab_depthwise(const EdabBranches& p, const float* all_taps, int index, int h,
                                               unsigned char* shared) {
    constexpr int COLUMNS = WARPS * 8;  // of one step over a row
    __shared__ float2 row_parts[ROWS][WARPS][4], local_parts[WARPS][4];
    const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
    const int pair = tid % 4, column = tid / 4;
    const int block = index / (p.tiles_x * p.tiles_y), tile = index % (p.tiles_x * p.tiles_y);
    const int tile_x = tile / p.tiles_y, tile_y = tile % p.tiles_y;
    const int x0 = tile_x * p.tile_w, y0 = tile_y * ROWS, d = p.dilation;
    const int end = min(x0 + p.tile_w, p.width), rows = min(ROWS, p.height - y0);
    const int left = max(x0 - d, 0), right = min(x0 + p.tile_w + d, p.width), columns = right - left;
    const __half2 zero = __half2half2(__ushort_as_half(0));
    // Two channels of a pixel are four halves apart from the next pair's.
    __half2* rows_l = reinterpret_cast<__half2*>(shared);
    __half2* rows_g = rows_l + ROWS * columns * 4;

    const float* taps = all_taps + block * 160 + pair * 2;
    const size_t plane = size_t(block) * p.height * p.width;
    // A row of the map, and of the tile, in pairs.
    const int map_row = p.width * 4, tile_row = columns * 4;
    const __half2* u = reinterpret_cast<const __half2*>(p.u) + plane * 4 + pair;
    {
        const Strip near = load_strip(taps), far = load_strip(taps + 80);
        for (int x = left + column; x < right; x += COLUMNS) {
            const bool is_near = x >= x0 - 1 && x <= end;
            auto at = [&](int y) { return half2_fetch(u + min(max(y, 0), p.height - 1) * map_row + x * 4); };
            __half2 own[ROWS + 2], above[ROWS], below[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS + 2; r++) own[r] = at(y0 - 1 + r);
#pragma unroll
            for (int r = 0; r < ROWS; r++) above[r] = at(y0 + r - d), below[r] = at(y0 + r + d);
            int to = (x - left) * 4 + pair;
#pragma unroll
            for (int r = 0; r < ROWS; r++, to += tile_row) {
                const int y = y0 + r;
                float2 g = apply(far, y >= d ? above[r] : zero, own[r + 1], y + d < p.height ? below[r] : zero);
                rows_g[to] = __floats2half2_rn(g.x, g.y);
                float2 l = apply(near, y >= 1 ? own[r] : zero, own[r + 1], y + 1 < p.height ? own[r + 2] : zero);
                if (is_near) rows_l[to] = __floats2half2_rn(l.x, l.y);
            }
        }
    }
    const Strip near = load_strip(taps + 40), far = load_strip(taps + 120);
    __syncthreads();

    const float per_row = 1.f / float(p.height), per_column = 1.f / float(p.width);
    float2 row_sums[ROWS] = {}, local_sum = {};
    __half2* l_out = reinterpret_cast<__half2*>(p.l) + plane * 4 + pair;
    __half2* g_out = reinterpret_cast<__half2*>(p.g) + plane * 4 + pair;
    for (int x = x0 + column; x < end; x += COLUMNS) {
        const bool has_left = x >= 1, has_right = x + 1 < p.width, far_left = x >= d, far_right = x + d < p.width;
        float2 column_sum = {};
        int from = (x - left) * 4 + pair, to = (y0 * p.width + x) * 4;
#pragma unroll
        for (int row = 0; row < ROWS; row++, from += tile_row, to += map_row) {
            if (row < rows) {
                __half2 before = has_left ? rows_l[from - 4] : zero, after = has_right ? rows_l[from + 4] : zero;
                float2 l = apply(near, before, rows_l[from], after);
                l_out[to] = __floats2half2_rn(l.x, l.y);
                __half2 first = far_left ? rows_g[from - 4 * d] : zero, last = far_right ? rows_g[from + 4 * d] : zero;
                float2 g = apply(far, first, rows_g[from], last);
                g_out[to] = __floats2half2_rn(g.x, g.y);
                local_sum = local_sum + l;
                column_sum = column_sum + g;
                row_sums[row] = row_sums[row] + g;
            }
        }
        __half* to_mean = p.column_means + (size_t(tile_y) * p.width + x) * h + block * 8 + pair * 2;
        *reinterpret_cast<__half2*>(to_mean) = __floats2half2_rn(column_sum.x * per_row, column_sum.y * per_row);
    }
    local_sum = warp_columns_sum(local_sum);
    if (lane < 4) local_parts[warp][lane] = local_sum;
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        float2 sum = warp_columns_sum(row_sums[row]);
        if (lane < 4) row_parts[row][warp][lane] = sum;
    }
    __syncthreads();
    // Thread 4 r + pair adds up row r; those of r = ROWS the local sum.
    if (tid < 4 * (ROWS + 1)) {
        int row = tid / 4;
        float2 sum = {};
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum = sum + (row < ROWS ? row_parts[row][w][pair] : local_parts[w][pair]);
        int channel = block * 8 + pair * 2;
        if (row == ROWS) {
            float* to = p.local_sums + (tile_y * p.tiles_x + tile_x) * h + channel;
            *reinterpret_cast<float2*>(to) = sum;
        } else if (row < rows) {
            __half* to = p.row_means + (size_t(tile_x) * p.height + y0 + row) * h + channel;
            *reinterpret_cast<__half2*>(to) = __floats2half2_rn(sum.x * per_column, sum.y * per_column);
        }
    }
}
