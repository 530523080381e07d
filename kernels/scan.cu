// The selective scan of SS2D over a map's four directions (VMamba).
//
//   delta = softplus(W_dt dt + bias),  s = exp(delta A) s + delta u B,  y = C . s   at each step, s of n states
//
// Direction k visits the pixels row by row (k even) or column by column (k odd), forwards (k < 2) or
// backwards (k >= 2). All its rows lie in the order of its way forwards, which the backward directions read
// from its end: the kernels around this one write u twice and projections by direction, and read y so.
//
//   u          [2][d][pitch]          pixels row-major, then column-major; f16 or f32
//   projected  [4][r + 2 n][pitch]    dt, B, C of each direction in its order, same type as u
//   delta_weights [4][d][r], delta_bias [4][d], decay = A log2(e) [4][d][n], skip = D summed [d]   f32
//   y          [4][d][pitch]          each direction's y in its order; y_0 holds D u too; as u
//
// The result at a pixel is (y_0 + y_2) + (y_1 + y_3). `pitch` is a multiple of 16; what lies past `length`
// is not used, and written without meaning. 1 to 65,536 steps, 1 to 64 states, rank 1 to 4, any channels.
//
// One block takes one direction and three channels, a chunk of 32 STEPS steps at a time. Four warps share a
// channel: each takes four states of every sixteen, and each of its lanes STEPS consecutive steps. A lane
// keeps its steps' factors exp(delta A) and inputs delta u B in registers and composes them; shuffles scan
// the compositions of the 32 lanes, and the steps run again from the state that the lane starts with, so
// each factor is computed once. A warp hands its states from chunk to chunk by itself; only delta, delta u
// and the four warps' sums go through shared memory, where dt, B and C of later chunks arrive meanwhile.
// More than 16 states are scanned 16 at a time, each pass adding to y.
// States, sums and exponentials are f32, and every sum has a fixed order: bit-equal from run to run.
#include <cuda_fp16.h>

#include "launch.cuh"

namespace {

constexpr int CHANNELS = 3;                   // of a block
constexpr int GROUPS = 4;                     // warps of a channel
constexpr int WARPS = CHANNELS * GROUPS;
constexpr int THREADS = 32 * WARPS;
constexpr int CHANNEL_THREADS = 32 * GROUPS;
constexpr int OF_GROUP = 4;                   // states of a warp at a time
constexpr int SLAB = GROUPS * OF_GROUP;       // states of a channel at a time
constexpr int MAX_RANK = 4;
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LN_2 = 0.6931471805599453f;

struct ScanParams {
    const void* u;
    const void* projected;
    const float* delta_weights;
    const float* delta_bias;
    const float* decay;
    const float* skip;
    void* y;
    int length, pitch;
    int channels, rank, states;
};

__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// ln(1 + e^x) as max(x, 0) + ln(1 + t), t = e^-|x|: for small t by its series, since 1 + t rounds t.
__device__ __forceinline__ float softplus(float x) {
    float t = exp2_fast(-fabsf(x) * LOG2_E);
    float series = t * fmaf(t, fmaf(t, 1.f / 3.f, -0.5f), 1.f);
    float log;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(log) : "f"(1.f + t));
    return fmaxf(x, 0.f) + (t < 0.01f ? series : log * LN_2);
}

// Composes a lane's (product, state) of two states with that of the lane `DISTANCE` before it, if any.
template <int DISTANCE>
__device__ __forceinline__ void compose_with_earlier(float (&product)[2], float (&state)[2]) {
    asm volatile(
        "{\n"
        ".reg .pred has;\n"
        ".reg .f32 s0, s1, p0, p1;\n"
        "shfl.sync.up.b32 s0|has, %2, %4, 0, 0xffffffff;\n"
        "shfl.sync.up.b32 s1, %3, %4, 0, 0xffffffff;\n"
        "shfl.sync.up.b32 p0, %0, %4, 0, 0xffffffff;\n"
        "shfl.sync.up.b32 p1, %1, %4, 0, 0xffffffff;\n"
        "@has fma.rn.f32 %2, %0, s0, %2;\n"
        "@has fma.rn.f32 %3, %1, s1, %3;\n"
        "@has mul.rn.f32 %0, %0, p0;\n"
        "@has mul.rn.f32 %1, %1, p1;\n"
        "}"
        : "+f"(product[0]), "+f"(product[1]), "+f"(state[0]), "+f"(state[1])
        : "n"(DISTANCE));
}

