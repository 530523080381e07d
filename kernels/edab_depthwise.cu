// EDAB's two depthwise branches and the sums that its attentions need (src/network/edab.rs).
//
//   l = A(l2 * A(l1 * u)),  g = A(g2 * A(g1 * u)),   l1, g1 of 3x1 taps, l2, g2 of 1x3, A = prelu(. + bias)
//   row_means = mean over x of g,  column_means = mean over y of g,  local_sums = sum over both of l
//
// g's taps are `dilation` pixels apart, l's one. u, l, g are f16 [h/8, H, W, 8]. Means and sums come in
// parts, added up by kernels/edab_dense.cu in a fixed order, one of each tile: f16 row_means [tiles_x, H, h]
// and column_means [tiles_y, W, h], f32 local_sums [tiles_x * tiles_y, h]. taps: f32 [h/8, 20, 8] = l1's
// three taps, bias, slope, then l2, g1, g2.
//
// A block makes tile_h x tile_w pixels of 8 channels; a thread makes two channels of every 128th column and
// keeps their taps in registers: first the vertical taps, of the columns that the horizontal ones reach,
// into shared memory, then the horizontal ones. The grid is [tiles_y, tiles_x, h/8]. f32 arithmetic; what lies between the taps is rounded to
// f16. Limit: 2 tile_h (tile_w + 2 dilation) pixels of 16 bytes in shared memory.

#include "half8.cuh"
#include "launch.cuh"
#include "strip.cuh"

struct EdabDepthwise {
    const __half* u;
    const float* taps;
    __half* l;
    __half* g;
    __half* row_means;
    __half* column_means;
    float* local_sums;
    int height, width, dilation;
    int tile_h, tile_w;
};

constexpr int THREADS = 512;
constexpr int WARPS = THREADS / 32;
constexpr int COLUMNS = THREADS / 4;  // of one step over a row
constexpr int MAX_TILE_H = 8;

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

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    edab_depthwise(const __grid_constant__ EdabDepthwise p) {
    extern __shared__ __align__(16) unsigned char shared[];
    __shared__ float2 row_parts[MAX_TILE_H][WARPS][4], local_parts[WARPS][4];
    const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
    const int pair = tid % 4, column = tid / 4;
    const int block = blockIdx.z, h = gridDim.z * 8;
    const int x0 = blockIdx.y * p.tile_w, y0 = blockIdx.x * p.tile_h, d = p.dilation;
    const int end = min(x0 + p.tile_w, p.width), rows = min(p.tile_h, p.height - y0);
    const int left = max(x0 - d, 0), right = min(x0 + p.tile_w + d, p.width), columns = right - left;
    const __half2 zero = __half2half2(__ushort_as_half(0));
    // Two channels of a pixel are four halves apart from the next pair's.
    __half2* rows_l = reinterpret_cast<__half2*>(shared);
    __half2* rows_g = rows_l + p.tile_h * columns * 4;
    check_shared_bytes(2 * p.tile_h * columns * 16);

    const float* taps = p.taps + block * 160 + pair * 2;
    const size_t plane = size_t(block) * p.height * p.width;
    Strip near = load_strip(taps), far = load_strip(taps + 80);
    grid_dependency_wait();
    // Not before the wait: the next kernel then knows that the one before this has ended too.
    grid_dependency_release();

    // A row of the map, and of the tile, in pairs.
    const int map_row = p.width * 4, tile_row = columns * 4;
    const __half2* u = reinterpret_cast<const __half2*>(p.u) + plane * 4 + pair;
    for (int x = left + column; x < right; x += COLUMNS) {
        const bool is_near = x >= x0 - 1 && x <= end;
        const __half2* from = u + (y0 * p.width + x) * 4;
        int to = (x - left) * 4 + pair, y = y0;
#pragma unroll
        for (int row = 0; row < MAX_TILE_H; row++, y++, from += map_row, to += tile_row) {
            if (row < rows) {
                __half2 middle = from[0], above = zero, below = zero, near_above = zero, near_below = zero;
                if (y >= d) above = from[-d * map_row];
                if (y + d < p.height) below = from[d * map_row];
                if (is_near && y >= 1) near_above = from[-map_row];
                if (is_near && y + 1 < p.height) near_below = from[map_row];
                float2 g = apply(far, above, middle, below);
                rows_g[to] = __floats2half2_rn(g.x, g.y);
                float2 l = apply(near, near_above, middle, near_below);
                if (is_near) rows_l[to] = __floats2half2_rn(l.x, l.y);
            }
        }
    }
    near = load_strip(taps + 40);
    far = load_strip(taps + 120);
    __syncthreads();

    const float per_row = 1.f / float(p.height), per_column = 1.f / float(p.width);
    float2 row_sums[MAX_TILE_H] = {}, local_sum = {};
    __half2* l_out = reinterpret_cast<__half2*>(p.l) + plane * 4 + pair;
    __half2* g_out = reinterpret_cast<__half2*>(p.g) + plane * 4 + pair;
    for (int x = x0 + column; x < end; x += COLUMNS) {
        const bool has_left = x >= 1, has_right = x + 1 < p.width, far_left = x >= d, far_right = x + d < p.width;
        float2 column_sum = {};
        int from = (x - left) * 4 + pair, to = (y0 * p.width + x) * 4;
#pragma unroll
        for (int row = 0; row < MAX_TILE_H; row++, from += tile_row, to += map_row) {
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
        __half* to_mean = p.column_means + (size_t(blockIdx.x) * p.width + x) * h + block * 8 + pair * 2;
        *reinterpret_cast<__half2*>(to_mean) = __floats2half2_rn(column_sum.x * per_row, column_sum.y * per_row);
    }
    local_sum = warp_columns_sum(local_sum);
    if (lane < 4) local_parts[warp][lane] = local_sum;
#pragma unroll
    for (int row = 0; row < MAX_TILE_H; row++) {
        float2 sum = warp_columns_sum(row_sums[row]);
        if (lane < 4) row_parts[row][warp][lane] = sum;
    }
    __syncthreads();
    // Thread 4 r + pair adds up row r; those of r = MAX_TILE_H the local sum.
    if (tid < 4 * (MAX_TILE_H + 1)) {
        int row = tid / 4;
        float2 sum = {};
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum = sum + (row < MAX_TILE_H ? row_parts[row][w][pair] : local_parts[w][pair]);
        int channel = block * 8 + pair * 2;
        if (row == MAX_TILE_H) {
            float* to = p.local_sums + (blockIdx.x * gridDim.y + blockIdx.y) * h + channel;
            *reinterpret_cast<float2*>(to) = sum;
        } else if (row < rows) {
            __half* to = p.row_means + (size_t(blockIdx.y) * p.height + y0 + row) * h + channel;
            *reinterpret_cast<__half2*>(to) = __floats2half2_rn(sum.x * per_column, sum.y * per_column);
        }
    }
}
