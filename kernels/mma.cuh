// Tensor-core products of f16 with f32 sums: D[16, 8] += A[16, 16] * B[16, 8], by one warp.
//
// A comes from shared memory, rows of pixels, 16 channels = 32 bytes each; rows are padded so that eight
// rows of 16 bytes lie in different banks. B comes packed by the host (src/engine/pack.rs): lane l reads
// its four halfs, rows (l%4)*2 + {0,1,8,9} of column l/4, as one 8-byte word. The lane's sums are
// d[0..1] = D[l/4][(l%4)*2 + {0,1}] and d[2..3] = D[l/4 + 8][(l%4)*2 + {0,1}].
#pragma once
#include <cuda_fp16.h>

#include "shared_address.cuh"

struct FragmentA {
    unsigned r[4];
};

// The lane's address in shared memory is row (lane % 16) of the tile, channels (lane / 16) * 8.
__device__ __forceinline__ FragmentA load_a_at(unsigned address) {
    FragmentA a;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(a.r[0]), "=r"(a.r[1]), "=r"(a.r[2]), "=r"(a.r[3])
                 : "r"(address)
                 : "memory");
    return a;
}

__device__ __forceinline__ FragmentA load_a(const __half* row) { return load_a_at(shared_address(row)); }

__device__ __forceinline__ unsigned load_word_at(unsigned address) {
    unsigned word;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(word) : "r"(address) : "memory");
    return word;
}

// Stores four matrices of 8 pixels x 8 channels as the products leave them; lane l's address is that of
// pixel l % 8 of matrix l / 8.
__device__ __forceinline__ void store_matrices(unsigned address, const unsigned (&values)[4]) {
#if __CUDA_ARCH__ >= 900
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(address),
                 "r"(values[0]), "r"(values[1]), "r"(values[2]), "r"(values[3])
                 : "memory");
#else
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        unsigned row = __shfl_sync(~0u, address, i * 8 + lane / 4);
        asm volatile("st.shared.u32 [%0], %1;" ::"r"(row + lane % 4 * 4), "r"(values[i]) : "memory");
    }
#endif
}

__device__ __forceinline__ void mma(float (&d)[4], const FragmentA& a, uint2 b) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.x), "r"(b.y));
}

// The first of a chain of products, D = A * B + C.
__device__ __forceinline__ void mma_from(float (&d)[4], const FragmentA& a, uint2 b, const float (&c)[4]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%10,%11,%12,%13};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.x), "r"(b.y), "f"(c[0]), "f"(c[1]),
          "f"(c[2]), "f"(c[3]));
}
