// A tile of the stem (kernels/stem.cu): how it lies in shared memory, the order of the groups that compute tiles,
// its input and the first of the three convolutions.
#pragma once

#include "half8.cuh"
#include "launch.cuh"
#include "mma.cuh"
#include "shared_address.cuh"

struct StemParams {
    const __half* input;
    __half* out;
    const __half* weights;
    const float* constants;
    int height, width;
    int mid_height, mid_width;
    int out_height, out_width;
    int tiles_x, tiles;
    int halves;  // of the tiles after those, their upper and lower rows in turn: fewer than all groups
};

constexpr int CHANNELS = 32;
constexpr int COLUMNS = 16;
constexpr int WEIGHTS = (48 + 288 + 288) * CHANNELS;
constexpr int CONSTANTS = 9 * CHANNELS;

constexpr int WARPS = 4;
constexpr int GROUP_THREADS = WARPS * 32;

template <int STRIDE_, int ROWS_, int GROUPS_>
struct Tile {
    static constexpr int STRIDE = STRIDE_, ROWS = ROWS_, GROUPS = GROUPS_;
    static constexpr int THREADS = GROUPS * GROUP_THREADS;
    static constexpr int H1 = 2 * ROWS + 1, W1 = 2 * COLUMNS + 1;
    static constexpr int H0 = H1 + 2, W0 = W1 + 2;
    // One column more than the taps reach on the right, the fragments' fourth column, and one on the
    // left, so that pairs of pixels are copied as they lie in rows of even length.
    static constexpr int IN_H = STRIDE * (H0 - 1) + 3, IN_W = (STRIDE * (W0 - 1) + 5 + 1) / 2 * 2;
    // mid1 lies with its even columns first, so that a stride of 2 reads neighbours.
    static constexpr int ODD = 20, PITCH1 = 36;
    static constexpr int MID_HALFS = (H0 * W0 > H1 * PITCH1 ? H0 * W0 : H1 * PITCH1) * CHANNELS;
    static constexpr int IN_HALFS = IN_H * IN_W * 4;
};

// The groups take turns with the second convolution, in the order of their tiles: together they would
// all wait for the tensor cores, and then leave them idle together.
template <class T>
__device__ __forceinline__ void wait_for_turn(int group) {
    if (T::GROUPS == 1) return;
    asm volatile("bar.sync %0, %1;" ::"r"(8 + group), "n"(2 * GROUP_THREADS) : "memory");
}

template <class T>
__device__ __forceinline__ void end_turn(int group) {
    if (T::GROUPS == 1) return;
    int next = group + 1 == T::GROUPS ? 0 : group + 1;
    asm volatile("bar.arrive %0, %1;" ::"r"(8 + next), "n"(2 * GROUP_THREADS) : "memory");
}

// The threads of a group meet.
__device__ __forceinline__ void meet(int group) {
    asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "n"(GROUP_THREADS) : "memory");
}

// Copies 8 bytes from global to shared memory in the background, or zeros.
__device__ __forceinline__ void copy_async_8(void* shared, const void* global, bool valid) {
    unsigned address = shared_address(shared);
    int bytes = valid ? 8 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(address), "l"(global),
                 "r"(bytes)
                 : "memory");
}

// The eight-channel group of a pixel lies at another of its four places by column, so that eight
// neighbours, of pixels that lie an odd number apart in each row, are in different banks. In bytes.
__device__ __forceinline__ unsigned place(int group, int column) {
    return static_cast<unsigned>((group ^ (column >> 1)) & 3) * 16;
}

// PReLU; `less` is the slope less one.
__device__ __forceinline__ float prelu_less(float x, float less) { return fmaf(fminf(x, 0.f), less, x); }

// The same of two values in f16.
__device__ __forceinline__ unsigned packed_prelu(float a, float b, __half2 less) {
    __half2 x = __floats2half2_rn(a, b);
    x = __hfma2(__hmin2(x, __half2half2(__ushort_as_half(0))), less, x);
    return *reinterpret_cast<unsigned*>(&x);
}

