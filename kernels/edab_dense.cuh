// EDAB's dense step: what joins one block to the next (eqs 1-4 of the paper, src/network/edab.rs).
//
//   m = prelu(mid(u + ca * l + sigmoid(Wh rows + Ww columns) * g)),  x' = x + expand(m)      of block i
//   u' = prelu(up2(prelu(up1(reduce(prelu(pre(x')))))))                                      of block i+1
//
// The first step of a stage has no block before it (x' = x), the last none after it (out = prelu(pre(x'))).
//
// Maps are f16, channel-blocked: x, x_out [C/8, H, W, 8]; u, l, g, u_out [C/16, H, W, 8]. In parts to be
// added up: f16 row_means [row_parts, H, C/2] and column_means [column_parts, W, C/2]; local_sums [C/2] in
// 2^-16ths (kernels/edab_depthwise.cuh writes them). x_out and u_out are other maps than x and u:
// neighbours read those beyond their tile.
//
// A tile is TH x TW pixels; x' is computed one pixel around them too, for up1 and up2. Products run on the
// tensor cores with f32 sums, means and the residual in f32; each intermediate is rounded to f16 once, in
// shared memory, and activations and gates are computed in f16. Pixels outside the map are zero before up1
// and up2, as their padding is. Limits: H, W >= 1, C of 16, 64, 128.
#pragma once
#include "edab_depthwise.cuh"
#include "edab_weights.cuh"
#include "half8.cuh"
#include "mma.cuh"

struct EdabTrunk {
    const __half* x;
    const Half8* u;
    const Half8* l;
    const Half8* g;
    const __half* row_means;
    const __half* column_means;
    const unsigned long long* local_sums;
    __half* x_out;
    Half8* u_out;
    int height, width;
    float per_pixel;  // 1 / (height * width)
    int row_parts, column_parts;
    bool joins, begins;  // whether a block ends, and one begins
};

// How a tile lies in shared memory, after the weights. Rows of channels are padded by 8 halfs against bank
// conflicts. UP_ROWS x WARPS / UP_ROWS warps share the products of up1 and of up2, by rows and columns: few
// large shares read shared memory less, but what rounds their rows up is computed for nothing.
template <int C, int TH, int TW, int UP_ROWS>
struct EdabTile {
    static constexpr int h = C / 2;
    static constexpr int rows = TH + 2, columns = TW + 2;
    static constexpr int pixels = rows * columns, padded = up_to(pixels, 16), strip = TH * columns;
    static constexpr int narrow = h + 8;
    static constexpr int gate_rows = up_to(rows, 16), gate_columns = up_to(columns, 16);

    // m, then r in its place; u1 is what lies between up1 and up2. up1 reads whole tiles of 16 rows.
    static constexpr int up1_reads = up_to(strip, 16) + 2 * columns;
    static constexpr int m = 0;
    static constexpr int u1 = m + (padded > up1_reads ? padded : up1_reads) * narrow * 2;
    static constexpr int means = u1 + up_to(strip, 16 * UP_ROWS) * narrow * 2;
    static constexpr int gates = means + (gate_rows + gate_columns) * narrow * 2;
    static constexpr int gains = gates + (gate_rows + gate_columns) * narrow * 2;
    static constexpr int local_means = gains + up_to(h * 2, 16);
    static constexpr int bytes = local_means + h * 4;
};

