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
#include "stem_tile.cuh"

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
