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
// One block takes one direction and three channels, a round of 4 x 32 STEPS steps at a time: a channel has
// four warps, each with a quarter of the round's steps for all of its states, each lane STEPS consecutive
// ones. A lane keeps its steps' delta and delta u in registers, and of two states at a time the factors
// exp(delta A) and inputs delta u B, and composes them; shuffles scan the compositions of the 32 lanes; each
// warp hands its last states on to the next one; and the steps run again from the states that the lane
// starts with, beside the first run of the next two states. So each factor is computed once, and y never
// leaves the lane. B and C of BATCH states arrive in shared memory while the states before are worked on; of
// some steps they are copied and read by the three warps of these steps, which alone wait for each other.
// States, sums and exponentials are f32, and every sum has a fixed order: bit-equal from run to run.
#include <cuda_fp16.h>

#include "launch.cuh"
#include "shared_address.cuh"

namespace {

constexpr int CHANNELS = 3;  // of a block
constexpr int MAX_RANK = 4;
constexpr int MAX_STATES = 64;
constexpr int OF_CHANNEL = MAX_RANK + 2;
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

// How a block is laid out: STEPS of a lane, CHUNKS warps of a channel with consecutive steps, and batches of
// BATCH states. Its shared memory: [BUFFERS] batches of [BATCH states][B, C][CHUNKS][ROW] pieces of 16 bytes,
// then a `Handover`.
template <typename T_, int STEPS_, int CHUNKS_, int BATCH_>
struct Shape {
    using T = T_;
    static constexpr int STEPS = STEPS_, CHUNKS = CHUNKS_, BATCH = BATCH_, BUFFERS = 2;
    static constexpr int THREADS = CHANNELS * CHUNKS * 32;
    static constexpr int CHUNK = 32 * STEPS;
    static constexpr int PER_PIECE = 16 / sizeof(T), PIECES = STEPS / PER_PIECE;
    static constexpr int ROW = CHUNK / PER_PIECE, SPAN = CHUNKS * ROW;
    static constexpr int BUFFER = 2 * BATCH * SPAN;
};

// What a block's threads tell each other.
template <int CHUNKS>
struct Handover {
    // Of each two states, whether a warp has left them; a phase a round.
    unsigned long long is_there[CHANNELS][CHUNKS][MAX_STATES / 2];
    // The states after a warp's last step; those of the last warp go on to the next round.
    float left[CHANNELS][CHUNKS][MAX_STATES];
    float decay[CHANNELS][MAX_STATES];
    float whole[CHANNELS * CHUNKS][32];  // a lane's delta over all of its steps
    float of_channels[CHANNELS][OF_CHANNEL];  // dt's weights, its bias, D
};

// Ends the phase of an mbarrier of one arrival; what the thread wrote before is seen after `await`.
__device__ __forceinline__ void announce(unsigned long long* barrier) {
    asm volatile("{\n.reg .b64 token;\nmbarrier.arrive.shared.b64 token, [%0];\n}" ::"r"(
                     shared_address(barrier))
                 : "memory");
}

// Waits for the other warps of the same steps, one of each channel.
__device__ __forceinline__ void await_steps(int of_round) {
    asm volatile("bar.sync %0, %1;" ::"r"(1 + of_round), "n"(CHANNELS * 32) : "memory");
}

// Waits for the end of the mbarrier's phase of this parity; by all lanes of a warp.
__device__ __forceinline__ void await(unsigned long long* barrier, unsigned parity) {
    unsigned done;
    do {
        asm volatile(
            "{\n.reg .pred done;\n"
            "mbarrier.test_wait.parity.shared.b64 done, [%1], %2;\n"
            "selp.u32 %0, 1, 0, done;\n}"
            : "=r"(done)
            : "r"(shared_address(barrier)), "r"(parity)
            : "memory");
    } while (!__all_sync(~0u, done));
}

template <bool VALUE_>
struct Flag {
    static constexpr bool VALUE = VALUE_;
};

template <class Of, bool IS_BACKWARD>
__device__ __forceinline__ void scan(const ScanParams& p) {
    using T = typename Of::T;
    constexpr int STEPS = Of::STEPS, CHUNKS = Of::CHUNKS, CHUNK = Of::CHUNK;
    constexpr int PER_PIECE = Of::PER_PIECE, PIECES = Of::PIECES;
    extern __shared__ uint4 ring[];
    auto& handover = *reinterpret_cast<Handover<CHUNKS>*>(ring + Of::BUFFERS * Of::BUFFER);

    int const n = p.states, length = p.length;
    int const k = blockIdx.y, thread = threadIdx.x, lane = thread % 32;
    // Known as the same in all lanes, so that the shuffles below need no second version.
    int const warp = __shfl_sync(~0u, thread / 32, 0);
    int const channel = warp / CHUNKS, of_round = warp % CHUNKS;
    int const lane_in_order = IS_BACKWARD ? 31 - lane : lane;
    int const c = blockIdx.x * CHANNELS + channel;
    bool const is_channel = c < p.channels;
    int const of_map = is_channel ? c : 0;
    int const chunks = (length + CHUNK - 1) / CHUNK, rounds = (chunks + CHUNKS - 1) / CHUNKS;
    int const batches = (n + Of::BATCH - 1) / Of::BATCH;
    int const end = (length + STEPS - 1) / STEPS * STEPS;

    // Weights, a thread at most one of each kind: nothing that an earlier kernel writes.
    static_assert(CHANNELS * MAX_STATES <= Of::THREADS, "each thread takes a decay");
    float own_decay = 0.f, own_weight = 0.f;
    if (thread < CHANNELS * MAX_STATES) {
        int const of = blockIdx.x * CHANNELS + thread / MAX_STATES, state = thread % MAX_STATES;
        if (of < p.channels && state < n) own_decay = p.decay[(k * p.channels + of) * n + state];
        handover.left[thread / MAX_STATES][CHUNKS - 1][state] = 0.f;
    }
    if (thread < CHANNELS * OF_CHANNEL) {
        int const of = blockIdx.x * CHANNELS + thread / OF_CHANNEL, i = thread % OF_CHANNEL;
        int const row = k * p.channels + of;
        if (of < p.channels) {
            if (i < p.rank) own_weight = p.delta_weights[row * p.rank + i];
            if (i == MAX_RANK) own_weight = p.delta_bias[row];
            if (i == MAX_RANK + 1 && k == 0) own_weight = p.skip[of];
        }
    }
    for (int i = thread; i < CHANNELS * CHUNKS * MAX_STATES / 2; i += Of::THREADS) {
        asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(shared_address(handover.is_there[0][0] + i))
                     : "memory");
    }
    grid_dependency_wait();
    grid_dependency_release();

