// EDAB's two depthwise branches and the sums that its attentions need (src/network/edab.rs).
//
//   l = A(l2 * A(l1 * u)),  g = A(g2 * A(g1 * u)),   l1, g1 of 3x1 taps, l2, g2 of 1x3, A = prelu(. + bias)
//   row_means = mean over x of g,  column_means = mean over y of g,  local_sums = sum over both of l
//
// g's taps are `dilation` pixels apart, l's one. u, l, g are f16 [h/8, H, W, 8]. Means come in parts, one of
// each tile, added up by kernels/edab_dense.cuh in a fixed order: f16 row_means [tiles_x, H, h] and
// column_means [tiles_y, W, h]. local_sums [h] is in 2^-16ths, so that all blocks can add to it in any order.
// taps: f16 [h/8, 20, 8] = l1's three taps, bias, bend, then l2, g1, g2.
//
// A block makes ROWS (4 or 8) x tile_w pixels of 8 channels: first the vertical taps, of the columns that
// the horizontal ones reach, into shared memory, then the horizontal ones. In the first half a thread has
// some rows of a column, with all of their loads under way together; in the second, lanes are columns x
// rows, for the sums along both. f16 arithmetic, f32 sums.
#pragma once
#include "half8.cuh"

struct EdabBranches {
    const Half8* u;
    Half8* l;
    Half8* g;
    __half* row_means;
    __half* column_means;
    unsigned long long* local_sums;
    int height, width, dilation;
    float per_row, per_column;  // 1 / height, 1 / width
    int tile_w;
};

constexpr float LOCAL_UNIT = 1.f / 65536.f;

// Pixels between a tile's rows in shared memory: those of eight lanes, four columns of two rows, then lie in
// different banks.
__host__ __device__ constexpr int edab_branch_stride(int columns) { return (columns + 3) / 8 * 8 + 4; }

// Bytes of shared memory for tiles of `rows` x `tile_w` pixels and dilations up to `reach`.
__host__ __device__ constexpr int edab_branch_bytes(int rows, int tile_w, int reach) {
    return 2 * rows * edab_branch_stride(tile_w + 2 * reach) * 16;
}

// Three taps with their PReLU, of eight channels.
struct Strip {
    Half8 tap[3], bias, bend;

    __device__ __forceinline__ explicit Strip(const Half8* taps)
        : tap{taps[0], taps[1], taps[2]}, bias(taps[3]), bend(taps[4]) {}

    __device__ __forceinline__ Half8 of(const Half8& a, const Half8& b, const Half8& c) const {
        Half8 out;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            __half2 sum = __hfma2(tap[0].v[i], a.v[i], bias.v[i]);
            sum = __hfma2(tap[2].v[i], c.v[i], __hfma2(tap[1].v[i], b.v[i], sum));
            out.v[i] = bent2(sum, bend.v[i]);
        }
        return out;
    }
};

// Adds up N values over the lanes that differ in the bits from BIT up to below END, each lane keeping a
// share of the sums in v[0..]: of each bit from BIT on, 1 keeps the upper half.
template <int N, int BIT, int END>
__device__ __forceinline__ void scattered_sums(float (&v)[8]) {
    if constexpr (BIT < END) {
        const bool keeps_upper = threadIdx.x & BIT;
#pragma unroll
        for (int i = 0; i < N / 2; i++) {
            float given = keeps_upper ? v[i] : v[i + N / 2], kept = keeps_upper ? v[i + N / 2] : v[i];
            v[i] = kept + __shfl_xor_sync(~0u, given, BIT);
        }
        scattered_sums<N / 2, BIT * 2, END>(v);
    }
}

// A tile of so many rows: 8 of `h` channels, and where its pixels begin.
template <int ROWS>
struct EdabBranchTile {
    int block, x, y;
    unsigned row_means, column_means;  // where its parts begin

    // `index` counts the tiles of all channels, those of 8 channels in turn, and each column of them.
    __device__ __forceinline__ void locate(int index, int tiles_x, int tiles_y, int tile_w, int height, int width, int h) {
        const int column = index / tiles_y, tile_y = index % tiles_y, tile_x = column % tiles_x;
        block = column / tiles_x;
        x = tile_x * tile_w;
        y = tile_y * ROWS;
        row_means = (tile_x * height + y) * h + block * 8;
        column_means = tile_y * width * h + block * 8;
    }
};

