// The stem: three 3x3 convolutions and four PReLUs in one pass over tiles that stay in shared memory.
//
//   mid0 = prelu(conv3x3(input, stride s) + b0), mid1 = prelu(conv3x3(mid0) + b1)
//   out  = prelu(scale * prelu(conv3x3(mid1, stride 2) + b2) + shift)
//
//   input      [h, w, 4] f16, the fourth channel 0
//   out        [4, h2, w2, 8] f16; h0 = ceil(h / s), h2 = ceil(h0 / 2), widths alike
//   weights    B fragments of the three convolutions, one after the other: K = 48 (row, four columns,
//              four channels), 288 and 288 (tap, channel); N = 32. Of the first, the fourth channel and
//              column weigh 0, but that the first row's first pair there is the bias in two parts.
//   constants  f32 [9, 32]: bias and slope of each convolution, then scale, shift and slope; slopes are
//              less one
//
// A block is GROUPS groups of four warps that share the weights; each computes tiles of ROWS x 16 outputs
// on its own, so that one's products run beside another's stores; the tiles of a last round that would leave
// most groups idle come in halves. The first convolution's tile lies in
// shared memory with a border of two, the second's is held in registers until the first's has been read,
// and then takes its place. What lies outside of the map is set to zero in both.
// Second convolution: a warp owns ROWS rows of 16 pixels and loads each row of pixels once for the three
// kernel rows that read it; the tile's last row and column are dealt out over the warps as well. Third:
// a warp owns ROWS / 2 rows of 16 pixels, half of the channels. Sums are f32, what lies between the
// convolutions is f16. Limits: sizes of at most 2^15.
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

// What a group has in shared memory: the block's weights, and its own tiles.
struct Shared {
    const __half* weights;
    const float* constants;
    __half *mid, *in;
};

// The tile at `at`, whose input has arrived; `load_next` starts copying that of the next one once it may.
template <class T, class Load>
__device__ __forceinline__ void convolve(const StemParams& p, const Shared& shared, int group, int thread, int2 at,
                                         Load load_next) {
    constexpr int M = T::ROWS, M2 = T::ROWS / 2, N2 = 2;
    const __half* weights = shared.weights;
    const float* constants = shared.constants;
    __half* mid = shared.mid;
    int lane = thread % 32, warp = thread / 32, g = lane / 4, t = lane % 4;
    int of_16 = lane % 16, upper = lane / 16, matrix = lane / 8, of_8 = lane % 8;
    unsigned in_address = shared_address(shared.in), mid_address = shared_address(mid);
    const uint2* weights1 = reinterpret_cast<const uint2*>(weights + 48 * CHANNELS) + lane;
    const uint2* weights2 = reinterpret_cast<const uint2*>(weights + (48 + 288) * CHANNELS) + lane;
    int first_row = warp / 2 * M, first_column = warp % 2 * 16;
    int row2 = warp / 2 * M2, n2 = warp % 2 * N2;
    // Where channel group n of a pixel of mid1 lies.
    auto address1 = [&](int y, int x, int n) {
        int slot = (x & 1) * T::ODD + (x >> 1);
        return mid_address + (y * T::PITCH1 + slot) * 64 + place(n, slot);
    };
    int out_top = T::ROWS * at.y, out_left = COLUMNS * at.x;
    int top = 2 * out_top - 1, left = 2 * out_left - 1;
    first_convolution<T>(in_address, mid_address, weights, constants, warp);
    meet(group);
    clear_outside(p, mid, group, thread, top - 1, left - 1, T::H0, T::W0, T::W0,
                  [](int x) { return x; });
    load_next();
    copy_async_commit();

    wait_for_turn<T>(group);
    float sums[M][4][4], border[4][4], bias[4][4];
    load_bias(bias, constants + 64);
    int border_y, border_x;
    border_pixel<T>(warp * 16 + of_16, border_y, border_x);
#pragma unroll
    for (int dx = 0; dx < 3; dx++) {
#pragma unroll
        for (int k = 0; k < 2; k++) {
            uint2 b[3][4];
#pragma unroll
            for (int dy = 0; dy < 3; dy++) {
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    b[dy][n] = weights1[((dy * 3 + dx) * 8 + k * 4 + n) * 32];
                }
            }
            int column = first_column + of_16 + dx;
            unsigned from = mid_address + (first_row * T::W0 + column) * 64;
            from += place(k * 2 + upper, column);
#pragma unroll
            for (int j = 0; j < M + 2; j++) {
                FragmentA a = load_a_at(from + j * T::W0 * 64);
#pragma unroll
                for (int dy = 0; dy < 3; dy++) {
                    if (j - dy < 0 || j - dy >= M) continue;
#pragma unroll
                    for (int n = 0; n < 4; n++) {
                        if (dx + k + dy == 0) mma_from(sums[j][n], a, b[dy][n], bias[n]);
                        else mma(sums[j - dy][n], a, b[dy][n]);
                    }
                }
            }
            column = border_x + dx;
            from = mid_address + (border_y * T::W0 + column) * 64 + place(k * 2 + upper, column);
#pragma unroll
            for (int dy = 0; dy < 3; dy++) {
                FragmentA a = load_a_at(from + dy * T::W0 * 64);
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    if (dx + k + dy == 0) mma_from(border[n], a, b[dy][n], bias[n]);
                    else mma(border[n], a, b[dy][n]);
                }
            }
        }
    }
    end_turn<T>(group);
    meet(group);
    {
        __half2 less[4];
#pragma unroll
        for (int n = 0; n < 4; n++) {
            less[n] = __float22half2_rn(pair_at(constants + 96 + n * 8 + t * 2));
        }
        unsigned values[4];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            unsigned to = address1(first_row, first_column + of_8 + 8 * i, matrix);
#pragma unroll
            for (int j = 0; j < M; j++) {
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    values[n] = packed_prelu(sums[j][n][2 * i], sums[j][n][2 * i + 1], less[n]);
                }
                store_matrices(to + j * T::PITCH1 * 64, values);
            }
            int y, x;
            border_pixel<T>(warp * 16 + of_8 + 8 * i, y, x);
