// A whole stage of EDABs in one launch (src/network/edab.rs): dense and depthwise steps in turn, with a
// barrier of the grid after each.
//
// input, out: f16 [C/8, H, W, 8]. weights: EdabWeights<C>::bytes for each of count + 1 steps. The maps and
// sums between the steps lie in device memory; what a block reads of them after a barrier it reads past
// the first-level cache.
//
// STAGED keeps a dense step's weights in shared memory, fetched during the depthwise step before; without
// it they are read through the caches, for cards with less of it.
//
// The launch is cooperative, of at most as many blocks as are resident together; each takes every such
// tile. Limits: 16 blocks of EDAB; those of its two steps.

#include "edab_dense.cuh"
#include "edab_depthwise.cuh"
#include "grid_barrier.cuh"
#include "prefetch.cuh"

struct EdabStage {
    const __half* input;
    __half* out;
    const unsigned char* weights;
    __half* x[2];
    __half* u[2];
    __half* l;
    __half* g;
    __half* row_means;
    __half* column_means;
    float* local_sums;
    unsigned* barrier;
    int height, width, count;
    int tile_w, tiles_x, tiles_y;  // of the depthwise step
    int reach;                     // the largest dilation
    int dilations[16];
};

template <int C, int TH, int TW, int ROWS, int WARPS, bool STAGED>
__device__ __forceinline__ void edab_stage(const EdabStage& p) {
    using T = EdabTile<C, TH, TW>;
    using W = EdabWeights<C>;
    extern __shared__ __align__(16) unsigned char shared[];
    // Weights, taps of this step and the next one, then what a tile needs; the depthwise step takes the
    // place of all but x.
    constexpr int STAGED_BYTES = STAGED ? W::dense_bytes + 2 * W::taps_bytes : 0;
    unsigned char* tile_shared = shared + STAGED_BYTES;
    const int branch_bytes = 2 * ROWS * min(p.width, p.tile_w + 2 * p.reach) * 16;
    check_shared_bytes(STAGED_BYTES + max(T::bytes, T::m + branch_bytes));
    __shared__ Prefetch prefetch;
    auto fetch_weights = [&](int step) {
        if (!STAGED) return;
        const unsigned char* from = p.weights + step * W::bytes;
        prefetch.begin(W::bytes);
        prefetch.copy(shared, from, W::dense_bytes);
        prefetch.copy(shared + W::dense_bytes + step % 2 * W::taps_bytes, from + W::dense_bytes, W::taps_bytes);
    };
    if (STAGED) prefetch.prepare();
    fetch_weights(0);

    const int tiles = (p.width + TW - 1) / TW * ((p.height + TH - 1) / TH);
    const int first = blockIdx.x;
    EdabDense<C, TH, TW, WARPS> dense;
    EdabTrunk trunk = {p.input, nullptr, p.l, p.g, p.row_means, p.column_means, p.local_sums, nullptr, p.u[0],
                       p.height, p.width, p.tiles_x, p.tiles_y, p.tiles_x * p.tiles_y, false, true};
    GridBarrier barrier = {p.barrier, 0};
    grid_dependency_wait();
    if (first < tiles) dense.begin(trunk, first, tile_shared);
    for (int step = 0;; step++) {
        const unsigned char* weights = STAGED ? shared : p.weights + step * W::bytes;
        // The next kernel finds room only once this one's blocks end.
        if (step == p.count) grid_dependency_release();
        for (int tile = first; tile < tiles; tile += gridDim.x) {
            if (tile != first) {
                __syncthreads();
                dense.begin(trunk, tile, tile_shared);
            }
            dense.run(trunk, weights, tile_shared, [&] {
                if (STAGED && tile == first) prefetch.wait(step);
            });
        }
        if (step == p.count) {
            // A block without a tile has not waited for its last batch, which must not outlive it.
            if (STAGED && first >= tiles) prefetch.wait(step);
            break;
        }
        barrier.arrive();
        // Blocks without a tile have not waited for this step's batch yet.
        if (STAGED && first >= tiles) prefetch.wait(step);
        fetch_weights(step + 1);
        barrier.wait();

        const EdabBranches branches = {trunk.u_out, p.l, p.g, p.row_means, p.column_means, p.local_sums,
                                       p.height, p.width, p.dilations[step], p.tile_w, p.tiles_x, p.tiles_y};
        const float* taps = reinterpret_cast<const float*>(
            STAGED ? shared + W::dense_bytes + step % 2 * W::taps_bytes : weights + W::dense_bytes);
        for (int tile = first; tile < p.tiles_x * p.tiles_y * (C / 16); tile += gridDim.x) {
            if (tile != first) __syncthreads();
            edab_depthwise<ROWS, WARPS>(branches, taps, tile, C / 2, tile_shared + T::m);
        }
        barrier.arrive();
        trunk.joins = true;
        trunk.begins = step + 1 < p.count;
        if (step > 0) trunk.x = trunk.x_out;
        trunk.x_out = trunk.begins ? p.x[step % 2] : p.out;
        trunk.u = trunk.u_out;
        trunk.u_out = p.u[(step + 1) % 2];
        if (first < tiles) dense.begin(trunk, first, tile_shared);
        barrier.wait();
    }
}

#define EDAB_STAGE(C, TH, TW, ROWS, WARPS, BLOCKS)                                             \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS)                           \
        edab_stage_##C##_##TH##x##TW(const __grid_constant__ EdabStage p) {                    \
        edab_stage<C, TH, TW, ROWS, WARPS, true>(p);                                           \
    }                                                                                          \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS)                           \
        edab_stage_##C##_##TH##x##TW##_lean(const __grid_constant__ EdabStage p) {             \
        edab_stage<C, TH, TW, ROWS, WARPS, false>(p);                                          \
    }

EDAB_STAGE(16, 8, 16, 4, 8, 2)
EDAB_STAGE(64, 8, 16, 4, 8, 2)
EDAB_STAGE(128, 8, 8, 4, 8, 1)
