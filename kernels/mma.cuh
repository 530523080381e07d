// Tensor-core products of f16 with f32 sums: D[16, 8] += A[16, 16] * B[16, 8], by one warp.
//
// A comes from shared memory, rows of pixels, 16 channels = 32 bytes each; rows are padded so that eight
// rows of 16 bytes lie in different banks. B comes packed by the host (src/engine/pack.rs): lane l reads
// its four halfs, rows (l%4)*2 + {0,1,8,9} of column l/4, as one 8-byte word. The lane's sums are
// d[0..1] = D[l/4][(l%4)*2 + {0,1}] and d[2..3] = D[l/4 + 8][(l%4)*2 + {0,1}].
#pragma once
#include <cuda_fp16.h>

struct FragmentA {
    unsigned r[4];
};

// `row` is this lane's address: row (lane % 16) of the tile, channels (lane / 16) * 8.
__device__ __forceinline__ FragmentA load_a(const __half* row) {
    FragmentA a;
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(a.r[0]), "=r"(a.r[1]), "=r"(a.r[2]), "=r"(a.r[3])
                 : "r"(address)
                 : "memory");
    return a;
}

__device__ __forceinline__ void mma(float (&d)[4], const FragmentA& a, uint2 b) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.x), "r"(b.y));
}
