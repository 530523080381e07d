// FFM's second kernel: SS2D's depthwise convolution and the projections that steer its scan.
//
//   u = silu(dw3x3(x) + bias),  projected[k] = W_k u: dt, B and C of direction k
//
//   x  [12, h, w, 8] f16, zero outside      taps [12][9][8], bias [96]  f32
//   W  [6 k][18 n][32][4] fragments, f16; its columns are 4 directions of 3 + 16 + 16, then zeros
//   u  [2][96][pitch] pixels row-major, then column-major      projected [4][35][pitch]         f16
//
// Direction k's rows lie by pixel row-major (k even) or column-major (k odd): the order of its scan, the
// backward ones (k >= 2) from the end, so that the scan reads runs. One block takes 4x4 pixels; 192 threads take a group of 8 channels
// of a pixel each, then 6 warps take three groups of projected rows each. Sums are f32. Any size from 1x1;
// elements of the pitch past the area are not written.
#include "half8.cuh"
#include "launch.cuh"
#include "mma.cuh"
#include "silu.cuh"

namespace {

constexpr int SIDE = 4, PIXELS = SIDE * SIDE, THREADS = 192;
constexpr int WIDTH = 96, TAPS = 9;
constexpr int ROWS_OF_DIRECTION = 35, ROWS = 4 * ROWS_OF_DIRECTION;
constexpr int K_TILES = WIDTH / 16, ROW_TILES = (ROWS + 7) / 8, N_TILES = ROW_TILES / (THREADS / 32);
constexpr int U_ROW = WIDTH + 8;             // halfs of a pixel in shared memory
constexpr int PROJECTED_ROW = PIXELS + 4;    // halfs of a projected row there

struct FfmProjectParams {
    const Half8* x;
    const float4* taps;
    const float4* bias;
    const uint2* weights;
    __half* u;
    __half* projected;
    int height, width, pitch;
};

// Writes four halfs, of which the first `some` exist, to consecutive places.
__device__ __forceinline__ void store_run(__half* to, uint2 run, int some) {
    if (some == SIDE && reinterpret_cast<size_t>(to) % 8 == 0) {
        *reinterpret_cast<uint2*>(to) = run;
        return;
    }
    const __half* from = reinterpret_cast<const __half*>(&run);
#pragma unroll
    for (int i = 0; i < SIDE; i++) {
        if (i < some) to[i] = from[i];
    }
}

}  // namespace

// Grid: (width / 4, height / 4), rounded up; 192 threads.
extern "C" __global__ void __launch_bounds__(THREADS, 1) ffm_project(const __grid_constant__ FfmProjectParams p) {
    __shared__ __align__(16) __half u[PIXELS][U_ROW];
    __shared__ __align__(16) __half projected[ROW_TILES * 8][PROJECTED_ROW];
    int const thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    int const left = blockIdx.x * SIDE, top = blockIdx.y * SIDE;
    int const area = p.height * p.width;

    int const pixel = thread % PIXELS, group = thread / PIXELS;
    float taps[TAPS][8], sum[8];
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) {
        reinterpret_cast<float4*>(taps[tap])[0] = __ldg(p.taps + (group * TAPS + tap) * 2);
        reinterpret_cast<float4*>(taps[tap])[1] = __ldg(p.taps + (group * TAPS + tap) * 2 + 1);
    }
    reinterpret_cast<float4*>(sum)[0] = __ldg(p.bias + group * 2);
    reinterpret_cast<float4*>(sum)[1] = __ldg(p.bias + group * 2 + 1);
    uint2 weights[K_TILES][N_TILES];
#pragma unroll
    for (int k = 0; k < K_TILES; k++) {
#pragma unroll
        for (int n = 0; n < N_TILES; n++) {
            weights[k][n] = __ldg(p.weights + (k * ROW_TILES + warp * N_TILES + n) * 32 + lane);
        }
    }
    grid_dependency_wait();
    grid_dependency_release();

    {
        int const y = top + pixel / SIDE, x = left + pixel % SIDE;
        Half8 around[TAPS];
#pragma unroll
        for (int tap = 0; tap < TAPS; tap++) {
            int const row = y + tap / 3 - 1, column = x + tap % 3 - 1;
            bool const is_inside = row >= 0 && row < p.height && column >= 0 && column < p.width;
            around[tap] =
                is_inside ? p.x[size_t(group) * area + row * p.width + column] : half8_zero();
        }
#pragma unroll
        for (int tap = 0; tap < TAPS; tap++) {
            float one[8];
            floats_from_half8(one, around[tap]);
#pragma unroll
            for (int i = 0; i < 8; i++) sum[i] = fmaf(taps[tap][i], one[i], sum[i]);
        }
#pragma unroll
        for (int i = 0; i < 8; i++) sum[i] = silu(sum[i]);
        *reinterpret_cast<Half8*>(&u[pixel][group * 8]) = half8_from_floats(sum);
    }
    __syncthreads();

    // A run is a row or a column of the block's pixels, of one channel.
    for (int run = thread; run < 2 * WIDTH * SIDE; run += THREADS) {
        bool const by_columns = run >= WIDTH * SIDE;
        int const channel = run / SIDE % WIDTH, line = run % SIDE;
        int const along = by_columns ? p.height : p.width, across = by_columns ? p.width : p.height;
        int const start = by_columns ? top : left, at = (by_columns ? left : top) + line;
        if (at < across) {
            __align__(8) __half values[SIDE];
#pragma unroll
            for (int i = 0; i < SIDE; i++) {
                values[i] = u[by_columns ? i * SIDE + line : line * SIDE + i][channel];
            }
            store_run(p.u + size_t(run / SIDE) * p.pitch + at * along + start,
                      *reinterpret_cast<const uint2*>(values), min(along - start, SIDE));
        }
    }
    float sums[N_TILES][4] = {};
#pragma unroll
    for (int k = 0; k < K_TILES; k++) {
        FragmentA const a = load_a(&u[lane % 16][k * 16 + lane / 16 * 8]);
#pragma unroll
        for (int n = 0; n < N_TILES; n++) mma(sums[n], a, weights[k][n]);
    }
#pragma unroll
    for (int n = 0; n < N_TILES; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int const of = lane / 4 + i / 2 * 8;
            int const row = (warp * N_TILES + n) * 8 + lane % 4 * 2 + i % 2;
            bool const by_columns = row / ROWS_OF_DIRECTION % 2;
            int const place = by_columns ? of % SIDE * SIDE + of / SIDE : of;
            projected[row][place] = __float2half_rn(sums[n][i]);
        }
    }
    __syncthreads();

    for (int run = thread; run < ROWS * SIDE; run += THREADS) {
        int const row = run / SIDE, line = run % SIDE;
        bool const by_columns = row / ROWS_OF_DIRECTION % 2;
        int const along = by_columns ? p.height : p.width, across = by_columns ? p.width : p.height;
        int const start = by_columns ? top : left, at = (by_columns ? left : top) + line;
        if (at < across) {
            store_run(p.projected + size_t(row) * p.pitch + at * along + start,
                      *reinterpret_cast<const uint2*>(&projected[row][line * SIDE]),
                      min(along - start, SIDE));
        }
    }
}