#pragma unroll
            for (int n = 0; n < 4; n++) {
                values[n] = packed_prelu(border[n][2 * i], border[n][2 * i + 1], less[n]);
            }
            store_matrices(address1(y, x, matrix), values);
        }
    }
    meet(group);
    clear_outside(p, mid, group, thread, top, left, T::H1, T::W1, T::PITCH1,
                  [](int x) { return (x & 1) * T::ODD + (x >> 1); });

    float sums2[M2][N2][4], bias2[N2][4];
    load_bias(bias2, constants + 128 + n2 * 8);
#pragma unroll
    for (int dx = 0; dx < 3; dx++) {
        int slot = (dx & 1) * T::ODD + (dx >> 1) + of_16;
#pragma unroll
        for (int k = 0; k < 2; k++) {
            uint2 b[3][N2];
#pragma unroll
            for (int dy = 0; dy < 3; dy++) {
#pragma unroll
                for (int n = 0; n < N2; n++) {
                    b[dy][n] = weights2[(((dy * 3 + dx) * 2 + k) * 4 + n2 + n) * 32];
                }
            }
            unsigned from = mid_address + (2 * row2 * T::PITCH1 + slot) * 64;
            from += place(k * 2 + upper, slot);
#pragma unroll
            for (int j = 0; j < 2 * M2 + 1; j++) {
                FragmentA a = load_a_at(from + j * T::PITCH1 * 64);
#pragma unroll
                for (int i = 0; i < M2; i++) {
                    if (j - 2 * i < 0 || j - 2 * i > 2) continue;
#pragma unroll
                    for (int n = 0; n < N2; n++) {
                        if (dx + k + j - 2 * i == 0) mma_from(sums2[i][n], a, b[0][n], bias2[n]);
                        else mma(sums2[i][n], a, b[j - 2 * i][n]);
                    }
                }
            }
        }
    }
    size_t out_area = static_cast<size_t>(p.out_height) * p.out_width;
    int y = out_top + row2, x = out_left + g;
    __half* out = p.out + (n2 * out_area + static_cast<size_t>(y) * p.out_width + x) * 8 + t * 2;
