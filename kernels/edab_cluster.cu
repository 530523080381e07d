// A whole stage of 16-channel EDABs in one launch (src/network/edab.rs): one cluster of 8 blocks keeps the
// map in its shared memory, a band of rows each.
//
// The maths is that of kernels/edab_dense.cuh and kernels/edab_depthwise.cuh, and so are the roundings:
// x, r, u1, u, l, g and m are f16, sums f32. In the depthwise steps a thread owns two channels of some
// pixels, in the products a warp 16 pixels.
//
// x, out: f16 [2, H, W, 8]. weights: EdabWeights<16>::bytes for each of count + 1 steps. A block reads its neighbours' edge rows of r, anyone's rows of u, and everyone's
// column sums of g, through the cluster; a cluster barrier stands before each of the three.
//
// Limits: 16 blocks of EDAB; bands of ceil(H / 8) rows whose maps fit in shared memory.
// Hopper and later.

#include "edab_weights.cuh"
#include "half8.cuh"
#include "launch.cuh"
#include "mma.cuh"
#include "strip.cuh"

struct EdabCluster {
    const __half* x;
    const unsigned char* weights;
    __half* out;
    int height, width, count;
    int dilations[16];
};

#if __CUDA_ARCH__ >= 900

constexpr int BLOCKS = 8;
constexpr int THREADS = 512, WARPS = THREADS / 32;
using Weights = EdabWeights<16>;
constexpr int STEP = Weights::bytes;

__device__ __forceinline__ unsigned cluster_rank() {
    unsigned rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// All threads of the cluster; what they wrote to any shared memory before it is seen after it.
__device__ __forceinline__ void cluster_barrier() {
    injected_delay();
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
    injected_delay();
}

// The address, in block `rank`, of what lies at `own` in this one.
__device__ __forceinline__ unsigned address_in(const void* own, unsigned rank) {
    unsigned there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;"
        : "=r"(there)
        : "r"(static_cast<unsigned>(__cvta_generic_to_shared(own))), "r"(rank));
    return there;
}

__device__ __forceinline__ __half2 load_half2(unsigned at) {
    unsigned v;
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(v) : "r"(at) : "memory");
    return *reinterpret_cast<__half2*>(&v);
}

