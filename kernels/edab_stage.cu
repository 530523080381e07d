// A whole stage of EDABs in one launch (src/network/edab.rs): dense and depthwise steps in turn, with a
// barrier of the grid after each.
//
// input, out: f16 [C/8, H, W, 8]. weights: EdabWeights<C>::bytes for each of count + 1 steps. The maps and
// sums between the steps lie in device memory. A barrier empties the first-level cache; what is read once, or
// before the barrier, is read past it.
//
// STAGED keeps the weights in shared memory: all of them where C is 16, else those of a step, replaced
// during the step before. Without it they are read through the caches, for cards with less of it.
//
// The launch is cooperative, of at most as many blocks as are resident together; one takes the tile of its
// number, and others a grid's size further on. Limits: 16 blocks of EDAB; those of its two steps.

#include "edab_dense.cuh"
#include "edab_depthwise.cuh"
#include "grid_barrier.cuh"
#include "launch.cuh"
#include "prefetch.cuh"

struct EdabStage {
    const __half* input;
    __half* out;
    const unsigned char* weights;
    __half* x[2];
    Half8* u[2];
    Half8* l;
    Half8* g;
    __half* row_means;
    __half* column_means;
    unsigned long long* local_sums[2];  // in turn
    unsigned* barrier;
    int height, width, count;
    float per_row, per_column, per_pixel;  // 1 / height, 1 / width, and their product
    int tile_w, tiles_x, tiles_y;          // of the depthwise step
    int reach;                             // the largest dilation
    int dilations[16];
};