    T const* const projected = static_cast<const T*>(p.projected) + size_t(k) * (p.rank + 2 * n) * p.pitch;
    T const* const u_row = static_cast<const T*>(p.u) + (size_t(k % 2) * p.channels + of_map) * p.pitch;
    T* const y_row = static_cast<T*>(p.y) + (size_t(k) * p.channels + of_map) * p.pitch;

    // The first place of a chunk in its order; below 0 for the last chunk backwards.
    auto base_of = [&](int chunk) { return IS_BACKWARD ? end - (chunk + 1) * CHUNK : chunk * CHUNK; };

    // Starts copying B and C of a round's batch of states, the warp's steps of every third state. What lies
    // off the map, up to the next piece, and rows past the states become 0.
    auto fetch = [&](int round, int batch, int buffer) {
        int const chunk = round * CHUNKS + of_round;
        if (chunk < chunks) {
            uint4* const to = ring + buffer * Of::BUFFER + 2 * channel * Of::SPAN + of_round * Of::ROW;
#pragma unroll
            for (int piece = 0; piece < PIECES; piece++) {
                int const order = base_of(chunk) + (piece * 32 + lane) * PER_PIECE;
                bool const is_inside = order >= 0 && order < length;
                T const* const from = projected + p.rank * p.pitch + (is_inside ? order : 0);
                uint4* at = to + place<PIECES>(piece * 32 + lane);
#pragma unroll 1
                for (int i = channel; i < Of::BATCH; i += CHANNELS, at += 2 * CHANNELS * Of::SPAN) {
                    int const state = batch * Of::BATCH + i;
                    T const* const b = from + min(state, n - 1) * p.pitch;
                    copy_async_16(at, b, is_inside && state < n);
                    copy_async_16(at + Of::SPAN, b + n * p.pitch, is_inside && state < n);
                }
            }
        }
    };
    // Sets to 0 what the thread's copied pieces of B hold past the map's end, which comes first backwards.
    auto cut = [&](int chunk, int buffer) {
#pragma unroll 1
        for (int piece = 0; piece < PIECES; piece++) {
            int const left = length - base_of(chunk) - (piece * 32 + lane) * PER_PIECE;
            if (left <= 0 || left >= PER_PIECE) continue;
            uint4* const to =
                ring + buffer * Of::BUFFER + of_round * Of::ROW + place<PIECES>(piece * 32 + lane);
#pragma unroll 1
            for (int i = channel; i < Of::BATCH; i += CHANNELS) {
                T* const elements = reinterpret_cast<T*>(to + 2 * i * Of::SPAN);
                for (int e = left; e < PER_PIECE; e++) elements[e] = T(0.f);
            }
        }
    };

