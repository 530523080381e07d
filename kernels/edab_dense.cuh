// EDAB's dense step: what joins one block to the next (eqs 1-4 of the paper, src/network/edab.rs).
//
//   m = prelu(mid(u + ca * l + sigmoid(Wh rows + Ww columns) * g)),  x' = x + expand(m)      of block i
//   u' = prelu(up2(prelu(up1(reduce(prelu(pre(x')))))))                                      of block i+1
//
// The first step of a stage has no block before it (x' = x), the last none after it (out = prelu(pre(x'))).
//
// Maps are f16, channel-blocked: x, x_out [C/8, H, W, 8]; u, l, g, u_out [C/16, H, W, 8]. In parts to be
// added up: f16 row_means [row_parts, H, C/2] and column_means [column_parts, W, C/2], f32 local_sums
// [local_parts, C/2] (kernels/edab_depthwise.cuh writes them). x_out and u_out are other maps than x and u:
// neighbours read those beyond their tile.
//
// A tile is TH x TW pixels; x' is computed one pixel around them too, for up1 and up2. Products run on the
// tensor cores with f32 sums, means and the residual in f32; each intermediate is rounded to f16 once, in
// shared memory, and activations and gates are computed in f16. Pixels outside the map are zero before up1
// and up2, as their padding is. Limits: H, W >= 1, C of 16, 64, 128.
#pragma once
#include "edab_weights.cuh"
#include "half8.cuh"
#include "launch.cuh"
#include "mma.cuh"

struct EdabTrunk {
    const __half* x;
    const __half* u;
    const __half* l;
    const __half* g;
    const __half* row_means;
    const __half* column_means;
    const float* local_sums;
    __half* x_out;
    __half* u_out;
    int height, width;
    int row_parts, column_parts, local_parts;
    bool joins, begins;  // whether a block ends, and one begins
};

// How a tile lies in shared memory. Rows of channels are padded by 8 halfs against bank conflicts.
template <int C, int TH, int TW>
struct EdabTile {
    static constexpr int h = C / 2;
    static constexpr int rows = TH + 2, columns = TW + 2;
    static constexpr int pixels = rows * columns, padded = up_to(pixels, 16), strip = TH * columns;
    static constexpr int wide = C + 8, narrow = h + 8;
    static constexpr int gate_rows = up_to(rows, 16), gate_columns = up_to(columns, 16);

    static constexpr int x = 0;
    // m, then r in its place; u1 is what lies between up1 and up2.
    static constexpr int m = x + padded * wide * 2;
    static constexpr int u1 = m + padded * narrow * 2;
    static constexpr int means = u1 + strip * narrow * 2;
    static constexpr int gates = means + (gate_rows + gate_columns) * narrow * 2;
    static constexpr int gains = gates + (gate_rows + gate_columns) * narrow * 2;
    static constexpr int local_means = gains + up_to(h * 2, 16);
    static constexpr int bytes = local_means + h * 4;
};

