// A whole stage of EDABs of 16 channels on a small map, in one cluster (src/network/edab.rs): the map never
// leaves shared memory and registers.
//
// input, out: f16 [2, H, W, 8]. weights: EdabWeights<16>::bytes for each of count + 1 steps, all of them in
// shared memory. A block of the cluster has `rows` rows of the map, and repeats one above and one below, so
// that of the maps u alone is read by other blocks; besides that the parts of the attention's means.
//
// A thread has one pixel: its 8 channels of u, l and g lie in one 16-byte word each. Warps have 32 pixels:
// products on the tensor cores take them as two tiles of 16, and x stays in the registers as their sums lie.
// The tensor cores add up the means too, by products with ones. Rounding is that of kernels/edab_dense.cuh
// and kernels/edab_depthwise.cuh. Limits: BLOCKS * rows >= H, (rows + 2) * W threads at least, 64, and 16
// blocks of EDAB.

#include "cluster.cuh"
#include "edab_depthwise.cuh"
#include "edab_weights.cuh"
#include "launch.cuh"
#include "mma.cuh"
#include "prefetch.cuh"

struct EdabCluster {
    const __half* input;
    __half* out;
    const unsigned char* weights;
    int height, width, count;
    int rows;                              // of a block
    float per_row, per_column, per_pixel;  // 1 / height, 1 / width, and their product
    int dilations[16];
};

// Where the parts of a block's shared memory begin, in bytes.
struct ClusterShared {
    int u, r, u1, near, far, l, g, zeros, parts, local_sum, column_gates, row_gates, gains, u_rows, bytes;

    __host__ __device__ ClusterShared(int count, int rows, int height, int width) {
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
        zeros = take(16 * 16);
        parts = take(up_to(width, 16) * 16);
        local_sum = take(32);
        column_gates = take(up_to(width, 16) * 16);
        row_gates = take((rows + 2) * 16);
        gains = take(16);
        u_rows = take(height * 4);
        bytes = at;
    }
};

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
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
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(word));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(b.r[0]), "=r"(b.r[1]), "=r"(b.r[2]), "=r"(b.r[3])
                 : "r"(address)
                 : "memory");
    return b;
}

// Two tiles of 16 pixels, three taps of 8 channels, with `fragments` as edab_weights.cuh has up1 and up2:
// `row` is the first tap's word of this lane's pixel, `stride` the distance of the taps, in words.
__device__ __forceinline__ void strip_product(float (&d)[2][4], const Half8* row, int stride, const unsigned char* fragments,
                                              const float* bias) {
    const int lane = threadIdx.x % 32;
    const uint2* b = reinterpret_cast<const uint2*>(fragments) + lane;
    const FragmentA first = load_a(reinterpret_cast<const __half*>(row));
    const FragmentA second = load_a(reinterpret_cast<const __half*>(row + stride));
    const FragmentA third = load_a(reinterpret_cast<const __half*>(row + 2 * stride));
    const uint2 both = b[0];
    const unsigned last = b[32].x;
    const float2 start = *reinterpret_cast<const float2*>(bias + lane % 4 * 2);
#pragma unroll
    for (int t = 0; t < 2; t++) {
        d[t][0] = d[t][2] = start.x, d[t][1] = d[t][3] = start.y;
        mma(d[t], FragmentA{first.r[2 * t], first.r[2 * t + 1], second.r[2 * t], second.r[2 * t + 1]}, both);
        mma8(d[t], third.r[2 * t], third.r[2 * t + 1], last);
    }
}
#endif

