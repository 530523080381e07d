// A whole stage of EDABs of 16 channels on a small map, in one cluster (src/network/edab.rs): the map never
// leaves shared memory and registers.
//
// input, out: f16 [2, H, W, 8]. weights: EdabWeights<16>::bytes for each of count + 1 steps, all of them in
// shared memory. A block of the cluster has `rows` rows of the map, and repeats one above and one below, so
// that of the maps u alone is read by other blocks; besides that the parts of the attention's means.
//
// A warp has 32 pixels, two tiles of 16 for the tensor cores, and holds x, u, l and g of them in its registers
// as sums of products lie, which is how the next product takes its left side. All that is linear is a product:
// a depthwise tap one with a diagonal, a mean one with ones. A pixel's 8 channels are one 16-byte word of
// shared memory. Sums are f32, each intermediate is rounded to f16 once; activations are computed in f16.
// Limits: BLOCKS * rows >= H, (rows + 2) * W threads at least, 64 to 512; 16 blocks of EDAB.

#include "cluster.cuh"
#include "edab_weights.cuh"
#include "half8.cuh"
#include "launch.cuh"
#include "mma.cuh"
#include "prefetch.cuh"
#include "shared_address.cuh"

struct EdabCluster {
    const __half* input;
    __half* out;
    const unsigned char* weights;
    int height, width, count;
    int rows;                              // of a block
    int reach;                             // the largest dilation
    float per_row, per_column, per_pixel;  // 1 / height, 1 / width, and their product
    int dilations[16];
};

// Where the parts of a block's shared memory begin, in bytes.
struct ClusterShared {
    int u, r, u1, near, far, l, g, zeros, parts, local_sum, column_gates, row_gates, gains, u_rows, bytes;

    __host__ __device__ ClusterShared(int count, int rows, int width, int reach) {
        int at = (count + 1) * EdabWeights<16>::bytes;
        auto take = [&](int bytes) {
            int from = at;
            at += up_to(bytes, 16);
            return from;
        };
        // Whole warps' pixels, and what products with ones read beyond them.
        const int pixels = up_to((rows + 2) * width, 32), padded = pixels + 64;
        u = take(up_to(rows * width, 32) * 16);
        r = take(pixels * 16);
        u1 = take((rows * (width + 1) + 1) * 16);
        near = take(pixels * 16);
        far = take(pixels * 16);
        l = take(padded * 16);
        g = take(padded * 16);
        zeros = take(up_to(width, 16) * 16);
        parts = take(up_to(width, 16) * 16);
        local_sum = take(32);
        column_gates = take(up_to(width, 16) * 16);
        row_gates = take((rows + 2) * 16);
        gains = take(16);
        u_rows = take((rows + 2 + 2 * reach) * 4);
        bytes = at;
    }
};

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ unsigned word_of(__half2 value) { return *reinterpret_cast<unsigned*>(&value); }
__device__ __forceinline__ __half2 half2_of(unsigned word) { return *reinterpret_cast<__half2*>(&word); }

// As `mma`, of 8 of A's columns.
__device__ __forceinline__ void mma8(float (&d)[4], unsigned a0, unsigned a1, unsigned b) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(b));
}

// Two operands B of 16 pixels each, from the words of 32 pixels, one of each lane.
__device__ __forceinline__ FragmentA load_b_pair(const Half8* word) {
    FragmentA b;
    unsigned address = shared_address(word);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(b.r[0]), "=r"(b.r[1]), "=r"(b.r[2]), "=r"(b.r[3])
                 : "r"(address)
                 : "memory");
    return b;
}

// A word of each of 32 pixels, one of each lane, as two tiles: r[2 t + i] is this lane's pair of channels of
// pixel 16 t + 8 i + lane / 4.
using Pixels = FragmentA;

__device__ __forceinline__ Pixels load_pixels(const Half8* word) {
    return load_a(reinterpret_cast<const __half*>(word));
}

// The warp's pixels to their words of `map`.
__device__ __forceinline__ void store_pixels(Half8* map, const Pixels& pixels) {
    const int lane = threadIdx.x % 32;
    unsigned* to = reinterpret_cast<unsigned*>(map + threadIdx.x / 32 * 32 + lane / 4) + lane % 4;
#pragma unroll
    for (int i = 0; i < 4; i++) to[i * 32] = pixels.r[i];
}