    Run<T, STEPS> u, dt[MAX_RANK];
    // Asks for u and dt of the lane's steps.
    auto load_steps = [&](int order) {
        int const from = order >= 0 && order < length ? order : 0;
        u = *reinterpret_cast<const Run<T, STEPS>*>(u_row + from);
#pragma unroll
        for (int r = 0; r < MAX_RANK; r++) {
            // A row past the rank is the last one again, and not used.
            int const row = min(r, p.rank - 1);
            dt[r] = *reinterpret_cast<const Run<T, STEPS>*>(projected + row * p.pitch + from);
        }
    };
    const float* const own_weights = handover.of_channels[channel];
    float delta[STEPS], input[STEPS], y[STEPS];
    auto begin_round = [&](int order) {
#pragma unroll
        for (int i = 0; i < STEPS; i++) delta[i] = own_weights[MAX_RANK];
#pragma unroll
        for (int r = 0; r < MAX_RANK; r++) {
            if (r >= p.rank) break;
#pragma unroll
            for (int i = 0; i < STEPS; i++) delta[i] = fmaf(own_weights[r], dt[r][i], delta[i]);
        }
        float parts[4] = {};
#pragma unroll
        for (int i = 0; i < STEPS; i++) {
            // Steps off the map change no state: factor 1, input 0. Far below 0, softplus is 0.
            bool const is_step = is_channel && order + i >= 0 && order + i < length;
            delta[i] = softplus(is_step ? delta[i] : -1e30f);
            input[i] = delta[i] * (is_step ? u[i] : 0.f);
            y[i] = own_weights[MAX_RANK + 1] * u[i];
            parts[i % 4] += delta[i];
        }
        // Not in a register: none is left, and it would be added up again for each pair of states.
        handover.whole[warp][lane] = (parts[0] + parts[1]) + (parts[2] + parts[3]);
    };