// `shared` is free again after a barrier of the block. `between` is called once the loads are through.
template <int WARPS, int H, int ROWS, typename Between>
__device__ __forceinline__ void edab_depthwise(const EdabBranches& p, const EdabBranchTile<ROWS>& tile,
                                               const Half8* all_taps, Half8* shared, Between between) {
    constexpr int THREADS = WARPS * 32;
    __shared__ float row_parts[ROWS][WARPS][8], local_parts[WARPS][8];
    const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
    const int d = p.dilation, x0 = tile.x, end = min(x0 + p.tile_w, p.width), columns = p.tile_w + 2 * d;
    const int stride = edab_branch_stride(columns);
    // Pixels of a plane fit in 28 bits, so all offsets in 32.
    const unsigned plane = tile.block * (p.height * p.width);
    Half8* rows_l = shared;
    Half8* rows_g = rows_l + ROWS * stride;
    const Half8* taps = all_taps + tile.block * 20;
    {
        constexpr int COLUMNS = 128, OWN = ROWS * COLUMNS / THREADS;
        const int first = tid / COLUMNS * OWN, y = tile.y + first;
        // The rows that this thread reads, none beyond the map's.
        unsigned own_row[OWN + 2], above_row[OWN], below_row[OWN];
        auto row_of = [&](int y) { return plane + unsigned(min(max(y, 0), p.height - 1) * p.width); };
#pragma unroll
        for (int r = 0; r < OWN + 2; r++) own_row[r] = row_of(y - 1 + r);
#pragma unroll
        for (int r = 0; r < OWN; r++) above_row[r] = row_of(y + r - d), below_row[r] = row_of(y + r + d);
        for (int column = tid % COLUMNS; column < columns; column += COLUMNS) {
            const int x = x0 - d + column;
            const bool is_inside = x >= 0 && x < p.width, is_near = x >= x0 - 1 && x <= end;
            // Through the first-level cache, which the barrier of the grid has emptied: rows are read several times.
            const Half8* u = p.u + (is_inside ? x : 0);
            Half8 own[OWN + 2], above[OWN], below[OWN];
#pragma unroll
            for (int r = 0; r < OWN + 2; r++) own[r] = u[own_row[r]];
#pragma unroll
            for (int r = 0; r < OWN; r++) above[r] = u[above_row[r]], below[r] = u[below_row[r]];
            if (y < 1) own[0] = half8_zero();
#pragma unroll
            for (int r = 1; r < OWN + 2; r++) {
                if (y - 1 + r >= p.height) own[r] = half8_zero();
            }
#pragma unroll
            for (int r = 0; r < OWN; r++) {
                if (y + r < d) above[r] = half8_zero();
                if (y + r + d >= p.height) below[r] = half8_zero();
            }
            Half8* to = rows_g + first * stride + column;
            const Strip far(taps + 10);
#pragma unroll
            for (int r = 0; r < OWN; r++) {
                to[r * stride] = is_inside ? far.of(above[r], own[r + 1], below[r]) : half8_zero();
            }
            if (is_near) {
                Half8* to = rows_l + first * stride + column;
                const Strip near(taps);
#pragma unroll
                for (int r = 0; r < OWN; r++) {
                    to[r * stride] = is_inside ? near.of(own[r], own[r + 1], own[r + 2]) : half8_zero();
                }
            }
        }
    }
    between();
    __syncthreads();

    constexpr int COLUMNS = 64, GROUPS = THREADS / COLUMNS, OWN = ROWS / GROUPS, LANES = 32 / GROUPS;
    const int first = lane / LANES * OWN;
    float row_sums[OWN][8] = {}, local_sum[8] = {};
    for (int step = 0; step < p.tile_w; step += COLUMNS) {
        const int column = step + warp * LANES + lane % LANES, x = x0 + column;
        float column_sum[8] = {};
#pragma unroll
        for (int r = 0; r < OWN; r++) {
            const int y = tile.y + first + r;
            if (x < end && y < p.height) {
                const unsigned to = plane + y * p.width + x;
                const int from = (first + r) * stride + column + d;
                Half8 l = Strip(taps + 5).of(rows_l[from - 1], rows_l[from], rows_l[from + 1]);
                p.l[to] = l;
                Half8 g = Strip(taps + 15).of(rows_g[from - d], rows_g[from], rows_g[from + d]);
                p.g[to] = g;
                float value[8];
                floats_from_half8(value, l);
#pragma unroll
                for (int c = 0; c < 8; c++) local_sum[c] += value[c];
                floats_from_half8(value, g);
#pragma unroll
                for (int c = 0; c < 8; c++) row_sums[r][c] += value[c], column_sum[c] += value[c];
            }
        }
        // The upper bits of a lane, its rows, then tell its channels.
        scattered_sums<8, LANES, 32>(column_sum);
        const int channel = lane & LANES ? 4 : 0, second = lane & (2 * LANES) ? 2 : 0;
        const int third = GROUPS == 8 && lane & (4 * LANES) ? 1 : 0;
        __half* to = p.column_means + (tile.column_means + unsigned(x) * H + channel + second + third);
        if (x < end) {
#pragma unroll
            for (int c = 0; c < 8 / GROUPS; c++) to[c] = __float2half_rn(column_sum[c] * p.per_row);
        }
    }
#pragma unroll
    for (int r = 0; r < OWN; r++) {
        scattered_sums<8, 1, LANES>(row_sums[r]);
        const int channel = (lane & 1 ? 4 : 0) + (lane & 2 ? 2 : 0) + (LANES == 8 && lane & 4 ? 1 : 0);
#pragma unroll
        for (int c = 0; c < 8 / LANES; c++) row_parts[first + r][warp][channel + c] = row_sums[r][c];
    }
    scattered_sums<8, 1, 8>(local_sum);
    local_sum[0] += __shfl_xor_sync(~0u, local_sum[0], 8);
    local_sum[0] += __shfl_xor_sync(~0u, local_sum[0], 16);
    if (lane < 8) local_parts[warp][(lane & 1 ? 4 : 0) + (lane & 2 ? 2 : 0) + (lane & 4 ? 1 : 0)] = local_sum[0];
    __syncthreads();
    // Thread 8 r + c adds up row r; those of r = ROWS the local sum.
    if (tid < 8 * (ROWS + 1)) {
        const int row = tid / 8, c = tid % 8;
        float sum = 0.f;
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum += row < ROWS ? row_parts[row][w][c] : local_parts[w][c];
        if (row == ROWS) {
            atomicAdd(p.local_sums + tile.block * 8 + c, static_cast<unsigned long long>(__float2ll_rn(sum / LOCAL_UNIT)));
        } else if (tile.y + row < p.height) {
            p.row_means[tile.row_means + row * H + c] = __float2half_rn(sum * p.per_column);
        }
    }
}