template <int C, int TH, int TW, int UP_ROWS, int ROWS, int WARPS, bool STAGED>
__device__ __forceinline__ void edab_stage(const EdabStage& p) {
    using T = EdabTile<C, TH, TW, UP_ROWS>;
    using W = EdabWeights<C>;
    extern __shared__ __align__(16) unsigned char shared[];
    // Weights, then what a tile of either step needs.
    constexpr bool IS_WHOLE = C == 16;
    const int staged_bytes = !STAGED ? 0 : IS_WHOLE ? (p.count + 1) * W::bytes : W::dense_bytes + 2 * W::taps_bytes;
    unsigned char* tile_shared = shared + staged_bytes;
    check_shared_bytes(staged_bytes + max(T::bytes, edab_branch_bytes(ROWS, p.tile_w, p.reach)));
    __shared__ Prefetch prefetch;
    // Some bytes of a step's weights, from 0 on in turn; the last with its taps, of which there are two.
    auto fetch_weights = [&](int step, int from, int to) {
        if (!STAGED || IS_WHOLE) return;
        const unsigned char* weights = p.weights + step * W::bytes;
        if (from == 0) prefetch.begin(W::bytes);
        prefetch.copy(shared + from, weights + from, to - from);
        if (to < W::dense_bytes) return;
        prefetch.copy(shared + to + step % 2 * W::taps_bytes, weights + to, W::taps_bytes);
    };
    auto await_weights = [&](int step) {
        if (STAGED && (!IS_WHOLE || step == 0)) prefetch.wait(step);
    };
    if (STAGED) {
        prefetch.prepare();
        __syncthreads();
        if (IS_WHOLE) {
            prefetch.begin(staged_bytes);
            prefetch.copy(shared, p.weights, staged_bytes);
        }
    }
    fetch_weights(0, 0, W::dense_bytes);

    const int tiles = (p.width + TW - 1) / TW * ((p.height + TH - 1) / TH);
    const int branch_tiles = p.tiles_x * p.tiles_y * (C / 16);
    // Blocks beyond the tiles let the last one's maps come too, so that none of these loads depends on a branch.
    const int first = blockIdx.x, begun = min(first, tiles - 1);
    EdabDense<C, TH, TW, UP_ROWS, WARPS> dense;
    EdabTrunk trunk = {p.input, nullptr, p.l, p.g, p.row_means, p.column_means, nullptr, nullptr, p.u[0],
                       p.height, p.width, p.per_pixel, p.tiles_x, p.tiles_y, false, true};
    GridBarrier barrier;
    grid_dependency_wait();
    barrier.prepare(p.barrier);
    int located = begun;
    dense.locate(trunk, located);
    dense.begin(trunk);
    EdabBranchTile<ROWS> branch_tile;
    int branch_located = -1;
    for (int step = 0;; step++) {
        const unsigned char* weights = (STAGED ? shared : p.weights) + (STAGED && !IS_WHOLE ? 0 : step * W::bytes);
        // What this step's branches add to was read in the step before the last.
        if (first == 0 && threadIdx.x < C / 2) p.local_sums[step % 2][threadIdx.x] = 0;
        // The next kernel finds room only once this one's blocks end.
        if (step == p.count) grid_dependency_release();
        for (int tile = first; tile < tiles; tile += gridDim.x) {
            if (tile != located) {
                located = tile;
                dense.locate(trunk, tile);
                dense.begin(trunk);
            }
            // The next step's weights take the place of this one's as these are done with: all at once later on
            // would hold up the other blocks' loads, and so the barriers.
            dense.run(
                trunk, weights, tile_shared,
                [&] {
                    if (tile == first) await_weights(step);
                },
                [&](int from, int to) {
                    if (tile + gridDim.x >= tiles) fetch_weights(step + 1, from, to);
                });
        }
        // Blocks without a tile have not waited for this step's batch yet, which must not outlive them.
        if (first >= tiles) await_weights(step);
        if (step == p.count) break;
        barrier.arrive();
        barrier.wait();

        const EdabBranches branches = {trunk.u_out, p.l, p.g, p.row_means, p.column_means, p.local_sums[step % 2],
                                       p.height, p.width, p.dilations[step], p.per_row, p.per_column, p.tile_w};
        const Half8* taps = reinterpret_cast<const Half8*>(
            weights + W::dense_bytes + (STAGED && !IS_WHOLE ? step % 2 * W::taps_bytes : 0));
        auto fetch_rest = [&] { fetch_weights(step + 1, first < tiles ? W::up2 : 0, W::dense_bytes); };
        if (first >= branch_tiles) fetch_rest();
        for (int tile = first; tile < branch_tiles; tile += gridDim.x) {
            if (tile != first) __syncthreads();
            if (tile != branch_located) {
                branch_located = tile;
                branch_tile.locate(tile, p.tiles_x, p.tiles_y, p.tile_w, p.height, p.width, C / 2);
            }
            edab_depthwise<WARPS, C / 2, ROWS>(branches, branch_tile, taps, reinterpret_cast<Half8*>(tile_shared), [&] {
                if (tile == first) fetch_rest();
            });
        }
        barrier.arrive();
        trunk.joins = true;
        trunk.local_sums = p.local_sums[step % 2];
        trunk.begins = step + 1 < p.count;
        if (step > 0) trunk.x = trunk.x_out;
        trunk.x_out = trunk.begins ? p.x[step % 2] : p.out;
        trunk.u = trunk.u_out;
        trunk.u_out = p.u[(step + 1) % 2];
        if (located != begun) {
            located = begun;
            dense.locate(trunk, located);
        }
        dense.begin(trunk);
        barrier.wait();
    }
}

// TH x TW pixels are the dense step's tile, UP_ROWS its warps by rows in up1 and up2, ROWS those of the
// depthwise step's tile. BLOCKS: at least as many on one multiprocessor.
#define EDAB_STAGE(NAME, C, TH, TW, UP_ROWS, ROWS, WARPS, BLOCKS)                              \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS)                           \
        edab_stage_##NAME(const __grid_constant__ EdabStage p) {                               \
        edab_stage<C, TH, TW, UP_ROWS, ROWS, WARPS, true>(p);                                  \
    }                                                                                          \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS)                           \
        edab_stage_##NAME##_lean(const __grid_constant__ EdabStage p) {                        \
        edab_stage<C, TH, TW, UP_ROWS, ROWS, WARPS, false>(p);                                 \
    }

EDAB_STAGE(16_small, 16, 8, 8, 8, 4, 8, 2)
EDAB_STAGE(16_medium, 16, 7, 12, 8, 4, 8, 2)
EDAB_STAGE(16, 16, 8, 16, 8, 4, 8, 2)
EDAB_STAGE(64_small, 64, 6, 16, 8, 8, 16, 1)
EDAB_STAGE(64, 64, 8, 16, 4, 8, 8, 2)
EDAB_STAGE(128_small, 128, 4, 8, 2, 4, 8, 1)
EDAB_STAGE(128, 128, 8, 8, 2, 8, 8, 1)
EDAB_STAGE(128_large, 128, 8, 16, 4, 8, 8, 1)