// Sums of warp tiles: MT x NT tiles of 16x8 over KT steps of 16, spread over WM x (WARPS / WM) warps, from
// `bias` [8 NT] on. MT is rounded up to whole shares, so that no warp branches between its products. `a_at(m_tile, k)` is this lane's address for one step;
// `store(row, column, values, parameters)` gets two columns of one row, and what `parameters_of(column)`
// gave for them once.
template <int WARPS, int MT, int NT, int KT, int WM, typename A, typename Parameters, typename Store>
__device__ __forceinline__ void product(const unsigned char* fragments, const float* bias, A a_at,
                                        Parameters parameters_of, Store store) {
    constexpr int WN = WARPS / WM;
    static_assert(NT % WN == 0, "columns must divide among the warps");
    constexpr int M = (MT + WM - 1) / WM, N = NT / WN;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int wm = warp / WN, wn = warp % WN;
    const uint2* b = reinterpret_cast<const uint2*>(fragments) + wn * N * 32 + lane;
    float d[M][N][4];
#pragma unroll
    for (int j = 0; j < N; j++) {
        float2 start = *reinterpret_cast<const float2*>(bias + (wn * N + j) * 8 + lane % 4 * 2);
#pragma unroll
        for (int i = 0; i < M; i++) {
            d[i][j][0] = d[i][j][2] = start.x;
            d[i][j][1] = d[i][j][3] = start.y;
        }
    }
#pragma unroll
    for (int k = 0; k < KT; k++) {
        FragmentA a[M];
        uint2 columns[N];
#pragma unroll
        for (int i = 0; i < M; i++) a[i] = load_a(a_at(wm + i * WM, k));
#pragma unroll
        for (int j = 0; j < N; j++) columns[j] = b[(k * NT + j) * 32];
#pragma unroll
        for (int j = 0; j < N; j++) {
#pragma unroll
            for (int i = 0; i < M; i++) mma(d[i][j], a[i], columns[j]);
        }
    }
#pragma unroll
    for (int j = 0; j < N; j++) {
        int column = (wn * N + j) * 8 + lane % 4 * 2;
        auto parameters = parameters_of(column);
#pragma unroll
        for (int i = 0; i < M; i++) {
            int row = (wm + i * WM) * 16 + lane / 4;
            store(row, column, make_float2(d[i][j][0], d[i][j][1]), parameters);
            store(row + 8, column, make_float2(d[i][j][2], d[i][j][3]), parameters);
        }
    }
}

__device__ __forceinline__ float4 operator+(float4 a, float4 b) {
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

__device__ __forceinline__ float4 operator*(float4 a, float b) {
    return make_float4(a.x * b, a.y * b, a.z * b, a.w * b);
}

// Eight channels of a map, past the first-level cache, which may hold what was there before.
__device__ __forceinline__ Half8 half8_fetch(const __half* map, size_t at) {
    uint4 word = __ldcg(reinterpret_cast<const uint4*>(map) + at);
    return *reinterpret_cast<Half8*>(&word);
}

// Adds to `sum` every `step`th of `count` parts of eight channels that lie `stride` apart, from part `first`
// on. Eight loads are under way together, since each takes as long as hundreds of instructions.
__device__ __forceinline__ void add_parts(float (&sum)[8], const __half* parts, int first, int step, int count,
                                          size_t stride) {
    for (; first < count; first += 8 * step) {
        Half8 some[8];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int part = first + i * step;
            some[i] = part < count ? half8_fetch(parts + part * stride, 0) : half8_zero();
        }
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float part[8];
            floats_from_half8(part, some[i]);
#pragma unroll
            for (int c = 0; c < 8; c++) sum[c] += part[c];
        }
    }
}

__device__ __forceinline__ __half2 half2_at(const __half* values, int channel) {
    return *reinterpret_cast<const __half2*>(values + channel);
}

__device__ __forceinline__ Half8 half8_at(const __half* values, int channel) {
    return *reinterpret_cast<const Half8*>(values + channel);
}

// prelu(scale * x + shift) of eight channels from `channel` on; `act` holds scale, shift, slope [n].
__device__ __forceinline__ Half8 activated(const Half8& x, const __half* act, int n, int channel) {
    Half8 scale = half8_at(act, channel), shift = half8_at(act + n, channel), slope = half8_at(act + 2 * n, channel);
    Half8 out;
#pragma unroll
    for (int i = 0; i < 4; i++) out.v[i] = prelu2(__hfma2(x.v[i], scale.v[i], shift.v[i]), slope.v[i]);
    return out;
}

// One block's work on one tile after the other: `begin`, then `run`.
template <int C, int TH, int TW, int WARPS>
struct EdabDense {
    using T = EdabTile<C, TH, TW>;
    using W = EdabWeights<C>;
    static constexpr int THREADS = WARPS * 32;
    static constexpr int h = C / 2, H8 = h / 8, C8 = C / 8;
    // Each thread has one pixel, and a share of its channels.
    static constexpr int SLOTS = T::padded <= 64 ? 64 : T::padded <= 128 ? 128 : 256, SHARES = THREADS / SLOTS;
    static constexpr int ITEMS = (H8 + SHARES - 1) / SHARES;
    static_assert(SLOTS >= T::padded && SHARES >= 1, "a thread for each pixel");

