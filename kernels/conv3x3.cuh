// A 3x3 convolution of a tile, one pixel of padding, by the tensor cores: the part that down, line, msau
// and up share.
//
// The tile's input, its patch, lies in shared memory pixel by pixel, C channels and 8 halfs of padding
// each; for a stride of 2 each row has its even columns first, so that 16 outputs in a row read 16
// neighbours. Weights are B fragments with k = tap * C + c, N channels. Sums are f32.
// Warps: ROWS / M row groups x COLUMNS / 16 x (N / 8) / NT channel groups x SPLIT shares of the input
// channels; each row of pixels is loaded once for all of the kernel rows that read it.
#pragma once
#include "half8.cuh"
#include "launch.cuh"
#include "mma.cuh"

template <int C_, int N_, int STRIDE_, int ROWS_, int COLUMNS_, int M_, int NT_, int SPLIT_ = 1>
struct Conv3x3 {
    static constexpr int C = C_, N = N_, STRIDE = STRIDE_, ROWS = ROWS_, COLUMNS = COLUMNS_;
    static constexpr int M = M_, NT = NT_, SPLIT = SPLIT_;
    static constexpr int H = STRIDE * (ROWS - 1) + 3, W = STRIDE * (COLUMNS - 1) + 3;
    static constexpr int ODD = (W + 1) / 2;
    static constexpr int PIXEL = C + 8;
    static constexpr int PATCH_HALFS = H * W * PIXEL;
    static constexpr int WEIGHTS = 9 * C * N;
    static constexpr int N_GROUPS = N / 8 / NT;
    static constexpr int WARPS = ROWS / M * (COLUMNS / 16) * N_GROUPS * SPLIT;
    static constexpr int THREADS = WARPS * 32;
    // Of the shares' sums, while they are added up; they take the patch's place.
    static constexpr int SUM_BYTES = SPLIT > 1 ? ROWS * COLUMNS * N * 4 * SPLIT : 0;
    static constexpr int PATCH_BYTES = PATCH_HALFS * 2 > SUM_BYTES ? PATCH_HALFS * 2 : SUM_BYTES;
    static constexpr int TILE_BYTES = PATCH_BYTES + WEIGHTS * 2;

    static __device__ __forceinline__ int slot(int column) {
        return STRIDE == 1 ? column : (column & 1) * ODD + (column >> 1);
    }

    // Where a warp's part of the tile lies.
    struct Part {
        int row, column, n, share;
    };

    static __device__ __forceinline__ Part part() {
        int warp = threadIdx.x / 32;
        Part part;
        part.n = warp % N_GROUPS * NT;
        warp /= N_GROUPS;
        part.column = warp % (COLUMNS / 16) * 16;
        warp /= COLUMNS / 16;
        part.row = warp % (ROWS / M) * M;
        part.share = warp / (ROWS / M);
        return part;
    }

    // Pieces of 16 channels in which a patch arrives while the piece before is worked on.
    static constexpr int STAGES = SPLIT == 1 ? C / 16 : 1;

    // Copies channels of the patch of the tile at output (top, left) from `map` [C / 8, h, w, 8] in the
    // background: groups of 8 from `first` on.
    template <int GROUPS>
    static __device__ __forceinline__ void load_patch(__half* patch, const __half* map, int height,
                                                      int width, int top, int left, int first) {
        for (int i = threadIdx.x; i < GROUPS * H * W; i += THREADS) {
            int group = first + i / (H * W), row = i / W % H, column = i % W;
            int y = STRIDE * top - 1 + row, x = STRIDE * left - 1 + column;
            bool inside = static_cast<unsigned>(y) < static_cast<unsigned>(height) &&
                          static_cast<unsigned>(x) < static_cast<unsigned>(width);
            size_t pixel = inside ? (static_cast<size_t>(group) * height + y) * width + x : 0;
            copy_async_16(patch + (row * W + slot(column)) * PIXEL + group * 8, map + pixel * 8, inside);
        }
    }

    // Copies the patch as above and adds the convolution of the warp's part; lets the next kernel start.
    static __device__ __forceinline__ void load_and_add(float (&sums)[M][NT][4], const Part& part,
                                                        __half* patch, const __half* weights,
                                                        const __half* map, int height, int width, int top,
                                                        int left) {
        constexpr int GROUPS = C / 8 / STAGES;
#pragma unroll
        for (int stage = 0; stage < STAGES; stage++) {
            load_patch<GROUPS>(patch, map, height, width, top, left, stage * GROUPS);
            copy_async_commit();
        }
        grid_dependency_release();
        add_stages<0>(sums, part, patch, weights);
    }