// prelu(a0 * b0 + a1 * b1 + a2 * b2 + bias), b of 8 x 8 each.
__device__ __forceinline__ Pixels three_taps(const Pixels& a0, const Pixels& a1, const Pixels& a2, uint2 b01,
                                             unsigned b2, float2 bias, __half2 bend) {
    Pixels out;
#pragma unroll
    for (int t = 0; t < 2; t++) {
        float d[4] = {bias.x, bias.y, bias.x, bias.y};
        mma(d, FragmentA{a0.r[2 * t], a0.r[2 * t + 1], a1.r[2 * t], a1.r[2 * t + 1]}, b01);
        mma8(d, a2.r[2 * t], a2.r[2 * t + 1], b2);
        out.r[2 * t] = word_of(bent2(__floats2half2_rn(d[0], d[1]), bend));
        out.r[2 * t + 1] = word_of(bent2(__floats2half2_rn(d[2], d[3]), bend));
    }
    return out;
}

// Of up1 and up2: `from` is the first tap's word of this lane's pixel, `stride` the distance of the taps, in words.
__device__ __forceinline__ Pixels strip_taps(const Half8* from, int stride, const unsigned char* fragments,
                                             const float* bias, const __half* bend) {
    const int lane = threadIdx.x % 32;
    const uint2* b = reinterpret_cast<const uint2*>(fragments) + lane;
    const float2 start = reinterpret_cast<const float2*>(bias)[lane % 4];
    return three_taps(load_pixels(from), load_pixels(from + stride), load_pixels(from + 2 * stride), b[0], b[32].x,
                      start, reinterpret_cast<const __half2*>(bend)[lane % 4]);
}

// The bits of this lane's pair in an operand of 8 rows that lie on the diagonal.
__device__ __forceinline__ unsigned diagonal_bits() {
    const int lane = threadIdx.x % 32;
    return lane / 4 == lane % 4 * 2 ? 0xffff : lane / 4 == lane % 4 * 2 + 1 ? 0xffff0000 : 0;
}

// A depthwise strip: three taps, bias and bend of eight channels each.
__device__ __forceinline__ Pixels depthwise_taps(const Pixels& a0, const Pixels& a1, const Pixels& a2,
                                                 const Half8* taps, unsigned diagonal) {
    const int pair = threadIdx.x % 4;
    auto tap = [&](int i) { return word_of(taps[i].v[pair]) & diagonal; };
    return three_taps(a0, a1, a2, make_uint2(tap(0), tap(1)), tap(2), __half22float2(taps[3].v[pair]), taps[4].v[pair]);
}
#endif

template <int BLOCKS>
__device__ __forceinline__ void edab_cluster(const EdabCluster& p) {
#if __CUDA_ARCH__ >= 900
    using W = EdabWeights<16>;
    constexpr unsigned ONES = 0x3c003c00;
    extern __shared__ __align__(16) unsigned char shared[];
    __shared__ Prefetch prefetch;
    const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32, warps = blockDim.x / 32;
    const int rank = cluster_rank(), height = p.height, width = p.width, rows = p.rows;
    // Of the block's rows with one above and below, from y0 - 1 on; blocks beyond the map have no pixels.
    const int y0 = rank * rows, own_rows = min(max(height - y0, 0), rows);
    const int pixels = own_rows > 0 ? (rows + 2) * width : 0;
    const bool has_pixels = warp * 32 < pixels, is_up_warp = has_pixels && warp * 32 < rows * width;
    const ClusterShared at(p.count, rows, width, p.reach);
    check_shared_bytes(at.bytes);
    auto words = [&](int from) { return reinterpret_cast<Half8*>(shared + from); };
    Half8 *u_map = words(at.u), *r_map = words(at.r), *u1_map = words(at.u1), *near_map = words(at.near),
          *far_map = words(at.far), *l_map = words(at.l), *g_map = words(at.g), *zeros = words(at.zeros);
    Half8 *parts = words(at.parts), *column_gates = words(at.column_gates), *row_gates = words(at.row_gates);
    unsigned* u_rows = reinterpret_cast<unsigned*>(shared + at.u_rows);
    float* local_sum = reinterpret_cast<float*>(shared + at.local_sum);

    prefetch.prepare();
    for (int i = at.u + tid * 16; i < at.parts; i += blockDim.x * 16) *words(i) = half8_zero();
    // Where u's rows lie that the block's rows reach; those outside the map are zeros.
    for (int i = tid; i < rows + 2 + 2 * p.reach; i += blockDim.x) {
        const int y = y0 - 1 - p.reach + i;
        const bool is_inside = y >= 0 && y < height;
        u_rows[i] = is_inside ? cluster_address(u_map + y % rows * width, y / rows) : cluster_address(zeros, rank);
    }
    __syncthreads();
    prefetch.begin((p.count + 1) * W::bytes);
    prefetch.copy(shared, p.weights, (p.count + 1) * W::bytes);

    const unsigned diagonal = diagonal_bits();
    // The lane's pixels as words: its place in its row, and of up1 and up2 among the block's own.
    const int x = tid % width, own = min(tid, rows * width - 1);
    const Half8* u1_word = u1_map + own / width + own;
    auto beside = [&](const Half8* map, int offset) {
        return tid < pixels && x + offset >= 0 && x + offset < width ? map + tid + offset : zeros;
    };
    // Its pixels as sums lie: where in the map, -1 outside it; their gates; in u1; above, at and below them in u.
    int spot[4], to_u1[4];
    const __half2 *row_gate[4], *column_gate[4];
    const unsigned* u_row[4];
    unsigned u_near[4][3], is_own = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int q = warp * 32 + i * 8 + lane / 4, line = min(q / width, rows + 1), x = q % width, y = y0 - 1 + line;
        const bool is_inside = q < pixels && y >= 0 && y < height;
        spot[i] = is_inside ? y * width + x : -1;
        is_own |= (is_inside && line >= 1 && line <= rows) << i;
        to_u1[i] = q < rows * width ? (line + 1 + q) * 4 + lane % 4 : -1;
        row_gate[i] = row_gates[line].v + lane % 4;
        column_gate[i] = column_gates[x].v + lane % 4;
        u_row[i] = u_rows + p.reach + line;
#pragma unroll
        for (int tap = 0; tap < 3; tap++) u_near[i][tap] = u_row[i][tap - 1] + x * 16 + lane % 4 * 4;
    }

    __half2 xs[2][2][2];  // tile, block of 8 channels, row
    grid_dependency_wait();