// Copies 16 bytes from global to shared memory in the background, or zeros.
__device__ __forceinline__ void copy_async_or_zero(void* shared, const void* global, bool is_zero) {
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile(
        "{\n"
        ".reg .pred zero;\n"
        "setp.ne.u32 zero, %2, 0;\n"
        "cp.async.cg.shared.global [%0], [%1], 16, zero;\n"
        "}" ::"r"(address),
        "l"(global), "r"(unsigned(is_zero)));
}

__device__ __forceinline__ void barrier(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Where 16-byte piece `i` of a row of shared memory lies, if each lane reads PIECES of its own in turn: so
// that eight lanes at a time use eight different groups of banks.
template <int PIECES>
__device__ __forceinline__ int place(int i) {
    return i ^ ((i >> 3) & (PIECES - 1));
}

// COUNT consecutive elements of T, as many at a time as one access takes, read as floats.
template <typename T, int COUNT>
struct alignas(COUNT * sizeof(T) < 16 ? COUNT * sizeof(T) : 16) Run {
    static constexpr int WORDS = COUNT * sizeof(T) / 4;
    unsigned word[WORDS];

    __device__ __forceinline__ float operator[](int i) const {
        if constexpr (sizeof(T) == 4) {
            return __uint_as_float(word[i]);
        } else {
            __half2 two = *reinterpret_cast<const __half2*>(&word[i / 2]);
            return i % 2 ? __high2float(two) : __low2float(two);
        }
    }
    static __device__ __forceinline__ Run narrowed(const float (&x)[COUNT]) {
        Run run;
#pragma unroll
        for (int i = 0; i < WORDS; i++) {
            if constexpr (sizeof(T) == 4) {
                run.word[i] = __float_as_uint(x[i]);
            } else {
                __half2 const two = __floats2half2_rn(x[2 * i], x[2 * i + 1]);
                run.word[i] = *reinterpret_cast<const unsigned*>(&two);
            }
        }
        return run;
    }
    __device__ __forceinline__ void set_piece(int i, uint4 piece) {
        word[4 * i] = piece.x;
        word[4 * i + 1] = piece.y;
        word[4 * i + 2] = piece.z;
        word[4 * i + 3] = piece.w;
    }
};

// STEPS floats of a lane, in a row of shared memory that is placed for them.
template <int STEPS>
__device__ __forceinline__ void load_steps(float (&values)[STEPS], const float4* row, int lane_in_order) {
#pragma unroll
    for (int i = 0; i < STEPS / 4; i++) {
        float4 const four = row[place<STEPS / 4>(lane_in_order * (STEPS / 4) + i)];
        values[4 * i] = four.x;
        values[4 * i + 1] = four.y;
        values[4 * i + 2] = four.z;
        values[4 * i + 3] = four.w;
    }
}

// Shared memory of a block, in 16-byte pieces.
template <typename T, int STEPS>
struct Shared {
    static constexpr int CHUNK = 32 * STEPS;
    static constexpr int ROW = CHUNK * sizeof(T) / 16;   // of B or C
    static constexpr int FLOATS = CHUNK / 4;             // of floats, one a step
    static constexpr int RING = 2 * 2 * SLAB * ROW;      // [2][B, C][SLAB][ROW]
    static constexpr int DT = 2 * MAX_RANK * ROW;        // [2][MAX_RANK][ROW]
    static constexpr int DELTA = 2 * 2 * CHANNELS * FLOATS;   // [2][delta, delta u][CHANNELS][FLOATS]
    static constexpr int SUMS = WARPS * FLOATS;               // [CHANNELS][GROUPS][FLOATS]
    // Then decay and the states between chunks: [CHANNELS][SLAB] floats each.
};

template <typename T, int STEPS, bool IS_BACKWARD>
__device__ __forceinline__ void scan(const ScanParams& p) {
    using Layout = Shared<T, STEPS>;
    constexpr int CHUNK = Layout::CHUNK, ROW = Layout::ROW, FLOATS = Layout::FLOATS;
    constexpr int PIECES = ROW / 32;                    // of a lane in a row of B or C
    constexpr int PER_PIECE = 16 / sizeof(T);
    constexpr int OWN = CHUNK / CHANNEL_THREADS;        // steps whose delta a thread computes
    extern __shared__ uint4 shared[];
    uint4* const ring = shared;
    uint4* const dt_ring = ring + Layout::RING;
    float4* const deltas = reinterpret_cast<float4*>(dt_ring + Layout::DT);
    float4* const sums = deltas + Layout::DELTA;
    float* const decay = reinterpret_cast<float*>(sums + Layout::SUMS);
    float* const carried = decay + CHANNELS * SLAB;
    __shared__ float of_channels[CHANNELS][MAX_RANK + 2];  // dt's weights, its bias, D

    int const n = p.states;
    int const k = blockIdx.y, thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    int const channel = warp / GROUPS, group = warp % GROUPS, of_channel = thread % CHANNEL_THREADS;
    int const lane_in_order = IS_BACKWARD ? 31 - lane : lane;
    int const c = blockIdx.x * CHANNELS + channel;
    bool const is_channel = c < p.channels;
    int const length = p.length;
    int const chunks = (length + CHUNK - 1) / CHUNK;
    int const end = (length + STEPS - 1) / STEPS * STEPS;

    // Weights, a thread at most one of each kind: nothing that an earlier kernel writes.
    auto decay_of = [&](int slab) {
        int const of = blockIdx.x * CHANNELS + thread / SLAB, state = slab * SLAB + thread % SLAB;
        bool const is_state = thread < CHANNELS * SLAB && of < p.channels && state < n;
        return is_state ? p.decay[(k * p.channels + of) * n + state] : 0.f;
    };
    float own_decay = decay_of(0), own_weight = 0.f;
    if (thread < CHANNELS * (MAX_RANK + 2)) {
        int const of = blockIdx.x * CHANNELS + thread / (MAX_RANK + 2), i = thread % (MAX_RANK + 2);
        int const row = k * p.channels + of;
        if (of < p.channels) {
            if (i < p.rank) own_weight = p.delta_weights[row * p.rank + i];
            if (i == MAX_RANK) own_weight = p.delta_bias[row];
            if (i == MAX_RANK + 1 && k == 0) own_weight = p.skip[of];
        }
    }
    const float* const own_weights = of_channels[channel];
    grid_dependency_wait();
    grid_dependency_release();

    T const* const projected = static_cast<const T*>(p.projected) + size_t(k) * (p.rank + 2 * n) * p.pitch;
    int const of_map = is_channel ? c : 0;
    T const* const u_row = static_cast<const T*>(p.u) + (size_t(k % 2) * p.channels + of_map) * p.pitch;
    T* const y_row = static_cast<T*>(p.y) + (size_t(k) * p.channels + of_map) * p.pitch;

    // The first place of a chunk in its order; below 0 for the last chunk backwards.
    auto base_of = [&](int chunk) { return IS_BACKWARD ? end - (chunk + 1) * CHUNK : chunk * CHUNK; };

    // Three rows of B, C and dt that the warp copies: with 32 of B and C and 4 of dt, the last four warps'
    // last rows are dt's. Rows past the states or the rank become 0.
    constexpr int ROWS = (2 * SLAB + MAX_RANK) / WARPS;
    static_assert(ROWS == 3 && ROWS * WARPS == 2 * SLAB + MAX_RANK, "each warp takes three rows");
    int const last_row = (ROWS - 1) * WARPS + warp;
    bool const is_dt = last_row >= 2 * SLAB;
    int row_from[ROWS];  // in `projected`; -1 for none
    auto choose_rows = [&](int slab) {
#pragma unroll
        for (int j = 0; j < ROWS; j++) {
            int const row = j * WARPS + warp, state = slab * SLAB + row % SLAB;
            bool const is_last_dt = j == ROWS - 1 && is_dt;
            bool const is_row = is_last_dt ? row - 2 * SLAB < p.rank : state < n;
            int const from = is_last_dt ? row - 2 * SLAB : p.rank + row / SLAB * n + state;
            row_from[j] = is_row ? from * p.pitch : -1;
        }
    };
    bool const is_ragged = length % PER_PIECE != 0;
    auto ends_in = [&](int chunk) {
        int const base = base_of(chunk);
        return base < length && length < base + CHUNK;
    };
    // Starts copying B and C over a chunk, and dt over the chunk after it. What lies off the map becomes 0.
    auto fetch = [&](int chunk) {
        uint4* const to = ring + ((chunk & 1) * 2 * SLAB + warp) * ROW;
        uint4* const dt_to = dt_ring + (((chunk + 1) & 1) * MAX_RANK + last_row - 2 * SLAB) * ROW;
        int const base = base_of(chunk) + lane * PER_PIECE;
        int const last_base = is_dt ? base_of(chunk + 1) + lane * PER_PIECE : base;
#pragma unroll
        for (int j = 0; j < ROWS; j++) {
            uint4* const row_to = j == ROWS - 1 && is_dt ? dt_to : to + j * WARPS * ROW;
#pragma unroll
            for (int i = 0; i < PIECES; i++) {
                int const order = (j == ROWS - 1 ? last_base : base) + i * 32 * PER_PIECE;
                bool const is_zero = order < 0 || order >= length || row_from[j] < 0;
                bool const is_whole = is_zero || order + PER_PIECE <= length;
                const T* const from = projected + (is_zero ? 0 : row_from[j] + order);
                if (is_whole) copy_async_or_zero(row_to + place<PIECES>(i * 32 + lane), from, is_zero);
            }
        }
        copy_async_commit();
        if (is_ragged && (ends_in(chunk) || ends_in(chunk + 1))) {
            // The map ends within a piece: its elements one by one, and zeros.
#pragma unroll 1
            for (int j = 0; j < ROWS; j++) {
                uint4* const row_to = j == ROWS - 1 && is_dt ? dt_to : to + j * WARPS * ROW;
                int const row = j == 0 ? row_from[0] : j == 1 ? row_from[1] : row_from[ROWS - 1];
#pragma unroll 1
                for (int i = 0; i < PIECES; i++) {
                    int const order = (j == ROWS - 1 ? last_base : base) + i * 32 * PER_PIECE;
                    int const left = length - order;
                    if (order < 0 || left <= 0 || left >= PER_PIECE || row < 0) continue;
                    T* const elements = reinterpret_cast<T*>(row_to + place<PIECES>(i * 32 + lane));
                    for (int e = 0; e < PER_PIECE; e++) {
                        elements[e] = e < left ? projected[row + order + e] : T(0.f);
                    }
                }
            }
        }
    };

    // u of the thread's OWN steps of a chunk.
    auto load_u = [&](int chunk) {
        int const order = base_of(chunk) + of_channel * OWN;
        bool const is_inside = order >= 0 && order < length;
        return *reinterpret_cast<const Run<T, OWN>*>(u_row + (is_inside ? order : 0));
    };
    // Computes delta and delta u of the thread's OWN steps of a chunk, whose u and dt have come.
    auto store_deltas = [&](int chunk, const Run<T, OWN>& u) {
        int const order = base_of(chunk) + of_channel * OWN;
        float raw[OWN], delta[OWN], input[OWN];
#pragma unroll
        for (int i = 0; i < OWN; i++) raw[i] = own_weights[MAX_RANK];
#pragma unroll
        for (int r = 0; r < MAX_RANK; r++) {
            T const* const row = reinterpret_cast<const T*>(
                dt_ring + ((chunk & 1) * MAX_RANK + r) * ROW + place<PIECES>(of_channel * OWN / PER_PIECE));
            Run<T, OWN> const dt = *reinterpret_cast<const Run<T, OWN>*>(row + of_channel * OWN % PER_PIECE);
#pragma unroll
            for (int i = 0; i < OWN; i++) raw[i] = fmaf(own_weights[r], dt[i], raw[i]);
        }
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            // Steps off the map change no state: factor 1, input 0.
            bool const is_step = is_channel && order + i >= 0 && order + i < length;
            delta[i] = is_step ? softplus(raw[i]) : 0.f;
            input[i] = is_step ? delta[i] * u[i] : 0.f;
        }
        float4* const to = deltas + (chunk & 1) * 2 * CHANNELS * FLOATS + channel * FLOATS +
                           place<STEPS / 4>(of_channel * OWN / 4);
        if constexpr (OWN == 4) {
            to[0] = make_float4(delta[0], delta[1], delta[2], delta[3]);
            to[CHANNELS * FLOATS] = make_float4(input[0], input[1], input[2], input[3]);
        } else {
            float2* const half = reinterpret_cast<float2*>(to) + of_channel % 2;
            half[0] = make_float2(delta[0], delta[1]);
            half[2 * CHANNELS * FLOATS] = make_float2(input[0], input[1]);
        }
    };
    // Adds up the sums of the channel's warps and D u over the thread's OWN steps, and writes the pixels.
    auto store_y = [&](int chunk, int slab, const Run<T, OWN>& u) {
        int const order = base_of(chunk) + of_channel * OWN;
        float y[OWN];
#pragma unroll
        for (int i = 0; i < OWN; i++) y[i] = slab == 0 ? own_weights[MAX_RANK + 1] * u[i] : 0.f;
#pragma unroll
        for (int g = 0; g < GROUPS; g++) {
            float4 const* const row =
                sums + (channel * GROUPS + g) * FLOATS + place<STEPS / 4>(of_channel * OWN / 4);
            if constexpr (OWN == 4) {
                float4 const four = *row;
                y[0] += four.x, y[1] += four.y, y[2] += four.z, y[3] += four.w;
            } else {
                float2 const two = reinterpret_cast<const float2*>(row)[of_channel % 2];
                y[0] += two.x, y[1] += two.y;
            }
        }
        if (is_channel && order >= 0 && order < length) {
            auto* const to = reinterpret_cast<Run<T, OWN>*>(y_row + order);
            if (slab > 0) {
                Run<T, OWN> const before = *to;
#pragma unroll
                for (int i = 0; i < OWN; i++) y[i] += before[i];
            }
            *to = Run<T, OWN>::narrowed(y);
        }
    };

    // The lane's steps of a chunk, from what the channel's threads stored.
    float delta[STEPS], input[STEPS], whole;
    auto load_deltas = [&](int chunk) {
        float4 const* const from = deltas + (chunk & 1) * 2 * CHANNELS * FLOATS + channel * FLOATS;
        load_steps<STEPS>(delta, from, lane_in_order);
        load_steps<STEPS>(input, from + CHANNELS * FLOATS, lane_in_order);
        float parts[4] = {};
#pragma unroll
        for (int i = 0; i < STEPS; i++) parts[i % 4] += delta[i];
        whole = (parts[0] + parts[1]) + (parts[2] + parts[3]);
    };

    for (int slab = 0; slab * SLAB < n; slab++) {
        choose_rows(slab);
        fetch(-1);
        fetch(0);
        Run<T, OWN> next_u = load_u(0);
        if (slab > 0) own_decay = decay_of(slab);
        if (thread < CHANNELS * SLAB) {
            decay[thread] = own_decay;
            carried[thread] = 0.f;
        }
        if (thread < CHANNELS * (MAX_RANK + 2)) of_channels[0][thread] = own_weight;
        copy_async_wait<1>();
        __syncthreads();
        store_deltas(0, next_u);
        barrier(1 + channel, CHANNEL_THREADS);
        load_deltas(0);
        for (int chunk = 0; chunk < chunks; chunk++) {
            copy_async_wait<0>();
            // B, C and delta of this chunk and dt of the next are there; what they replace was read.
            __syncthreads();
            fetch(chunk + 1);
            Run<T, OWN> const u = next_u;
            next_u = load_u(chunk + 1);
            float y[STEPS] = {};
            uint4 const* rows = ring + ((chunk & 1) * 2 * SLAB + group * OF_GROUP) * ROW;
            float const* of_decay = decay + channel * SLAB + group * OF_GROUP;
            float* of_carried = carried + channel * SLAB + group * OF_GROUP;
#pragma unroll 1
            for (int pair = 0; pair < OF_GROUP / 2; pair++) {
                float factor[2][STEPS], term[2][STEPS], state[2], product[2];
                // The steps from a state of 0; their factors and inputs stay.
#pragma unroll
                for (int s = 0; s < 2; s++) {
                    Run<T, STEPS> b;
#pragma unroll
                    for (int i = 0; i < PIECES; i++) {
                        b.set_piece(i, rows[s * ROW + place<PIECES>(lane_in_order * PIECES + i)]);
                    }
                    float const a = of_decay[s];
                    product[s] = exp2_fast(whole * a);
#pragma unroll
                    for (int step = 0; step < STEPS; step++) {
                        int const i = IS_BACKWARD ? STEPS - 1 - step : step;
                        factor[s][i] = exp2_fast(delta[i] * a);
                        term[s][i] = input[i] * b[i];
                        state[s] = step ? fmaf(factor[s][i], state[s], term[s][i]) : term[s][i];
                    }
                }
                // From the warp's first step to the lane's last, and from the chunk before.
                compose_with_earlier<1>(product, state);
                compose_with_earlier<2>(product, state);
                compose_with_earlier<4>(product, state);
                compose_with_earlier<8>(product, state);
                compose_with_earlier<16>(product, state);
#pragma unroll
                for (int s = 0; s < 2; s++) {
                    float const before = of_carried[s];
                    state[s] = fmaf(product[s], before, state[s]);
                    float const earlier = __shfl_up_sync(~0u, state[s], 1);
                    if (lane == 31) of_carried[s] = state[s];
                    state[s] = lane == 0 ? before : earlier;
                }
#pragma unroll
                for (int s = 0; s < 2; s++) {
                    Run<T, STEPS> of;
#pragma unroll
                    for (int i = 0; i < PIECES; i++) {
                        of.set_piece(i, rows[(SLAB + s) * ROW + place<PIECES>(lane_in_order * PIECES + i)]);
                    }
#pragma unroll
                    for (int step = 0; step < STEPS; step++) {
                        int const i = IS_BACKWARD ? STEPS - 1 - step : step;
                        state[s] = fmaf(factor[s][i], state[s], term[s][i]);
                        y[i] = fmaf(state[s], of[i], y[i]);
                    }
                }
                rows += 2 * ROW;
                of_decay += 2;
                of_carried += 2;
            }
            float4* const to = sums + warp * FLOATS;
#pragma unroll
            for (int i = 0; i < STEPS / 4; i++) {
                to[place<STEPS / 4>(lane_in_order * (STEPS / 4) + i)] =
                    make_float4(y[4 * i], y[4 * i + 1], y[4 * i + 2], y[4 * i + 3]);
            }
            store_deltas(chunk + 1, next_u);
            barrier(1 + channel, CHANNEL_THREADS);
            load_deltas(chunk + 1);
            store_y(chunk, slab, u);
        }
        // The copies past the end are done before the next states' begin.
        copy_async_wait<0>();
        __syncthreads();
    }
}

}  // namespace

// Named by type and steps of a lane: 16 for long maps, 8 for short ones and little shared memory.
// Grid: (channels / 3 rounded up, 4 directions); 384 threads.
#define SCAN(NAME, T, STEPS)                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS, 1) NAME(const __grid_constant__ ScanParams p) { \
        if (blockIdx.y < 2) {                                                                        \
            scan<T, STEPS, false>(p);                                                                \
        } else {                                                                                     \
            scan<T, STEPS, true>(p);                                                                 \
        }                                                                                            \
    }
SCAN(scan_f16_8, __half, 8)
SCAN(scan_f16_16, __half, 16)
SCAN(scan_f32_8, float, 8)