template <int BLOCKS>
__device__ __forceinline__ void edab_cluster(const EdabCluster& p) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    using W = EdabWeights<16>;
    constexpr unsigned ONES = 0x3c003c00;
    extern __shared__ __align__(16) unsigned char shared[];
    __shared__ Prefetch prefetch;
    const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32, warps = blockDim.x / 32;
    const int rank = cluster_rank(), height = p.height, width = p.width, rows = p.rows;
    const int pixel_warps = ((rows + 2) * width + 31) / 32;
    const ClusterShared at(p.count, rows, height, width);
    check_shared_bytes(at.bytes);
    auto words = [&](int from) { return reinterpret_cast<Half8*>(shared + from); };
    Half8 *u_map = words(at.u), *r_map = words(at.r), *u1_map = words(at.u1), *near_map = words(at.near),
          *far_map = words(at.far), *l_map = words(at.l), *g_map = words(at.g), *zeros = words(at.zeros);
    Half8 *parts = words(at.parts), *column_gates = words(at.column_gates), *row_gates = words(at.row_gates);
    unsigned* u_rows = reinterpret_cast<unsigned*>(shared + at.u_rows);
    float* local_sum = reinterpret_cast<float*>(shared + at.local_sum);

    prefetch.prepare();
    for (int i = at.u + tid * 16; i < at.parts; i += blockDim.x * 16) *words(i) = half8_zero();
    for (int y = tid; y < height; y += blockDim.x) u_rows[y] = cluster_address(u_map + y % rows * width, y / rows);
    __syncthreads();
    prefetch.begin((p.count + 1) * W::bytes);
    prefetch.copy(shared, p.weights, (p.count + 1) * W::bytes);

    // This thread's pixel of the block's rows with one above and below, from y0 - 1 on.
    const int y0 = rank * rows, own_rows = min(max(height - y0, 0), rows);
    const int line = tid / width, x = tid - line * width, y = y0 - 1 + line;
    const bool is_inside = line < rows + 2 && y >= 0 && y < height;
    const bool is_own = is_inside && line >= 1 && line <= rows;
    // Its pixel of the block's own rows, for up1 and up2.
    const int own = min(tid, rows * width - 1), own_line = own / width;
    const Half8* u1_row = u1_map + own_line * (width + 1) + own - own_line * width;
    const bool is_up_warp = warp * 32 < rows * width;
    // Of the products' sums: where they lie in the map, or -1 outside it, and in u1.
    int spot[2][2], to_u1[2][2];
#pragma unroll
    for (int t = 0; t < 2; t++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int q = warp * 32 + t * 16 + i * 8 + lane / 4, l = q / width, qy = y0 - 1 + l;
            spot[t][i] = l < rows + 2 && qy >= 0 && qy < height ? qy * width + q - l * width : -1;
            to_u1[t][i] = q < rows * width ? (l * (width + 1) + 1 + q - l * width) * 4 + lane % 4 : -1;
        }
    }
    // Whether this lane's element of the identity is one, of A's first and last quarter alike.
    const unsigned identity = lane / 4 == lane % 4 * 2 ? 0x3c00 : lane / 4 == lane % 4 * 2 + 1 ? 0x3c000000 : 0;

    __half2 xs[2][2][2];  // tile, block of 8 channels, row
    grid_dependency_wait();