    int next_round = 0, next_batch = 0, buffer = 0;
    auto fetch_next = [&](int to) {
        if (next_round < rounds) fetch(next_round, next_batch, to);
        copy_async_commit();
        if (++next_batch == batches) next_batch = 0, next_round++;
    };
    // What is needed first, first.
    load_steps(base_of(of_round) + lane_in_order * STEPS);
#pragma unroll 1
    for (int to = 0; to < Of::BUFFERS; to++) fetch_next(to);
    if (thread < CHANNELS * MAX_STATES) handover.decay[thread / MAX_STATES][thread % MAX_STATES] = own_decay;
    if (thread < CHANNELS * OF_CHANNEL) {
        handover.of_channels[thread / OF_CHANNEL][thread % OF_CHANNEL] = own_weight;
    }
    __syncthreads();
    bool is_first = true;
    int const pairs = (n + 1) / 2;
#pragma unroll 1
    for (int round = 0; round < rounds; round++) {
        int const chunk = round * CHUNKS + of_round;
        int const order = base_of(chunk) + lane_in_order * STEPS;
        if (chunk >= chunks) break;  // past the map's end, in the last round
        // Of the pair of states at hand: what its steps do, C, and the states that the lane starts with.
        float factor[2][STEPS], term[2][STEPS], state[2];
        Run<T, STEPS> of[2];
        uint4 const* rows = ring;
        auto place_of = [&](int piece) { return place<PIECES>(lane_in_order * PIECES + piece); };
        // The steps again, from the lane's first states, of the pair at hand, and beside them those of the
        // next one, from states of 0: one waits for dependent sums, the other for exponentials.
        auto walk = [&](auto this_one, auto next_one, int pair) {
            constexpr bool has_this = decltype(this_one)::VALUE, has_next = decltype(next_one)::VALUE;
            float next[2], product[2];
            float2 a;
            Run<T, STEPS> b[2];
            if constexpr (has_next) {
                a = *reinterpret_cast<const float2*>(&handover.decay[channel][2 * pair]);
#pragma unroll
                for (int i = 0; i < 2 * PIECES; i++) {
                    int const at = 2 * (i / PIECES) * Of::SPAN + place_of(i % PIECES);
                    b[i / PIECES].set_piece(i % PIECES, rows[at]);
                }
            }
#pragma unroll
            for (int step = 0; step < STEPS; step++) {
                int const i = IS_BACKWARD ? STEPS - 1 - step : step;
#pragma unroll
                for (int s = 0; s < 2; s++) {
                    if constexpr (has_this) {
                        state[s] = fmaf(factor[s][i], state[s], term[s][i]);
                        y[i] = fmaf(state[s], of[s][i], y[i]);
                    }
                    if constexpr (has_next) {
                        factor[s][i] = exp2_fast(delta[i] * (s ? a.y : a.x));
                        term[s][i] = input[i] * b[s][i];
                        next[s] = step ? fmaf(factor[s][i], next[s], term[s][i]) : term[s][i];
                    }
                }
            }
            if constexpr (has_next) {
                float const whole = handover.whole[warp][lane];
                product[0] = exp2_fast(whole * a.x);
                product[1] = exp2_fast(whole * a.y);
#pragma unroll
                for (int i = 0; i < 2 * PIECES; i++) {
                    int const at = (2 * (i / PIECES) + 1) * Of::SPAN + place_of(i % PIECES);
                    of[i / PIECES].set_piece(i % PIECES, rows[at]);
                }
                // From the warp's first step to the lane's last, then from the map's first.
                compose_with_earlier<1>(product, next);
                compose_with_earlier<2>(product, next);
                compose_with_earlier<4>(product, next);
                compose_with_earlier<8>(product, next);
                compose_with_earlier<16>(product, next);
                int const warp_before = (of_round + CHUNKS - 1) % CHUNKS;
                int const its_round = of_round > 0 ? round : round - 1;
                if (its_round >= 0) await(&handover.is_there[channel][warp_before][pair], its_round & 1);
                float2 const before =
                    *reinterpret_cast<const float2*>(&handover.left[channel][warp_before][2 * pair]);
                next[0] = fmaf(product[0], before.x, next[0]);
                next[1] = fmaf(product[1], before.y, next[1]);
                if (lane == 31) {
                    *reinterpret_cast<float2*>(&handover.left[channel][of_round][2 * pair]) =
                        make_float2(next[0], next[1]);
                    announce(&handover.is_there[channel][of_round][pair]);
                }
                state[0] = __shfl_up_sync(~0u, next[0], 1);
                state[1] = __shfl_up_sync(~0u, next[1], 1);
                if (lane == 0) state[0] = before.x, state[1] = before.y;
            }
        };
        auto begin_batch = [&] {
            if (is_first) copy_async_wait<Of::BUFFERS - 1>();
            else copy_async_wait<Of::BUFFERS - 2>();
            if (IS_BACKWARD && length % PER_PIECE != 0) cut(chunk, buffer);
            await_steps(of_round);
            // The buffer before was read by all of them.
            if (!is_first) fetch_next((buffer + Of::BUFFERS - 1) % Of::BUFFERS);
            is_first = false;
            rows = ring + buffer * Of::BUFFER + of_round * Of::ROW;
            buffer = (buffer + 1) % Of::BUFFERS;
        };
        begin_round(order);
        begin_batch();
        walk(Flag<false>(), Flag<true>(), 0);
#pragma unroll 1
        for (int pair = 1; pair < pairs; pair++) {
            rows += 4 * Of::SPAN;
            if (pair % (Of::BATCH / 2) == 0) begin_batch();
            walk(Flag<true>(), Flag<true>(), pair);
        }
        walk(Flag<true>(), Flag<false>(), pairs);
        if (is_channel && order >= 0 && order < length) {
            *reinterpret_cast<Run<T, STEPS>*>(y_row + order) = Run<T, STEPS>::narrowed(y);
        }
        load_steps(base_of(chunk + CHUNKS) + lane_in_order * STEPS);
    }
}

// The short one is for short maps; the small ones are for little shared memory.
using F16 = Shape<__half, 16, 4, 8>;
using F16Short = Shape<__half, 8, 4, 16>;
using F16Small = Shape<__half, 8, 4, 4>;
using F32 = Shape<float, 8, 4, 8>;
using F32Small = Shape<float, 8, 4, 4>;

}  // namespace

// Grid: (channels / 3 rounded up, 4 directions); a warp for each channel and chunk.
#define SCAN(NAME, OF)                                                                                         \
    extern "C" __global__ void __launch_bounds__(OF::THREADS, 1) NAME(const __grid_constant__ ScanParams p) { \
        if (blockIdx.y < 2) {                                                                                  \
            scan<OF, false>(p);                                                                                \
        } else {                                                                                               \
            scan<OF, true>(p);                                                                                 \
        }                                                                                                      \
    }
SCAN(scan_f16, F16)
SCAN(scan_f16_short, F16Short)
SCAN(scan_f16_small, F16Small)
SCAN(scan_f32, F32)
SCAN(scan_f32_small, F32Small)