__device__ __forceinline__ float2 pair_at(const float* values) {
    return *reinterpret_cast<const float2*>(values);
}

// A bias as the C operand of N groups of 8 channels.
template <int N>
__device__ __forceinline__ void load_bias(float (&bias)[N][4], const float* constants) {
#pragma unroll
    for (int n = 0; n < N; n++) {
        float2 b = pair_at(constants + n * 8 + threadIdx.x % 4 * 2);
        bias[n][0] = bias[n][2] = b.x;
        bias[n][1] = bias[n][3] = b.y;
    }
}

__device__ __forceinline__ bool is_inside(int y, int x, int height, int width) {
    return static_cast<unsigned>(y) < static_cast<unsigned>(height) &&
           static_cast<unsigned>(x) < static_cast<unsigned>(width);
}

// Pixel i of the 64 that the last row and column are dealt out as: two of the column in eight, since
// more would meet in a bank.
template <class T>
__device__ __forceinline__ void border_pixel(int i, int& y, int& x) {
    int group = i / 8, of_8 = i % 8;
    x = group == 0 && of_8 > 5 ? 1 : group * 4 + min(of_8, 5);
    if (x == T::W1) x = 0;
    y = T::H1 - 1;
    if (of_8 < 2) {
        x = T::W1 - 1;
        y = min(group * 2 + of_8, T::H1 - 2);
    }
}

template <class T>
__device__ __forceinline__ void load_input(const StemParams& p, __half* in, int thread, int2 tile) {
    int top = T::STRIDE * (2 * T::ROWS * tile.y - 2) - 1;
    int left = T::STRIDE * (2 * COLUMNS * tile.x - 2) - 2;
    const __half* corner = p.input + (static_cast<long long>(top) * p.width + left) * 4;
    int lane = thread % 32;
    if (p.width % 2 == 0) {
#pragma unroll 2
        for (int row = thread / 32; row < T::IN_H; row += WARPS) {
            bool is_row = static_cast<unsigned>(top + row) < static_cast<unsigned>(p.height);
            const __half* from = corner + static_cast<long long>(row) * p.width * 4;
#pragma unroll
            for (int pair = 0; pair < T::IN_W / 2; pair += 32) {
                int x = (pair + lane) * 2;
                bool inside = is_row && static_cast<unsigned>(left + x) < static_cast<unsigned>(p.width);
                if (x >= T::IN_W) continue;
                const __half* pixels = inside ? from + x * 4 : p.input;
                copy_async_16(in + (row * T::IN_W + x) * 4, pixels, inside);
            }
        }
        return;
    }
#pragma unroll 1
    for (int i = thread; i < T::IN_H * T::IN_W; i += GROUP_THREADS) {
        int y = i / T::IN_W, x = i % T::IN_W;
        bool inside = is_inside(top + y, left + x, p.height, p.width);
        long long place = inside ? (static_cast<long long>(y) * p.width + x) * 4 : 0;
        copy_async_8(in + i * 4, inside ? corner + place : p.input, inside);
    }
}

// Sets the pixels of a tile that lie outside of the map to zero. `pitch` in pixels; the tile's corner
// lies at (top, left). The group has met before, and meets after.
template <class Slot>
__device__ __forceinline__ void clear_outside(const StemParams& p, __half* mid, int group, int thread,
                                              int top, int left, int height, int width, int pitch,
                                              Slot slot) {
    if (top >= 0 && left >= 0 && top + height <= p.mid_height && left + width <= p.mid_width) return;
#pragma unroll 1
    for (int i = thread; i < height * width; i += GROUP_THREADS) {
        int y = i / width, x = i % width;
        if (is_inside(top + y, left + x, p.mid_height, p.mid_width)) continue;
        float4* pixel = reinterpret_cast<float4*>(mid + (y * pitch + slot(x)) * CHANNELS);
#pragma unroll
        for (int j = 0; j < 4; j++) pixel[j] = make_float4(0.f, 0.f, 0.f, 0.f);
    }
    meet(group);
}