#pragma unroll
    for (int n = 0; n < N2; n++) {
        const float* of_channels = constants + 160 + (n2 + n) * 8 + t * 2;
        float2 less = pair_at(of_channels), scale = pair_at(of_channels + 32),
               shift = pair_at(of_channels + 64), act_less = pair_at(of_channels + 96);
#pragma unroll
        for (int i = 0; i < 2 * M2; i++) {
            const float* sum = &sums2[i / 2][n][2 * (i % 2)];
            float even = fmaf(prelu_less(sum[0], less.x), scale.x, shift.x);
            float odd = fmaf(prelu_less(sum[1], less.y), scale.y, shift.y);
            even = prelu_less(even, act_less.x);
            odd = prelu_less(odd, act_less.y);
            if (y + i / 2 < p.out_height && x + i % 2 * 8 < p.out_width) {
                __half* to = out + n * out_area * 8 + (i / 2 * p.out_width + i % 2 * 8) * 8;
                *reinterpret_cast<__half2*>(to) = __floats2half2_rn(even, odd);
            }
        }
    }
    copy_async_wait<0>();
    meet(group);
}

template <class T>
__device__ __forceinline__ void stem(const StemParams& p) {
    // Of the last round, where that leaves most groups without a tile.
    using Half = Tile<T::STRIDE, T::ROWS / 2, T::GROUPS>;
    extern __shared__ __align__(16) __half shared[];
    float* constants = reinterpret_cast<float*>(shared + WEIGHTS);
    int group = threadIdx.x / GROUP_THREADS, thread = threadIdx.x % GROUP_THREADS;
    __half* mid = shared + WEIGHTS + CONSTANTS * 2 + group * (T::MID_HALFS + T::IN_HALFS);
    __half* in = mid + T::MID_HALFS;
    Shared of_group = {shared, constants, mid, in};

    copy_async_block(shared, p.weights, WEIGHTS * 2);
    copy_async_block(constants, p.constants, CONSTANTS * 4);
    grid_dependency_release();
    grid_dependency_wait();
    int first = group * gridDim.x + blockIdx.x, step = T::GROUPS * gridDim.x;
    // Places of tiles, and how far the next one lies.
    int2 at = make_int2(first % p.tiles_x, first / p.tiles_x);
    int2 on = make_int2(step % p.tiles_x, step / p.tiles_x);
    int halved = p.tiles + first / 2;
    int2 half_at = make_int2(halved % p.tiles_x, halved / p.tiles_x * 2 + first % 2);
    auto load = [&](int tile) {
        if (tile < p.tiles) load_input<T>(p, in, thread, at);
        else if (T::ROWS > 4 && first < p.halves) load_input<Half>(p, in, thread, half_at);
    };
    load(first);
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
    if (group == T::GROUPS - 1) end_turn<T>(group);

#pragma unroll 1
    for (int tile = first; tile < p.tiles; tile += step) {
        int2 here = at;
        convolve<T>(p, of_group, group, thread, here, [&] {
            at.x += on.x;
            at.y += on.y;
            if (at.x >= p.tiles_x) {
                at.x -= p.tiles_x;
                at.y++;
            }
            load(tile + step);
        });
    }
    if constexpr (T::ROWS > 4) {
        if (first < p.halves) convolve<Half>(p, of_group, group, thread, half_at, [] {});
    }
}

using TileS1 = Tile<1, 8, 2>;
using TileS2 = Tile<2, 8, 2>;
// For cards with 99 KB of shared memory a block.
using TileS1Small = Tile<1, 4, 2>;
using TileS2Small = Tile<2, 4, 1>;

extern "C" __global__ void __launch_bounds__(TileS1::THREADS, 1)
    stem_s1(__grid_constant__ const StemParams p) {
    stem<TileS1>(p);
}

extern "C" __global__ void __launch_bounds__(TileS2::THREADS, 1)
    stem_s2(__grid_constant__ const StemParams p) {
    stem<TileS2>(p);
}

extern "C" __global__ void __launch_bounds__(TileS1Small::THREADS, 1)
    stem_s1_small(__grid_constant__ const StemParams p) {
    stem<TileS1Small>(p);
}

extern "C" __global__ void __launch_bounds__(TileS2Small::THREADS, 1)
    stem_s2_small(__grid_constant__ const StemParams p) {
    stem<TileS2Small>(p);
}