#pragma unroll
    for (int t = 0; t < 2; t++) {
#pragma unroll
        for (int n = 0; n < 2; n++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const unsigned from = (n * height * width + max(spot[2 * t + i], 0)) * 4 + lane % 4;
                xs[t][n][i] = half2_of(__ldcg(reinterpret_cast<const unsigned*>(p.input) + from));
            }
        }
    }
    prefetch.wait(0);
    Pixels u = {}, l = {}, g = {};
    for (int step = 0;; step++) {
        const unsigned char* weights = shared + step * W::bytes;
        const bool joins = step > 0, begins = step < p.count;
        if (!begins) grid_dependency_release();
        if (joins) {
            // The columns' gates, 16 of them a warp, from all blocks' parts of their means; CA's gains.
            const int tiles = (width + 15) / 16;
#pragma unroll 1
            for (int task = warp; task <= tiles; task += warps) {
                if (task < tiles) {
                    const unsigned from = (task * 16 + lane / 4) * 16 + lane % 4 * 4;
                    unsigned a[BLOCKS][2];
#pragma unroll
                    for (int block = 0; block < BLOCKS; block++) {
                        const unsigned address = cluster_address(parts, block) + from;
                        a[block][0] = cluster_load_word(address), a[block][1] = cluster_load_word(address + 128);
                    }
                    const unsigned b = reinterpret_cast<const uint2*>(weights + W::column_gate)[lane].x;
                    float d[4] = {};
#pragma unroll
                    for (int block = 0; block < BLOCKS; block++) mma8(d, a[block][0], a[block][1], b);
                    Half8* to = column_gates + task * 16 + lane / 4;
                    to[0].v[lane % 4] = __floats2half2_rn(d[0], d[1]);
                    to[8].v[lane % 4] = __floats2half2_rn(d[2], d[3]);
                } else {
                    const float* tap = reinterpret_cast<const float*>(weights + W::ca);
                    const int channel = lane % 8;
                    float mean = 0.f;
#pragma unroll
                    for (int block = 0; block < BLOCKS; block += 4) {
                        const unsigned address = cluster_address(local_sum + channel, block + lane / 8);
                        mean += __uint_as_float(cluster_load_word(address));
                    }
                    mean += __shfl_xor_sync(~0u, mean, 8);
                    mean = (mean + __shfl_xor_sync(~0u, mean, 16)) * p.per_pixel;
                    float before = __shfl_up_sync(~0u, mean, 1), after = __shfl_down_sync(~0u, mean, 1);
                    before = channel > 0 ? before : 0.f, after = channel < 7 ? after : 0.f;
                    float gain = sigmoid(tap[0] * before + tap[1] * mean + tap[2] * after);
                    if (lane < 8) reinterpret_cast<__half*>(shared + at.gains)[channel] = __float2half_rn(gain);
                }
            }
            // No block may end while another reads its parts.
            if (begins) {
                __syncthreads();
            } else {
                cluster_barrier();
            }
        }
        if (has_pixels) {
            Pixels m = {};
            if (joins) {
                const __half2* mid = reinterpret_cast<const __half2*>(weights + W::mid) + lane % 4;
                const __half2 gain = words(at.gains)->v[lane % 4], scale = mid[0], shift = mid[4], bend = mid[8];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    __half2 gate = sigmoid2(__hadd2(*row_gate[i], *column_gate[i]));
                    __half2 sum = __hfma2(gate, half2_of(g.r[i]), __hfma2(gain, half2_of(l.r[i]), half2_of(u.r[i])));
                    m.r[i] = word_of(bent2(__hfma2(sum, scale, shift), bend));
                }
            }
            // x' = x + expand(m), what follows it, and r = reduce of that; r is zero outside the map.
            const uint2* expand = reinterpret_cast<const uint2*>(weights + W::expand) + lane;
            const uint2 reduce = reinterpret_cast<const uint2*>(weights + W::reduce)[lane];
            const unsigned by[2] = {expand[0].x, expand[32].x};
            const __half2* pre = reinterpret_cast<const __half2*>(weights + W::pre) + lane % 4;
            FragmentA next[2];
#pragma unroll
            for (int n = 0; n < 2; n++) {
                const __half2 scale = pre[n * 4], shift = pre[8 + n * 4], bend = pre[16 + n * 4];
#pragma unroll
                for (int t = 0; t < 2; t++) {
                    float2 first = __half22float2(xs[t][n][0]), second = __half22float2(xs[t][n][1]);
                    float d[4] = {first.x, first.y, second.x, second.y};
                    if (joins) mma8(d, m.r[2 * t], m.r[2 * t + 1], by[n]);
#pragma unroll
                    for (int i = 0; i < 2; i++) {
                        xs[t][n][i] = __floats2half2_rn(d[2 * i], d[2 * i + 1]);
                        next[t].r[2 * n + i] = word_of(bent2(__hfma2(xs[t][n][i], scale, shift), bend));
                    }
                }
            }
#pragma unroll
            for (int t = 0; t < 2; t++) {
                if (begins) {
                    float d[4] = {};
                    mma(d, next[t], reduce);
#pragma unroll
                    for (int i = 0; i < 2; i++) {
                        unsigned value = spot[2 * t + i] >= 0 ? word_of(__floats2half2_rn(d[2 * i], d[2 * i + 1])) : 0;
                        r_map[warp * 32 + t * 16 + i * 8 + lane / 4].v[lane % 4] = half2_of(value);
                    }
                } else {
#pragma unroll
                    for (int i = 0; i < 2; i++) {
                        const int to = spot[2 * t + i];
                        if (!(is_own >> (2 * t + i) & 1)) continue;
#pragma unroll
                        for (int n = 0; n < 2; n++) {
                            unsigned* out = reinterpret_cast<unsigned*>(p.out) + (n * height * width + to) * 4;
                            out[lane % 4] = next[t].r[2 * n + i];
                        }
                    }
                }
            }
        }
        if (!begins) break;
        __syncthreads();
        // up1: a tap is a row further down; up2: a column further right.
        const float* bias = reinterpret_cast<const float*>(weights + W::bias);
        const __half* bend = reinterpret_cast<const __half*>(weights + W::bend);
        if (is_up_warp) {
            const Pixels u1 = strip_taps(r_map + own, width, weights + W::up1, bias, bend);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                if (to_u1[i] >= 0) reinterpret_cast<unsigned*>(u1_map)[to_u1[i]] = u1.r[i];
            }
        }
        __syncthreads();
        if (is_up_warp) store_pixels(u_map, strip_taps(u1_word, 1, weights + W::up2, bias + 8, bend + 8));
        cluster_barrier();
        const Half8* taps = reinterpret_cast<const Half8*>(weights + W::dense_bytes);
        const int dilation = p.dilations[step];
        if (has_pixels) {
            // Both branches' vertical taps.
            Pixels above, below, far_above, far_below;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const unsigned offset = u_near[i][1] - u_row[i][0];
                far_above.r[i] = cluster_load_word(u_row[i][-dilation] + offset);
                far_below.r[i] = cluster_load_word(u_row[i][dilation] + offset);
                above.r[i] = cluster_load_word(u_near[i][0]);
                u.r[i] = cluster_load_word(u_near[i][1]);
                below.r[i] = cluster_load_word(u_near[i][2]);
            }
            store_pixels(near_map, depthwise_taps(above, u, below, taps, diagonal));
            store_pixels(far_map, depthwise_taps(far_above, u, far_below, taps + 10, diagonal));
        }
        __syncthreads();
        if (has_pixels) {
            // The horizontal ones. Of l, what is not the block's own is zero for the sum.
            l = depthwise_taps(load_pixels(beside(near_map, -1)), load_pixels(near_map + tid),
                               load_pixels(beside(near_map, 1)), taps + 5, diagonal);
            g = depthwise_taps(load_pixels(beside(far_map, -dilation)), load_pixels(far_map + tid),
                               load_pixels(beside(far_map, dilation)), taps + 15, diagonal);
            Pixels own_l;
#pragma unroll
            for (int i = 0; i < 4; i++) own_l.r[i] = is_own >> i & 1 ? l.r[i] : 0;
            store_pixels(l_map, own_l);
            store_pixels(g_map, g);
        }
        __syncthreads();
        // Gates of the rows; this block's parts of the columns' means, 16 of them a warp, and of the local ones.
        const int tiles = (width + 15) / 16;