#pragma unroll
    for (int t = 0; t < 2; t++) {
#pragma unroll
        for (int n = 0; n < 2; n++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const unsigned from = (n * height * width + max(spot[t][i], 0)) * 4 + lane % 4;
                xs[t][n][i] = half2_of(__ldcg(reinterpret_cast<const unsigned*>(p.input) + from));
            }
        }
    }
    prefetch.wait(0);
    Half8 u = half8_zero(), l = u, g = u;
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
                    to[0].v[lane % 4] = __floats2half2_rn(d[0], d[1]), to[8].v[lane % 4] = __floats2half2_rn(d[2], d[3]);
                } else {
                    const float* tap = reinterpret_cast<const float*>(weights + W::ca);
                    const int channel = lane % 8;
                    float mean = 0.f;
#pragma unroll
                    for (int block = 0; block < BLOCKS; block += 4) {
                        mean += __uint_as_float(cluster_load_word(cluster_address(local_sum + channel, block + lane / 8)));
                    }
                    mean += __shfl_xor_sync(~0u, mean, 8);
                    mean = (mean + __shfl_xor_sync(~0u, mean, 16)) * p.per_pixel;
                    float before = __shfl_up_sync(~0u, mean, 1), after = __shfl_down_sync(~0u, mean, 1);
                    before = channel > 0 ? before : 0.f, after = channel < 7 ? after : 0.f;
                    float gain = sigmoid(tap[0] * before + tap[1] * mean + tap[2] * after);
                    if (lane < 8) reinterpret_cast<__half*>(shared + at.gains)[channel] = __float2half_rn(gain);
                }
            }
            __syncthreads();
        }
        if (warp < pixel_warps) {
            FragmentA m = {};
            if (joins) {
                const Half8 a = row_gates[min(line, rows + 1)], b = column_gates[x], gain = *words(at.gains);
                const Half8* mid = reinterpret_cast<const Half8*>(weights + W::mid);
                const Half8 scale = mid[0], shift = mid[1], bend = mid[2];
                Half8 sum;
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    __half2 gate = sigmoid2(__hadd2(a.v[i], b.v[i]));
                    sum.v[i] = __hfma2(gate, g.v[i], __hfma2(gain.v[i], l.v[i], u.v[i]));
                    sum.v[i] = bent2(__hfma2(sum.v[i], scale.v[i], shift.v[i]), bend.v[i]);
                }
                r_map[tid] = sum;
                __syncwarp();
                m = load_a(reinterpret_cast<const __half*>(r_map + tid));
                __syncwarp();
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
                        unsigned value = spot[t][i] >= 0 ? word_of(__floats2half2_rn(d[2 * i], d[2 * i + 1])) : 0;
                        r_map[warp * 32 + t * 16 + i * 8 + lane / 4].v[lane % 4] = half2_of(value);
                    }
                } else {
#pragma unroll
                    for (int i = 0; i < 2; i++) {
                        const int to = spot[t][i];
                        if (to < y0 * width || to >= (y0 + rows) * width) continue;
#pragma unroll
                        for (int n = 0; n < 2; n++) {
                            reinterpret_cast<unsigned*>(p.out)[(n * height * width + to) * 4 + lane % 4] = next[t].r[2 * n + i];
                        }
                    }
                }
            }
        }
        if (!begins) break;
        __syncthreads();
        // up1: a tap is a row further down; up2: a column further right.
        const float* bias = reinterpret_cast<const float*>(weights + W::bias);
        const __half2* bends = reinterpret_cast<const __half2*>(weights + W::bend) + lane % 4;
        if (is_up_warp) {
            const __half2 bend = bends[0];
            float d[2][4];
            strip_product(d, r_map + own, width, weights + W::up1, bias);
#pragma unroll
            for (int t = 0; t < 2; t++) {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    __half2 value = bent2(__floats2half2_rn(d[t][2 * i], d[t][2 * i + 1]), bend);
                    if (to_u1[t][i] >= 0) reinterpret_cast<__half2*>(u1_map)[to_u1[t][i]] = value;
                }
            }
        }
        __syncthreads();
        if (is_up_warp) {
            const __half2 bend = bends[4];
            float d[2][4];
            strip_product(d, u1_row, 1, weights + W::up2, bias + 8);
#pragma unroll
            for (int t = 0; t < 2; t++) {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    __half2 value = bent2(__floats2half2_rn(d[t][2 * i], d[t][2 * i + 1]), bend);
                    u_map[warp * 32 + t * 16 + i * 8 + lane / 4].v[lane % 4] = value;
                }
            }
        }
        cluster_barrier();
        const Half8* taps = reinterpret_cast<const Half8*>(weights + W::dense_bytes);
        const int dilation = p.dilations[step];
        if (warp < pixel_warps) {
            // Both branches' vertical taps. Rows outside the map are read from its edge, and count as zero.
            Half8 column[5];
            const int offsets[5] = {0, -1, 1, -dilation, dilation};
#pragma unroll
            for (int i = 0; i < 5; i++) {
                column[i] = cluster_load(u_rows[min(max(y + offsets[i], 0), height - 1)] + x * 16);
            }
#pragma unroll
            for (int i = 0; i < 5; i++) {
                if (!is_inside || y + offsets[i] < 0 || y + offsets[i] >= height) column[i] = half8_zero();
            }
            u = column[0];
            near_map[tid] = Strip(taps).of(column[1], u, column[2]);
            far_map[tid] = Strip(taps + 10).of(column[3], u, column[4]);
        }
        __syncthreads();
        if (warp < pixel_warps) {
            // The horizontal ones.
            auto at_offset = [&](const Half8* map, int offset) {
                const bool is_in_row = is_inside && x + offset >= 0 && x + offset < width;
                const Half8 value = map[is_in_row ? tid + offset : tid];
                return is_in_row ? value : half8_zero();
            };
            l = Strip(taps + 5).of(at_offset(near_map, -1), near_map[tid], at_offset(near_map, 1));
            g = Strip(taps + 15).of(at_offset(far_map, -dilation), far_map[tid], at_offset(far_map, dilation));
            l_map[tid] = is_own ? l : half8_zero();
            g_map[tid] = g;
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
                    const FragmentA b = load_b_pair(own <= own_rows ? g_map + own * width + from + lane % 16 : zeros + lane % 16);
                    const FragmentA a = {identity, 0, 0, identity};
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
                        const FragmentA b = load_b_pair(l_map + width + from + i * 32 + lane), a = {ONES, ONES, ONES, ONES};
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

// Of 2^k blocks, with as many threads at most.
#define EDAB_CLUSTER(BLOCKS, THREADS)                                                      \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                               \
        edab_cluster_##BLOCKS##_##THREADS(const __grid_constant__ EdabCluster p) {         \
        edab_cluster<BLOCKS>(p);                                                           \
    }

EDAB_CLUSTER(4, 512)
EDAB_CLUSTER(8, 512)
EDAB_CLUSTER(8, 1024)
EDAB_CLUSTER(16, 512)
EDAB_CLUSTER(16, 1024)