    int y0, x0, pixel, share, at;
    bool inside, is_whole;
    Half8 u[ITEMS];

    __device__ __forceinline__ void load(Half8 (&to)[ITEMS], const __half* map, int plane) {
#pragma unroll
        for (int n = 0; n < ITEMS; n++) {
            int block = share + n * SHARES;
            to[n] = half8_zero();
            if (inside && block < H8) to[n] = half8_fetch(map, size_t(block) * plane + at);
        }
    }

    // Lets x and u of this tile come, which other blocks wrote a barrier of the grid ago.
    __device__ __forceinline__ void begin(const EdabTrunk& p, int tile, unsigned char* shared) {
        const int tiles_x = (p.width + TW - 1) / TW;
        y0 = tile / tiles_x * TH - 1, x0 = tile % tiles_x * TW - 1;
        is_whole = y0 >= 0 && x0 >= 0 && y0 + T::rows <= p.height && x0 + T::columns <= p.width;
        pixel = threadIdx.x % SLOTS, share = threadIdx.x / SLOTS;
        int y = y0 + pixel / T::columns, x = x0 + pixel % T::columns;
        inside = pixel < T::pixels && y >= 0 && y < p.height && x >= 0 && x < p.width;
        at = inside ? y * p.width + x : 0;
        const int plane = p.height * p.width;
        if (pixel < T::padded) {
            __half* xs = reinterpret_cast<__half*>(shared + T::x);
#pragma unroll
            for (int block = share; block < C8; block += SHARES) {
                const __half* from = p.x + (size_t(block) * plane + at) * 8;
                copy_async_16(xs + pixel * T::wide + block * 8, from, inside);
            }
        }
        copy_async_commit();
        if (p.joins) load(u, p.u, plane);
    }