__device__ __forceinline__ float4 load_float4(unsigned at) {
    float4 v;
    asm volatile("ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(at) : "memory");
    return v;
}

__device__ __forceinline__ void store_half2(unsigned at, __half2 v) {
    asm volatile("st.shared::cluster.u32 [%0], %1;" ::"r"(at), "r"(*reinterpret_cast<unsigned*>(&v)) : "memory");
}

__device__ __forceinline__ float2 strip(const float* taps, __half2 a, __half2 b, __half2 c) {
    return apply(load_strip(taps), a, b, c);
}

__device__ __forceinline__ __half2 half2_from(float2 v) { return __floats2half2_rn(v.x, v.y); }

__device__ __forceinline__ __half2 half2_at(const unsigned char* values, int channel) {
    return *reinterpret_cast<const __half2*>(values + channel * 2);
}

// Adds up over the warp's eight pixels; each lane gets the sums of its two channels.
__device__ __forceinline__ float2 pixels_sum(float2 v) {
#pragma unroll
    for (int step = 4; step < 32; step *= 2) {
        v.x += __shfl_xor_sync(~0u, v.x, step);
        v.y += __shfl_xor_sync(~0u, v.y, step);
    }
    return v;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) edab_cluster(const __grid_constant__ EdabCluster p) {
    extern __shared__ __align__(16) unsigned char shared[];
    __shared__ float2 local_parts[WARPS][4];
    __shared__ float local_means[8];
    __shared__ __align__(16) float local_sum[8];
    __shared__ __align__(16) __half gains[8];
    const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
    const int W = p.width, band = (p.height + BLOCKS - 1) / BLOCKS;
    const unsigned rank = cluster_rank();
    const int y0 = rank * band, rows = max(min(band, p.height - y0), 0);
    const int pixels = rows * W, tiles = (pixels + 15) / 16, most = band * W;
    const int lines = (W + 15) / 16 * 16, band_lines = (band + 15) / 16 * 16;
    const __half2 zero = __half2half2(__ushort_as_half(0));

    // Arrays of pixels of 16 bytes, as many for every block of the cluster.
    Half8* xs = reinterpret_cast<Half8*>(shared);        // [2, band, W]
    Half8* rs = xs + 2 * most;                           // [band + 2, W]: a row above and one below
    Half8* us = rs + (band + 2) * W;                     // [band, W + 2]: u1, a column at each side
    Half8* u = us + band * (W + 2);                      // [band, W]
    Half8* vl = u + most;                                // between the taps of l, of g
    Half8* vg = vl + most;
    Half8* ls = vg + most;                               // l, then m in its place
    Half8* gs = ls + most;
    float2* column_sums = reinterpret_cast<float2*>(gs + most);           // [W, 4]
    __half* means = reinterpret_cast<__half*>(column_sums + 4 * W);       // [band_lines + lines, 16]
    __half* gates = means + (band_lines + lines) * 16;                    // [band_lines + lines, 8]
    unsigned char* weights = reinterpret_cast<unsigned char*>(gates + (band_lines + lines) * 8);
    check_shared_bytes(weights + (p.count + 1) * STEP - shared);

    for (int i = tid * 16; i < (p.count + 1) * STEP; i += THREADS * 16) copy_async_16(weights + i, p.weights + i);
    copy_async_commit();
    // What lies outside the map stays zero.
    for (int i = tid; i < (band + 2) * W; i += THREADS) rs[i] = half8_zero();
    for (int i = tid; i < band; i += THREADS) us[i * (W + 2)] = us[i * (W + 2) + W + 1] = half8_zero();
    for (int i = tid; i < (band_lines + lines) * 8; i += THREADS) reinterpret_cast<__half2*>(means)[i] = zero;
    grid_dependency_release();
    grid_dependency_wait();
    for (int i = tid; i < 2 * pixels; i += THREADS) {
        int block = i / pixels, pixel = i % pixels;
        const uint4* from = reinterpret_cast<const uint4*>(p.x) + size_t(block) * p.height * W + y0 * W + pixel;
        copy_async_16(xs + block * most + pixel, from);
    }
    copy_async_commit();
    copy_async_wait<0>();
    // No block writes to another before that one has cleared its memory.
    cluster_barrier();

    for (int step = 0; step <= p.count; step++) {
        const bool joins = step > 0, begins = step < p.count;
        const unsigned char* now = weights + step * STEP;
        // x' = x + expand(m), what follows it, and r = reduce of that
        for (int tile = warp; tile < tiles; tile += WARPS) {
            FragmentA m;
            if (joins) m = load_a(reinterpret_cast<const __half*>(ls + min(tile * 16 + lane % 16, pixels - 1)));
            FragmentA next;
#pragma unroll
            for (int n = 0; n < 2; n++) {
                float d[4] = {};
                if (joins) mma(d, m, reinterpret_cast<const uint2*>(now + Weights::expand)[n * 32 + lane]);
                int c = n * 8 + lane % 4 * 2;
                __half2 scale = half2_at(now + Weights::pre, c), shift = half2_at(now + Weights::pre, 16 + c), slope = half2_at(now + Weights::pre, 32 + c);
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    int pixel = tile * 16 + lane / 4 + 8 * i;
                    __half2 value = zero;
                    if (pixel < pixels) {
                        __half2& x = xs[n * most + pixel].v[lane % 4];
                        if (joins) {
                            float2 sum = __half22float2(x);
                            x = __floats2half2_rn(sum.x + d[2 * i], sum.y + d[2 * i + 1]);
                        }
                        value = prelu2(__hfma2(x, scale, shift), slope);
                        if (!begins) {
                            Half8* out = reinterpret_cast<Half8*>(p.out) + size_t(n) * p.height * W + y0 * W + pixel;
                            out->v[lane % 4] = value;
                        }
                    }
                    next.r[2 * n + i] = *reinterpret_cast<unsigned*>(&value);
                }
            }
            if (begins) {
                float d[4] = {};
                mma(d, next, reinterpret_cast<const uint2*>(now + Weights::reduce)[lane]);
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    int pixel = tile * 16 + lane / 4 + 8 * i;
                    if (pixel < pixels) {
                        __half2 r = __floats2half2_rn(d[2 * i], d[2 * i + 1]);
                        rs[W + pixel].v[lane % 4] = r;
                        // The first row lies below the band above, the last one above the band below.
                        if (pixel < W && rank > 0) {
                            store_half2(address_in(&rs[(band + 1) * W + pixel].v[lane % 4], rank - 1), r);
                        }
                        if (pixel >= pixels - W && y0 + rows < p.height) {
                            store_half2(address_in(&rs[pixel - (pixels - W)].v[lane % 4], rank + 1), r);
                        }
                    }
                }
            }
        }
        if (!begins) break;
        cluster_barrier();
        // u1, then u. A step of 16 holds two taps; the fourth meets zero weights.
        auto strip_product = [&](const unsigned char* fragments, int offset, auto a_at, auto store) {
            float2 bias = *reinterpret_cast<const float2*>(now + Weights::bias + offset * 4 + lane % 4 * 8);
            __half2 slope = half2_at(now + Weights::slope + offset * 2, lane % 4 * 2);
            uint2 b0 = reinterpret_cast<const uint2*>(fragments)[lane];
            uint2 b1 = reinterpret_cast<const uint2*>(fragments)[32 + lane];
            for (int tile = warp; tile < tiles; tile += WARPS) {
                int pixel = min(tile * 16 + lane % 16, pixels - 1);
                float d[4] = {bias.x, bias.y, bias.x, bias.y};
                mma(d, load_a(reinterpret_cast<const __half*>(a_at(pixel, lane / 16))), b0);
                mma(d, load_a(reinterpret_cast<const __half*>(a_at(pixel, 2))), b1);
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    int pixel = tile * 16 + lane / 4 + 8 * i;
                    if (pixel < pixels) store(pixel, prelu2(__floats2half2_rn(d[2 * i], d[2 * i + 1]), slope));
                }
            }
        };
        strip_product(
            now + Weights::up1, 0, [&](int pixel, int tap) { return rs + pixel + tap * W; },
            [&](int pixel, __half2 value) { us[pixel / W * (W + 2) + pixel % W + 1].v[lane % 4] = value; });
        __syncthreads();
        strip_product(
            now + Weights::up2, 8, [&](int pixel, int tap) { return us + pixel / W * (W + 2) + pixel % W + tap; },
            [&](int pixel, __half2 value) { u[pixel].v[lane % 4] = value; });
        cluster_barrier();
        // Both branches' vertical taps, rows from wherever they lie
        const int pair = tid % 4, d = p.dilations[step];
        const float* taps = reinterpret_cast<const float*>(now + Weights::dense_bytes) + pair * 2;
        for (int i = tid / 4; i < pixels; i += THREADS / 4) {
            int y = y0 + i / W, column = i % W;
            auto at = [&](int y) {
                if (y < 0 || y >= p.height) return zero;
                return load_half2(address_in(&u[y % band * W + column].v[pair], y / band));
            };
            __half2 middle = u[i].v[pair], above = at(y - 1), below = at(y + 1);
            __half2 far_above = at(y - d), far_below = at(y + d);
            vl[i].v[pair] = half2_from(strip(taps, above, middle, below));
            vg[i].v[pair] = half2_from(strip(taps + 80, far_above, middle, far_below));
        }
        __syncthreads();
        float2 local = {};
        for (int i = tid / 4; i < pixels; i += THREADS / 4) {
            int column = i % W;
            auto at = [&](const Half8* v, int by) {
                return column + by >= 0 && column + by < W ? v[i + by].v[pair] : zero;
            };
            float2 l = strip(taps + 40, at(vl, -1), vl[i].v[pair], at(vl, 1));
            ls[i].v[pair] = half2_from(l);
            local = make_float2(local.x + l.x, local.y + l.y);
            gs[i].v[pair] = half2_from(strip(taps + 120, at(vg, -d), vg[i].v[pair], at(vg, d)));
        }
        local = pixels_sum(local);
        if (lane < 4) local_parts[warp][lane] = local;
        __syncthreads();
        // Sums of this band's columns and means of its rows
        for (int i = tid; i < W * 4; i += THREADS) {
            float2 sum = {};
            for (int row = 0; row < rows; row++) {
                float2 g = __half22float2(gs[row * W + i / 4].v[pair]);
                sum = make_float2(sum.x + g.x, sum.y + g.y);
            }
            column_sums[i] = sum;
        }
        for (int row = warp; row < rows; row += WARPS) {
            float2 sum = {};
            for (int column = lane / 4; column < W; column += 8) {
                float2 g = __half22float2(gs[row * W + column].v[pair]);
                sum = make_float2(sum.x + g.x, sum.y + g.y);
            }
            sum = pixels_sum(sum);
            float share = 1.f / float(W);
            if (lane < 4) {
                reinterpret_cast<__half2*>(means + row * 16)[lane] = __floats2half2_rn(sum.x * share, sum.y * share);
            }
        }
        if (tid < 8) {
            float sum = 0.f;
#pragma unroll
            for (int w = 0; w < WARPS; w++) sum += reinterpret_cast<const float*>(local_parts[w])[tid];
            local_sum[tid] = sum;
        }
        cluster_barrier();
        // Means of the whole map's columns and channels
        const unsigned char* ending = now + STEP;
        for (int i = tid; i < 2 * W + 2; i += THREADS) {
            const float4* own = reinterpret_cast<const float4*>(i < 2 * W ? column_sums + 2 * i : reinterpret_cast<const float2*>(local_sum) + 2 * (i - 2 * W));
            float4 part[BLOCKS], sum = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll
            for (int b = 0; b < BLOCKS; b++) part[b] = load_float4(address_in(own, b));
#pragma unroll
            for (int b = 0; b < BLOCKS; b++) {
                sum = make_float4(sum.x + part[b].x, sum.y + part[b].y, sum.z + part[b].z, sum.w + part[b].w);
            }
            if (i < 2 * W) {
                float share = 1.f / float(p.height);
                __half2* to = reinterpret_cast<__half2*>(means + (band_lines + i / 2) * 16 + i % 2 * 4);
                to[0] = __floats2half2_rn(sum.x * share, sum.y * share);
                to[1] = __floats2half2_rn(sum.z * share, sum.w * share);
            } else {
                float share = 1.f / (float(p.height) * float(W));
                float* to = local_means + (i - 2 * W) * 4;
                to[0] = sum.x * share;
                to[1] = sum.y * share;
                to[2] = sum.z * share;
                to[3] = sum.w * share;
            }
        }
        __syncthreads();
        if (tid < 8) {
            const float* tap = reinterpret_cast<const float*>(ending + Weights::ca);
            const float* mean = local_means;
            float before = tid > 0 ? mean[tid - 1] : 0.f, behind = tid < 7 ? mean[tid + 1] : 0.f;
            gains[tid] = __float2half_rn(sigmoid(tap[0] * before + tap[1] * mean[tid] + tap[2] * behind));
        }
        for (int tile = warp; tile < (band_lines + lines) / 16; tile += WARPS) {
            bool is_row = tile < band_lines / 16;
            uint2 b = reinterpret_cast<const uint2*>(ending + (is_row ? Weights::row_gate : Weights::column_gate))[lane];
            float d[4] = {};
            mma(d, load_a(means + (tile * 16 + lane % 16) * 16 + lane / 16 * 8), b);
            __half* to = gates + (tile * 16 + lane / 4) * 8 + lane % 4 * 2;
            *reinterpret_cast<__half2*>(to) = __floats2half2_rn(d[0], d[1]);
            *reinterpret_cast<__half2*>(to + 64) = __floats2half2_rn(d[2], d[3]);
        }
        __syncthreads();
        // m
        const __half2 gain = half2_at(reinterpret_cast<const unsigned char*>(gains), pair * 2);
        const unsigned char* mid = ending + Weights::mid;
        __half2 scale = half2_at(mid, pair * 2), shift = half2_at(mid, 8 + pair * 2), slope = half2_at(mid, 16 + pair * 2);
        for (int i = tid / 4; i < pixels; i += THREADS / 4) {
            __half2 a = reinterpret_cast<const __half2*>(gates + i / W * 8)[pair];
            __half2 b = reinterpret_cast<const __half2*>(gates + (band_lines + i % W) * 8)[pair];
            __half2 sum = __hfma2(sigmoid2(__hadd2(a, b)), gs[i].v[pair], __hfma2(gain, ls[i].v[pair], u[i].v[pair]));
            ls[i].v[pair] = prelu2(__hfma2(sum, scale, shift), slope);
        }
        __syncthreads();
    }
    cluster_barrier();  // a block that ends takes its shared memory with it
}

#else

extern "C" __global__ void edab_cluster(const __grid_constant__ EdabCluster) { __trap(); }

#endif