    template <int STAGE>
    static __device__ __forceinline__ void add_stages(float (&sums)[M][NT][4], const Part& part,
                                                      const __half* patch, const __half* weights) {
        constexpr int K = C / 16 / SPLIT;
        copy_async_wait<STAGES - 1 - STAGE>();
        __syncthreads();
        if constexpr (STAGES == 1) {
            add(sums, part, patch, weights, part.share * K, (part.share + 1) * K);
        } else {
            add(sums, part, patch, weights, STAGE, STAGE + 1);
            if constexpr (STAGE + 1 < STAGES) add_stages<STAGE + 1>(sums, part, patch, weights);
        }
    }

    // Adds the convolution of the warp's part, of input channels 16 first to 16 last.
    static __device__ __forceinline__ void add(float (&sums)[M][NT][4], const Part& part,
                                               const __half* patch, const __half* weights, int first,
                                               int last) {
        constexpr int LOADED = STRIDE * (M - 1) + 3;
        int lane = threadIdx.x % 32;
        const uint2* fragments = reinterpret_cast<const uint2*>(weights) + part.n * 32 + lane;
#pragma unroll 1
        for (int k = first; k < last; k++) {
#pragma unroll
            for (int dx = 0; dx < 3; dx++) {
                uint2 b[3][NT];
#pragma unroll
                for (int dy = 0; dy < 3; dy++) {
#pragma unroll
                    for (int n = 0; n < NT; n++) {
                        b[dy][n] = fragments[(((dy * 3 + dx) * (C / 16) + k) * (N / 8) + n) * 32];
                    }
                }
                int column = slot(STRIDE * part.column + dx) + lane % 16;
                const __half* from =
                    patch + (STRIDE * part.row * W + column) * PIXEL + k * 16 + lane / 16 * 8;
#pragma unroll
                for (int j = 0; j < LOADED; j++) {
                    FragmentA a = load_a(from + j * W * PIXEL);
#pragma unroll
                    for (int i = 0; i < M; i++) {
                        if (j - STRIDE * i < 0 || j - STRIDE * i > 2) continue;
#pragma unroll
                        for (int n = 0; n < NT; n++) mma(sums[i][n], a, b[j - STRIDE * i][n]);
                    }
                }
            }
        }
    }

    // Adds up the shares' sums, in order, in the warps of share 0; the patch is lost.
    static __device__ __forceinline__ void add_shares(float (&sums)[M][NT][4], const Part& part,
                                                      __half* patch) {
        if (SPLIT == 1) return;
        constexpr int OF_SHARE = THREADS / SPLIT;
        float4* parts = reinterpret_cast<float4*>(patch);
        int thread = threadIdx.x % OF_SHARE;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < M * NT; i++) {
            const float* sum = sums[i / NT][i % NT];
            parts[(part.share * M * NT + i) * OF_SHARE + thread] =
                make_float4(sum[0], sum[1], sum[2], sum[3]);
        }
        __syncthreads();
        if (part.share != 0) return;
#pragma unroll
        for (int share = 1; share < SPLIT; share++) {
#pragma unroll
            for (int i = 0; i < M * NT; i++) {
                float4 other = parts[(share * M * NT + i) * OF_SHARE + thread];
                float* sum = sums[i / NT][i % NT];
                sum[0] += other.x;
                sum[1] += other.y;
                sum[2] += other.z;
                sum[3] += other.w;
            }
        }
    }
};

// Starts the sums of NT groups of 8 channels from a bias; `bias` is that of the first one's channels.
template <int M, int NT>
__device__ __forceinline__ void start_sums(float (&sums)[M][NT][4], const float* bias) {
    int t = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < NT; n++) {
        float2 b = bias == nullptr ? make_float2(0.f, 0.f)
                                   : *reinterpret_cast<const float2*>(bias + n * 8 + t * 2);
#pragma unroll
        for (int i = 0; i < M; i++) {
            sums[i][n][0] = sums[i][n][2] = b.x;
            sums[i][n][1] = sums[i][n][3] = b.y;
        }
    }
}