// Sums of warp tiles: MT x NT tiles of 16x8 over KT steps of 16, spread over WM x WN warps, from `bias`
// [8 NT] on. MT is rounded up to whole shares, so that no warp branches between its products. `a_at(m_tile,
// k)` is this lane's address for one step; `store(row, column, values, parameters)` gets two columns of one
// row, and what `parameters_of(column)` gave for them once. What rounds MT up is read again from the last.
template <int MT, int NT, int KT, int WM, int WN, typename A, typename Parameters, typename Store>
__device__ __forceinline__ void product(const unsigned char* fragments, const float* bias, A a_at,
                                        Parameters parameters_of, Store store) {
    static_assert(NT % WN == 0, "columns must divide among the warps");
    constexpr int M = (MT + WM - 1) / WM, N = NT / WN;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int wm = warp / WN, wn = warp % WN;
    if (warp >= WM * WN) return;
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
    // Many steps are rolled up in part: else the compiler runs some of the sums one after the other.
#pragma unroll(KT % 4 == 0 ? 4 : KT)
    for (int k = 0; k < KT; k++) {
        FragmentA a[M];
        uint2 columns[N];
#pragma unroll
        for (int i = 0; i < M; i++) a[i] = load_a(a_at(min(wm + i * WM, MT - 1), k));
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

// Two channels, where `is_here`.
__device__ __forceinline__ void store_where(bool is_here, __half2* to, __half2 value) {
    asm volatile("{\n.reg .pred here;\nsetp.ne.u32 here, %2, 0;\n@here st.global.u32 [%0], %1;\n}" ::"l"(to),
                 "r"(*reinterpret_cast<unsigned*>(&value)), "r"(unsigned(is_here))
                 : "memory");
}

// Eight channels of a map, past the first-level cache, which may hold what was there before.
__device__ __forceinline__ Half8 half8_fetch(const Half8* at) {
    uint4 word = __ldcg(reinterpret_cast<const uint4*>(at));
    return *reinterpret_cast<Half8*>(&word);
}

// Adds to `sum` every `step`th of `count` parts of eight channels that lie `stride` pixels apart, from part
// `first` on. Six loads are under way together.
__device__ __forceinline__ void add_parts(float (&sum)[8], const Half8* parts, int first, int step, int count,
                                          unsigned stride) {
    for (; first < count; first += 6 * step) {
        Half8 some[6];
#pragma unroll
        for (int i = 0; i < 6; i++) {
            const int part = first + i * step;
            some[i] = half8_zero();
            if (part < count) some[i] = half8_fetch(parts + part * stride);
        }
#pragma unroll
        for (int i = 0; i < 6; i++) {
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

// prelu(scale * x + shift) of eight channels from `channel` on; `act` holds scale, shift, bend [n].
__device__ __forceinline__ Half8 activated(const Half8& x, const __half* act, int n, int channel) {
    Half8 scale = half8_at(act, channel), shift = half8_at(act + n, channel), bend = half8_at(act + 2 * n, channel);
    Half8 out;
#pragma unroll
    for (int i = 0; i < 4; i++) out.v[i] = bent2(__hfma2(x.v[i], scale.v[i], shift.v[i]), bend.v[i]);
    return out;
}

// One block's work on one tile after the other: `locate`, `begin`, `run`.
template <int C, int TH, int TW, int UP_ROWS, int WARPS>
struct EdabDense {
    using T = EdabTile<C, TH, TW, UP_ROWS>;
    using W = EdabWeights<C>;
    static constexpr int THREADS = WARPS * 32;
    static constexpr int h = C / 2, H8 = h / 8, C8 = C / 8;
    // Each thread has one pixel, and a share of its channels, of u, l and g.
    static constexpr int SLOTS = T::padded <= 64 ? 64 : T::padded <= 128 ? 128 : 256;
    static constexpr int MOST = THREADS / SLOTS, SHARES = MOST < H8 ? MOST : H8;
    static constexpr int ITEMS = H8 / SHARES;
    static_assert(SLOTS >= T::padded && SHARES >= 1, "a thread for each pixel");
    // Blocks of 8 channels whose sums are under way together.
    static constexpr int TOGETHER = C8 < 4 ? C8 : 4;
    // A warp's task is 16 pixels, or several one after the other; where tasks are few, two warps take one,
    // with half of the channels of x' each.
    static constexpr int TASKS = T::padded / 16, ROUNDS = (TASKS + WARPS - 1) / WARPS;
    static constexpr int PARTS = 2 * TASKS <= WARPS && C8 >= 2 * TOGETHER ? 2 : 1, X8 = C8 / PARTS;
    static_assert(PARTS == 1 || T::gains - T::u1 >= TASKS * PARTS * H8 / 2 * 32 * 16, "room for a half of r");
    static_assert(ITEMS * SHARES == H8, "shares of one size");

    int y0, x0, pixel;
    bool is_whole;
    // Of u, l and g: the pixel and the first of its blocks of channels.
    unsigned at;
    Half8 u[ITEMS];
    // Of a task: two of its pixels, where they are in the map, and in the tile itself, not around it; and
    // their channels of x.
    unsigned spot[2];
    bool is_inside[2], is_own[2];
    __half2 x[X8][2];

    // Takes this tile.
    __device__ __forceinline__ void locate(const EdabTrunk& p, int tile) {
        const int tiles_x = (p.width + TW - 1) / TW;
        y0 = tile / tiles_x * TH - 1, x0 = tile % tiles_x * TW - 1;
        is_whole = y0 >= 0 && x0 >= 0 && y0 + T::rows <= p.height && x0 + T::columns <= p.width;
        pixel = threadIdx.x % SLOTS;
        const int y = y0 + pixel / T::columns, column = x0 + pixel % T::columns;
        const bool inside = pixel < T::pixels && y >= 0 && y < p.height && column >= 0 && column < p.width;
        at = threadIdx.x / SLOTS % SHARES * (p.height * p.width) + (inside ? y * p.width + column : 0);
        if (ROUNDS == 1) locate_task(p, min(int(threadIdx.x / 32) / PARTS, TASKS - 1));
    }

    // Lets x and u of the tile come, which other blocks wrote a barrier of the grid ago; x only where each
    // warp has one task.
    __device__ __forceinline__ void begin(const EdabTrunk& p) {
        if (p.joins) load(u, p, p.u);
        if (ROUNDS == 1) load_x(p);
    }

    // Whatever lies beyond the map is read from its beginning, and comes to nothing: r is zero there.
    __device__ __forceinline__ void load(Half8 (&to)[ITEMS], const EdabTrunk& p, const Half8* map) {
        const unsigned step = SHARES * (p.height * p.width);
#pragma unroll
        for (int n = 0; n < ITEMS; n++) to[n] = half8_fetch(map + (at + n * step));
    }

    __device__ __forceinline__ void locate_task(const EdabTrunk& p, int task) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int lane = threadIdx.x % 32, row = task * 16 + lane / 4 + 8 * i;
            const int r = row / T::columns, c = row % T::columns, y = y0 + r, x = x0 + c;
            is_inside[i] = row < T::pixels && y >= 0 && y < p.height && x >= 0 && x < p.width;
            is_own[i] = is_inside[i] && r >= 1 && r < TH + 1 && c >= 1 && c < TW + 1;
            spot[i] = (is_inside[i] ? y * p.width + x : 0) * 4 + lane % 4;
        }
    }

    __device__ __forceinline__ void load_x(const EdabTrunk& p) {
        const unsigned step = p.height * p.width * 4, first = threadIdx.x / 32 % PARTS * X8 * step;
#pragma unroll
        for (int n = 0; n < X8; n++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                unsigned word = __ldcg(reinterpret_cast<const unsigned*>(p.x) + (spot[i] + first + n * step));
                x[n][i] = *reinterpret_cast<__half2*>(&word);
            }
        }
    }

    // `weights` as EdabWeights tells, there once `await_weights` and a barrier of the block after it are
    // through. `end_weights(from, to)` is called when these bytes of them are no longer needed.
    template <typename Await, typename End>
    __device__ __forceinline__ void run(const EdabTrunk& p, const unsigned char* weights, unsigned char* shared,
                                        Await await_weights, End end_weights) {
        const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
        const unsigned plane = p.height * p.width;
        __half* ms = reinterpret_cast<__half*>(shared + T::m);
        if (p.joins) {
            join(p, weights, shared, await_weights);
        } else {
            for (int i = tid; i < T::padded * T::narrow / 8; i += THREADS) reinterpret_cast<Half8*>(ms)[i] = half8_zero();
            await_weights();
        }
        __syncthreads();

        // x' = x + expand(m), what follows it, and r = reduce of that: each warp takes 16 pixels from m to r
        // in registers, some blocks of 8 channels of x' at a time. r is zero outside the map.
        const __half2 zero = __half2half2(__ushort_as_half(0));
        __half* rs = ms;
        const __half* pre = reinterpret_cast<const __half*>(weights + W::pre);
#pragma unroll
        for (int round = 0; round < ROUNDS; round++) {
            const int task = warp / PARTS + round * WARPS, row = task * 16 + lane / 4;
            const int part = warp % PARTS, part_first = part * X8;
            if (task >= TASKS) continue;
            if (ROUNDS > 1) locate_task(p, task), load_x(p);
            __half2* out = reinterpret_cast<__half2*>(p.x_out);
            const bool stores[2] = {p.joins && is_own[0], p.joins && is_own[1]};
            float r[H8][4] = {};
            FragmentA m[W::k_h];
            const __half* m_row = ms + (task * 16 + lane % 16) * T::narrow + (H8 == 1 ? 0 : lane / 16 * 8);
#pragma unroll
            for (int k = 0; k < W::k_h; k++) m[k] = load_a(m_row + k * 16);
#pragma unroll
            for (int first = 0; first < X8; first += TOGETHER) {
                float d[TOGETHER][4];
#pragma unroll
                for (int n = 0; n < TOGETHER; n++) {
#pragma unroll
                    for (int i = 0; i < 2; i++) {
                        float2 before = __half22float2(x[first + n][i]);
                        d[n][2 * i] = before.x, d[n][2 * i + 1] = before.y;
                    }
                }
                const uint2* b = reinterpret_cast<const uint2*>(weights + W::expand) + (part_first + first) * 32 + lane;
#pragma unroll
                for (int k = 0; k < W::k_h; k++) {
#pragma unroll
                    for (int n = 0; n < TOGETHER; n++) mma(d[n], m[k], b[(k * C8 + n) * 32]);
                }
                FragmentA next[TOGETHER / 2];
#pragma unroll
                for (int n = 0; n < TOGETHER; n++) {
                    const int c = (part_first + first + n) * 8 + lane % 4 * 2;
                    __half2 scale = half2_at(pre, c), shift = half2_at(pre + C, c), bend = half2_at(pre + 2 * C, c);
#pragma unroll
                    for (int i = 0; i < 2; i++) {
                        __half2 sum = __floats2half2_rn(d[n][2 * i], d[n][2 * i + 1]);
                        __half2 value = bent2(__hfma2(sum, scale, shift), bend);
                        next[n / 2].r[n % 2 * 2 + i] = *reinterpret_cast<unsigned*>(&value);
                        store_where(stores[i], out + (spot[i] + (part_first + first + n) * plane * 4), p.begins ? sum : value);
                    }
                }
                const uint2* c =
                    reinterpret_cast<const uint2*>(weights + W::reduce) + (part_first + first) / 2 * H8 * 32 + lane;
#pragma unroll
                for (int k = 0; k < TOGETHER / 2; k++) {
#pragma unroll
                    for (int j = 0; j < H8; j++) mma(r[j], next[k], c[(k * H8 + j) * 32]);
                }
            }
            constexpr int R8 = H8 / PARTS;
            if constexpr (PARTS == 2) {
                // Each warp keeps its part of r, and gives the other to the other one: where means and gates were.
                float4* given = reinterpret_cast<float4*>(shared + T::u1) + task * H8 * 32 + lane;
#pragma unroll
                for (int j = 0; j < R8; j++) {
                    // Both are read, so that no register is told by an index of the warp.
                    float4 lower = make_float4(r[j][0], r[j][1], r[j][2], r[j][3]);
                    float4 upper = make_float4(r[R8 + j][0], r[R8 + j][1], r[R8 + j][2], r[R8 + j][3]);
                    given[(part * R8 + j) * 32] = part ? lower : upper;
                    float4 kept = part ? upper : lower;
                    r[j][0] = kept.x, r[j][1] = kept.y, r[j][2] = kept.z, r[j][3] = kept.w;
                }
                asm volatile("bar.sync %0, 64;" ::"r"(task + 1) : "memory");
#pragma unroll
                for (int j = 0; j < R8; j++) {
                    float4 other = given[((1 - part) * R8 + j) * 32];
                    r[j][0] += other.x, r[j][1] += other.y, r[j][2] += other.z, r[j][3] += other.w;
                }
            } else {
                // The rows are this warp's own: all of it has read m.
                __syncwarp();
            }
#pragma unroll
            for (int j = 0; j < R8; j++) {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    __half2 value = is_inside[i] ? __floats2half2_rn(r[j][2 * i], r[j][2 * i + 1]) : zero;
                    __half* to = rs + (row + 8 * i) * T::narrow + (part * R8 + j) * 8 + lane % 4 * 2;
                    *reinterpret_cast<__half2*>(to) = value;
                }
            }
        }
        __syncthreads();
        if (!p.begins) return;
        end_weights(0, W::up1);

        // up1: a tap is a row further down
        __half* us = reinterpret_cast<__half*>(shared + T::u1);
        const float* bias = reinterpret_cast<const float*>(weights + W::bias);
        const __half* bend = reinterpret_cast<const __half*>(weights + W::bend);
        // With h = 8 a step holds two taps (the fourth meets zero weights), else a part of one.
        auto tap_of = [&](int k) { return H8 == 1 ? min(2 * k + lane / 16, 2) : 2 * k / H8; };
        auto part_of = [&](int k) { return H8 == 1 ? 0 : 2 * k % H8 * 8; };
        const __half* r_row = rs + lane % 16 * T::narrow + (H8 == 1 ? 0 : lane / 16 * 8);
        auto r_at = [&](int tile, int k) {
            return r_row + (tile * 16 + tap_of(k) * T::columns) * T::narrow + part_of(k);
        };
        constexpr int UP_COLUMNS = WARPS / UP_ROWS;
        product<(T::strip + 15) / 16, H8, W::k_strip, UP_ROWS, UP_COLUMNS>(
            weights + W::up1, bias, r_at, [&](int c) { return half2_at(bend, c); },
            [&](int row, int c, float2 d, __half2 bend) {
                *reinterpret_cast<__half2*>(us + row * T::narrow + c) = bent2(__floats2half2_rn(d.x, d.y), bend);
            });
        __syncthreads();
        end_weights(W::up1, W::up2);
        if (!is_whole) {
            for (int i = tid; i < T::strip * H8; i += THREADS) {
                int row = i / H8, x = x0 + row % T::columns;
                if (x < 0 || x >= p.width) *reinterpret_cast<Half8*>(us + row * T::narrow + i % H8 * 8) = half8_zero();
            }
            __syncthreads();
        }
        // up2: a tap is a column further right
        const __half* u_row = us + (H8 == 1 ? 0 : lane / 16 * 8);
        auto u_at = [&](int tile, int k) {
            int i = tile * 16 + lane % 16;
            return u_row + (i / TW * T::columns + i % TW + tap_of(k)) * T::narrow + part_of(k);
        };
        product<(TH * TW + 15) / 16, H8, W::k_strip, UP_ROWS, UP_COLUMNS>(
            weights + W::up2, bias + h, u_at, [&](int c) { return half2_at(bend + h, c); },
            [&](int i, int c, float2 d, __half2 bend) {
                int y = y0 + 1 + i / TW, x = x0 + 1 + i % TW;
                __half2 value = bent2(__floats2half2_rn(d.x, d.y), bend);
                __half2* to = reinterpret_cast<__half2*>(p.u_out) + ((c / 8 * plane + y * p.width + x) * 4 + c % 8 / 2);
                store_where(i < TH * TW && y < p.height && x < p.width, to, value);
            });
    }

  private:
    // m, into shared memory.
    template <typename Await>
    __device__ __forceinline__ void join(const EdabTrunk& p, const unsigned char* weights, unsigned char* shared,
                                         Await await_weights) {
        const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
        __half* ms = reinterpret_cast<__half*>(shared + T::m);
        // u, l and g wait in registers until the gates are known.
        Half8 l[ITEMS], g[ITEMS];
        load(l, p, p.l);
        load(g, p, p.g);
        // Means of this tile's rows and columns, and of each local channel.
        __half* means = reinterpret_cast<__half*>(shared + T::means);
        __half* gates = reinterpret_cast<__half*>(shared + T::gates);
        __half* gains = reinterpret_cast<__half*>(shared + T::gains);
        float* local_means = reinterpret_cast<float*>(shared + T::local_means);
        const long long local_sum = tid < h ? __ldcg(reinterpret_cast<const long long*>(p.local_sums) + tid) : 0;
        // One lane adds up a row's parts, two a column's, which are more.
        constexpr int ROW_LANES = up_to(T::rows * H8, 32), LANES = ROW_LANES + 2 * T::columns * H8;
        for (int i = tid; i < up_to(LANES, 32); i += THREADS) {
            const bool is_row = i < ROW_LANES;
            const int item = is_row ? i : (i - ROW_LANES) / 2, line = item / H8, block = item % H8;
            const int from = (is_row ? y0 : x0) + line, length = is_row ? p.height : p.width;
            const bool is_line = is_row ? line < T::rows : line < T::columns;
            float sum[8] = {};
            if (is_line && from >= 0 && from < length) {
                const __half* parts = is_row ? p.row_means : p.column_means;
                add_parts(sum, reinterpret_cast<const Half8*>(parts) + (from * H8 + block), is_row ? 0 : i % 2,
                          is_row ? 1 : 2, is_row ? p.row_parts : p.column_parts, length * H8);
            }
            __syncwarp();
#pragma unroll
            for (int c = 0; c < 8; c++) {
                float other = __shfl_xor_sync(~0u, sum[c], 1);
                if (!is_row) sum[c] += other;
            }
            if (is_line && (is_row || i % 2 == 0)) {
                int row = is_row ? line : T::gate_rows + line;
                *reinterpret_cast<Half8*>(means + row * T::narrow + block * 8) = half8_from_floats(sum);
            }
        }
        if (tid < h) local_means[tid] = float(local_sum) * (LOCAL_UNIT * p.per_pixel);
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
        if (pixel < T::padded && tid < SLOTS * SHARES) {
            const int share = tid / SLOTS;
            const __half* row = gates + min(pixel / T::columns, T::rows - 1) * T::narrow;
            const __half* column = gates + (T::gate_rows + pixel % T::columns) * T::narrow;
#pragma unroll
            for (int n = 0; n < ITEMS; n++) {
                const int block = share + n * SHARES;
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
};