#pragma unroll 1
        for (int task = warp; task < rows + 2 + tiles + 1; task += warps) {
            if (task < rows + 2) {
                float d[4] = {}, gate[4] = {};
#pragma unroll 1
                for (int from = 0; from < width; from += 32) {
                    const FragmentA b = load_b_pair(g_map + task * width + from + lane);
                    unsigned a[4];
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        const int left = width - from - i * 8 - lane % 4 * 2;
                        a[i] = left > 1 ? ONES : left > 0 ? ONES & 0xffff : 0;
                    }
                    mma(d, FragmentA{a[0], a[0], a[1], a[1]}, make_uint2(b.r[0], b.r[1]));
                    mma(d, FragmentA{a[2], a[2], a[3], a[3]}, make_uint2(b.r[2], b.r[3]));
                }
                const unsigned mean = word_of(__floats2half2_rn(d[0] * p.per_column, d[1] * p.per_column));
                mma8(gate, mean, mean, reinterpret_cast<const uint2*>(weights + W::bytes + W::row_gate)[lane].x);
                if (lane < 4) row_gates[task].v[lane] = __floats2half2_rn(gate[0], gate[1]);
            } else if (task < rows + 2 + tiles) {
                const int from = (task - rows - 2) * 16;
                float d[4] = {};
#pragma unroll 1
                for (int row = 1; row <= own_rows; row += 2) {
                    const int own = row + lane / 16;
                    const Half8* words = own <= own_rows ? g_map + own * width + from : zeros;
                    const FragmentA b = load_b_pair(words + lane % 16);
                    const FragmentA a = {diagonal & ONES, 0, 0, diagonal & ONES};
                    mma(d, a, make_uint2(b.r[0], b.r[1]));
                    mma(d, a, make_uint2(b.r[2], b.r[3]));
                }
                Half8* to = parts + from + lane / 4;
                to[0].v[lane % 4] = __floats2half2_rn(d[0] * p.per_row, d[1] * p.per_row);
                to[8].v[lane % 4] = __floats2half2_rn(d[2] * p.per_row, d[3] * p.per_row);
            } else {
                float d[4][4] = {};
#pragma unroll 1
                for (int from = 0; from < rows * width; from += 64) {
#pragma unroll
                    for (int i = 0; i < 2; i++) {
                        const FragmentA b = load_b_pair(l_map + width + from + i * 32 + lane);
                        const FragmentA a = {ONES, ONES, ONES, ONES};
                        mma(d[2 * i], a, make_uint2(b.r[0], b.r[1]));
                        mma(d[2 * i + 1], a, make_uint2(b.r[2], b.r[3]));
                    }
                }
                if (lane < 4) {
                    local_sum[lane * 2] = d[0][0] + d[1][0] + d[2][0] + d[3][0];
                    local_sum[lane * 2 + 1] = d[0][1] + d[1][1] + d[2][1] + d[3][1];
                }
            }
        }
        cluster_barrier();
    }
#endif
}

#define EDAB_CLUSTER(BLOCKS)                                               \
    extern "C" __global__ void __launch_bounds__(512, 1)                   \
        edab_cluster_##BLOCKS(const __grid_constant__ EdabCluster p) {     \
        edab_cluster<BLOCKS>(p);                                           \
    }

EDAB_CLUSTER(8)
EDAB_CLUSTER(16)