template <int VALUE_>
struct Count {
    static constexpr int VALUE = VALUE_;
};

// The row of a pixel of the first convolution's tile.
template <class T>
__device__ __forceinline__ unsigned row_of(unsigned pixel) {
    static_assert(T::W0 == 35 && T::H0 <= 35, "the reciprocal is exact so far");
    return pixel * 1873 >> 16;
}

template <class T>
__device__ __forceinline__ void first_convolution(unsigned in, unsigned mid, const __half* weights,
                                                  const float* constants, int warp) {
    constexpr int PIXELS = T::H0 * T::W0, TILES = (PIXELS + 15) / 16, ROW = T::IN_W * 8;
    const float nothing[4] = {0.f, 0.f, 0.f, 0.f};
    int lane = threadIdx.x % 32, t = lane % 4;
    uint2 b[3][4];
    __half2 less[4];
#pragma unroll
    for (int n = 0; n < 4; n++) {
#pragma unroll
        for (int k = 0; k < 3; k++) {
            b[k][n] = reinterpret_cast<const uint2*>(weights)[(k * 4 + n) * 32 + lane];
        }
        less[n] = __float22half2_rn(pair_at(constants + 32 + n * 8 + t * 2));
    }
    in += 8 + t * 4; // past the column that no tap reaches
    // Tiles of 16 pixels: several at once, so that one's latencies pass beside another's work. Those past
    // the end repeat the last pixel.
    auto convolve = [&](int tile, auto count) {
        constexpr int AT_ONCE = decltype(count)::VALUE;
        unsigned from[AT_ONCE][2];
        float sums[AT_ONCE][4][4];
#pragma unroll
        for (int j = 0; j < 2 * AT_ONCE; j++) {
            unsigned pixel = min(tile * 16 + lane / 4 + 8 * j, PIXELS - 1);
            unsigned gap = row_of<T>(pixel) * (T::IN_W - T::W0);
            from[j / 2][j % 2] = in + (pixel + gap) * T::STRIDE * 8;
        }
#pragma unroll
        for (int k = 0; k < 3; k++) {
            FragmentA a[AT_ONCE];
#pragma unroll
            for (int j = 0; j < AT_ONCE; j++) {
                a[j] = {load_word_at(from[j][0] + k * ROW), load_word_at(from[j][1] + k * ROW),
                        load_word_at(from[j][0] + k * ROW + 16), load_word_at(from[j][1] + k * ROW + 16)};
                if (k == 0 && t == 2) a[j].r[2] = a[j].r[3] = 0x3c003c00; // ones, for the bias
            }
#pragma unroll
            for (int j = 0; j < AT_ONCE; j++) {
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    if (k == 0) mma_from(sums[j][n], a[j], b[k][n], nothing);
                    else mma(sums[j][n], a[j], b[k][n]);
                }
            }
        }
#pragma unroll
        for (int j = 0; j < 2 * AT_ONCE; j++) {
            unsigned pixel = min(tile * 16 + lane % 8 + 8 * j, PIXELS - 1);
            unsigned values[4];
#pragma unroll
            for (int n = 0; n < 4; n++) {
                const float* sum = &sums[j / 2][n][2 * (j % 2)];
                values[n] = packed_prelu(sum[0], sum[1], less[n]);
            }
            unsigned column = pixel - row_of<T>(pixel) * T::W0;
            store_matrices(mid + pixel * 64 + place(lane / 8, column), values);
        }
    };
    constexpr int OF_WARP = (TILES + WARPS - 1) / WARPS, REST = OF_WARP % 4;
    int tile = warp * OF_WARP;
#pragma unroll 1
    for (int i = 0; i < OF_WARP / 4; i++, tile += 4) convolve(tile, Count<4>{});
    if constexpr (REST > 0) convolve(tile, Count<REST>{});
}