    // `weights` as EdabWeights tells, there once `await_weights` and a barrier of the block after it are
    // through.
    template <typename Await>
    __device__ __forceinline__ void run(const EdabTrunk& p, const unsigned char* weights, unsigned char* shared,
                                        Await await_weights) {
        const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
        const int plane = p.height * p.width;
        __half* xs = reinterpret_cast<__half*>(shared + T::x);
        __half* ms = reinterpret_cast<__half*>(shared + T::m);
        if (p.joins) {
            join(p, weights, shared, await_weights);
        } else {
            for (int i = tid; i < T::padded * T::narrow / 8; i += THREADS) reinterpret_cast<Half8*>(ms)[i] = half8_zero();
            copy_async_wait<0>();
            await_weights();
        }
        __syncthreads();

        // x' = x + expand(m), what follows it, and r = reduce of that: each warp takes 16 pixels from m to r,
        // 16 channels of x' at a time, in registers. r is zero outside the map.
        const __half2 zero = __half2half2(__ushort_as_half(0));
        __half* rs = ms;
        const __half* pre = reinterpret_cast<const __half*>(weights + W::pre);
        for (int tile = warp; tile < T::padded / 16; tile += WARPS) {
            // This lane's pixels are `row` and `row + 8`.
            const int row = tile * 16 + lane / 4;
            bool here[2], stores[2];
            Half8* x_out[2];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                int r = (row + 8 * i) / T::columns, c = (row + 8 * i) % T::columns;
                int y = y0 + r, x = x0 + c;
                here[i] = row + 8 * i < T::pixels && y >= 0 && y < p.height && x >= 0 && x < p.width;
                stores[i] = p.joins && here[i] && r >= 1 && r < TH + 1 && c >= 1 && c < TW + 1;
                x_out[i] = reinterpret_cast<Half8*>(p.x_out) + y * p.width + x;
            }
            FragmentA m[W::k_h];
            const __half* m_row = ms + (tile * 16 + lane % 16) * T::narrow + (H8 == 1 ? 0 : lane / 16 * 8);
#pragma unroll
            for (int k = 0; k < W::k_h; k++) m[k] = load_a(m_row + k * 16);
            float r[H8][4] = {};
            constexpr int TOGETHER = C == 16 ? 2 : 4;  // blocks of 8 channels whose sums are under way together
#pragma unroll
            for (int first = 0; first < C8; first += TOGETHER) {
                float d[TOGETHER][4] = {};
                const uint2* b = reinterpret_cast<const uint2*>(weights + W::expand) + first * 32 + lane;
#pragma unroll
                for (int k = 0; k < W::k_h; k++) {
#pragma unroll
                    for (int n = 0; n < TOGETHER; n++) mma(d[n], m[k], b[(k * C8 + n) * 32]);
                }
                FragmentA next[TOGETHER / 2];
#pragma unroll
                for (int n = 0; n < TOGETHER; n++) {
                    const int block = first + n, c = block * 8 + lane % 4 * 2;
                    __half2 scale = half2_at(pre, c), shift = half2_at(pre + C, c), slope = half2_at(pre + 2 * C, c);
#pragma unroll
                    for (int i = 0; i < 2; i++) {
                        float2 x = __half22float2(half2_at(xs + (row + 8 * i) * T::wide, c));
                        __half2 sum = __floats2half2_rn(x.x + d[n][2 * i], x.y + d[n][2 * i + 1]);
                        __half2 value = prelu2(__hfma2(sum, scale, shift), slope);
                        next[n / 2].r[n % 2 * 2 + i] = *reinterpret_cast<unsigned*>(&value);
                        if (stores[i]) x_out[i][size_t(block) * plane].v[lane % 4] = p.begins ? sum : value;
                    }
                }
                const uint2* c = reinterpret_cast<const uint2*>(weights + W::reduce) + first / 2 * H8 * 32 + lane;
#pragma unroll
                for (int k = 0; k < TOGETHER / 2; k++) {
#pragma unroll
                    for (int j = 0; j < H8; j++) mma(r[j], next[k], c[(k * H8 + j) * 32]);
                }
            }
            // The warp's own rows: all of it has read m.
            __syncwarp();
#pragma unroll
            for (int j = 0; j < H8; j++) {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    __half2 value = here[i] ? __floats2half2_rn(r[j][2 * i], r[j][2 * i + 1]) : zero;
                    *reinterpret_cast<__half2*>(rs + (row + 8 * i) * T::narrow + j * 8 + lane % 4 * 2) = value;
                }
            }
        }
        __syncthreads();
        if (!p.begins) return;

        constexpr int WM = C == 16 ? 8 : C == 64 ? 4 : 2;
        // up1: a tap is a row further down
        __half* us = reinterpret_cast<__half*>(shared + T::u1);
        static_assert(T::strip % 16 == 0 && TH * TW % 16 == 0, "strips are whole tiles");
        const float* bias = reinterpret_cast<const float*>(weights + W::bias);
        const __half* slope = reinterpret_cast<const __half*>(weights + W::slope);
        // With h = 8 a step holds two taps (the fourth meets zero weights), else a part of one.
        auto tap_of = [&](int k) { return H8 == 1 ? min(2 * k + lane / 16, 2) : 2 * k / H8; };
        auto part_of = [&](int k) { return H8 == 1 ? 0 : 2 * k % H8 * 8; };
        const __half* r_row = rs + lane % 16 * T::narrow + (H8 == 1 ? 0 : lane / 16 * 8);
        // What rounds the tiles up to whole shares is read again from the last: past the strip lies u1,
        // which other warps write meanwhile.
        auto r_at = [&](int tile, int k) {
            int row = min(tile, T::strip / 16 - 1) * 16 + tap_of(k) * T::columns;
            return r_row + row * T::narrow + part_of(k);
        };
        product<WARPS, T::strip / 16, H8, W::k_strip, WM>(
            weights + W::up1, bias, r_at, [&](int c) { return half2_at(slope, c); },
            [&](int row, int c, float2 d, __half2 slope) {
                __half2 value = prelu2(__floats2half2_rn(d.x, d.y), slope);
                if (!is_whole) {
                    int x = x0 + row % T::columns;
                    if (x < 0 || x >= p.width) value = zero;
                }
                if (row < T::strip) *reinterpret_cast<__half2*>(us + row * T::narrow + c) = value;
            });
        __syncthreads();
        // up2: a tap is a column further right
        const __half* u_row = us + (H8 == 1 ? 0 : lane / 16 * 8);
        auto u_at = [&](int tile, int k) {
            int i = tile * 16 + lane % 16;
            return u_row + (i / TW * T::columns + i % TW + tap_of(k)) * T::narrow + part_of(k);
        };
        product<WARPS, TH * TW / 16, H8, W::k_strip, WM>(
            weights + W::up2, bias + h, u_at, [&](int c) { return half2_at(slope + h, c); },
            [&](int i, int c, float2 d, __half2 slope) {
                int y = y0 + 1 + i / TW, x = x0 + 1 + i % TW;
                if (i < TH * TW && (is_whole || (y < p.height && x < p.width))) {
                    __half2 value = prelu2(__floats2half2_rn(d.x, d.y), slope);
                    int to = (c / 8 * plane + y * p.width + x) * 8 + c % 8;
                    *reinterpret_cast<__half2*>(p.u_out + to) = value;
                }
            });
    }

  private:
    // m, into shared memory.
    template <typename Await>
    __device__ __forceinline__ void join(const EdabTrunk& p, const unsigned char* weights, unsigned char* shared,
                                         Await await_weights) {
        const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
        const int plane = p.height * p.width;
        __half* ms = reinterpret_cast<__half*>(shared + T::m);
        // u, l and g wait in registers until the gates are known.
        Half8 l[ITEMS], g[ITEMS];
        load(l, p.l, plane);
        load(g, p.g, plane);
        // Means of this tile's rows and columns, and of each local channel.
        __half* means = reinterpret_cast<__half*>(shared + T::means);
        __half* gates = reinterpret_cast<__half*>(shared + T::gates);
        __half* gains = reinterpret_cast<__half*>(shared + T::gains);
        float* local_means = reinterpret_cast<float*>(shared + T::local_means);
        constexpr int QUADS = h / 4, LOCAL = (QUADS + WARPS - 1) / WARPS;
        float4 local[LOCAL];
#pragma unroll
        for (int n = 0; n < LOCAL; n++) {
            int quad = warp + n * WARPS;
            const float4* from = reinterpret_cast<const float4*>(p.local_sums) + quad;
            // The first is not added to anything: nothing waits for it here.
            local[n] = make_float4(0.f, 0.f, 0.f, 0.f);
            if (lane < p.local_parts && quad < QUADS) local[n] = __ldcg(from + lane * QUADS);
            for (int part = lane + 32; part < p.local_parts && quad < QUADS; part += 32) {
                local[n] = local[n] + __ldcg(from + part * QUADS);
            }
        }
        // Two threads share a column's parts, so that all of them are on their way at once.
        constexpr int SHARED = 2 * T::columns * H8, LINES = SHARED + T::rows * H8;
        for (int i = tid; i < up_to(LINES, 32); i += THREADS) {
            const bool is_row = i >= SHARED;
            const int item = is_row ? i - SHARED : i / 2, line = item / H8, block = item % H8;
            const int from = (is_row ? y0 : x0) + line, length = is_row ? p.height : p.width;
            float sum[8] = {};
            if (i < LINES && from >= 0 && from < length) {
                const __half* parts = (is_row ? p.row_means : p.column_means) + from * h + block * 8;
                int first = is_row ? 0 : i % 2, step = is_row ? 1 : 2;
                add_parts(sum, parts, first, step, is_row ? p.row_parts : p.column_parts, size_t(length) * h);
            }
#pragma unroll
            for (int c = 0; c < 8; c++) {
                float other = __shfl_xor_sync(~0u, sum[c], 1);
                if (!is_row) sum[c] += other;
            }
            if (i < LINES && (is_row || i % 2 == 0)) {
                int row = is_row ? line : T::gate_rows + line;
                *reinterpret_cast<Half8*>(means + row * T::narrow + block * 8) = half8_from_floats(sum);
            }
        }
#pragma unroll
        for (int n = 0; n < LOCAL; n++) {
            float4 sum = local[n];
#pragma unroll
            for (int step = 16; step > 0; step /= 2) {
                sum.x += __shfl_xor_sync(~0u, sum.x, step);
                sum.y += __shfl_xor_sync(~0u, sum.y, step);
                sum.z += __shfl_xor_sync(~0u, sum.z, step);
                sum.w += __shfl_xor_sync(~0u, sum.w, step);
            }
            int quad = warp + n * WARPS;
            if (lane == 0 && quad < QUADS) {
                reinterpret_cast<float4*>(local_means)[quad] = sum * (1.f / float(plane));
            }
        }
        copy_async_wait<0>();
        await_weights();
        __syncthreads();
        // CA's gains from the local means; DDA's gates from the others.
        if (tid < h) {
            const float* tap = reinterpret_cast<const float*>(weights + W::ca);
            float before = tid > 0 ? local_means[tid - 1] : 0.f;
            float after = tid + 1 < h ? local_means[tid + 1] : 0.f;
            gains[tid] = __float2half_rn(sigmoid(tap[0] * before + tap[1] * local_means[tid] + tap[2] * after));
        }
        constexpr int GT = (T::gate_rows + T::gate_columns) / 16;
        for (int tile = warp; tile < GT * H8; tile += WARPS) {
            int line = tile / H8, column = tile % H8;
            const unsigned char* fragments = weights + (line < T::gate_rows / 16 ? W::row_gate : W::column_gate);
            const __half* row = means + (line * 16 + lane % 16) * T::narrow;
            float d[4] = {};
#pragma unroll
            for (int k = 0; k < W::k_h; k++) {
                int chunk = H8 == 1 ? 0 : 2 * k + lane / 16;
                uint2 b = reinterpret_cast<const uint2*>(fragments)[(k * H8 + column) * 32 + lane];
                mma(d, load_a(row + chunk * 8), b);
            }
            __half* to = gates + (line * 16 + lane / 4) * T::narrow + column * 8 + lane % 4 * 2;
            *reinterpret_cast<__half2*>(to) = __floats2half2_rn(d[0], d[1]);
            *reinterpret_cast<__half2*>(to + 8 * T::narrow) = __floats2half2_rn(d[2], d[3]);
        }
        __syncthreads();
        const __half* mid = reinterpret_cast<const __half*>(weights + W::mid);
        if (pixel < T::padded) {
            const __half* row = gates + min(pixel / T::columns, T::rows - 1) * T::narrow;
            const __half* column = gates + (T::gate_rows + pixel % T::columns) * T::narrow;
#pragma unroll
            for (int n = 0; n < ITEMS; n++) {
                int block = share + n * SHARES;
                if (block < H8) {
                    Half8 a = half8_at(row, block * 8), b = half8_at(column, block * 8);
                    Half8 gain = half8_at(gains, block * 8), sum;
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        __half2 gate = sigmoid2(__hadd2(a.v[i], b.v[i]));
                        sum.v[i] = __hfma2(gate, g[n].v[i], __hfma2(gain.v[i], l[n].v[i], u[n].v[i]));
                    }
                    Half8 m = activated(sum, mid, h, block * 8);
                    *reinterpret_cast<Half8*>(ms + pixel * T::narrow + block * 8) = m;
                }
            }
        }
    }
};
