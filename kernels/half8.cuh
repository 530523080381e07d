// Eight channels of one pixel, f16 in 16 bytes: the unit of the channel-blocked layout [c/8, h, w, 8].
#pragma once
#include <cuda_fp16.h>

struct __align__(16) Half8 {
    __half2 v[4];

    Half8() = default;
    // Copied as one 16-byte word; member by member the compiler would make four accesses of it.
    __device__ __forceinline__ Half8(const Half8& from) { *this = from; }
    __device__ __forceinline__ Half8& operator=(const Half8& from) {
        *reinterpret_cast<uint4*>(this) = *reinterpret_cast<const uint4*>(&from);
        return *this;
    }
};

__device__ __forceinline__ Half8 half8_zero() {
    Half8 z;
#pragma unroll
    for (int i = 0; i < 4; i++) z.v[i] = __half2half2(__ushort_as_half(0));
    return z;
}

__device__ __forceinline__ void floats_from_half8(float (&out)[8], const Half8& in) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float2 f = __half22float2(in.v[i]);
        out[2 * i] = f.x;
        out[2 * i + 1] = f.y;
    }
}

__device__ __forceinline__ Half8 half8_from_floats(const float (&in)[8]) {
    Half8 out;
#pragma unroll
    for (int i = 0; i < 4; i++) out.v[i] = __floats2half2_rn(in[2 * i], in[2 * i + 1]);
    return out;
}

__device__ __forceinline__ float prelu(float x, float slope) { return x > 0.f ? x : slope * x; }

// 1 / (1 + exp(-x)) by the hardware's tanh: off by at most 2^-12, below what f16 holds.
__device__ __forceinline__ float sigmoid(float x) {
    float t;
    asm("tanh.approx.f32 %0, %1;" : "=f"(t) : "f"(0.5f * x));
    return fmaf(0.5f, t, 0.5f);
}

// prelu of two values at once; NaN stays NaN.
__device__ __forceinline__ __half2 prelu2(__half2 x, __half2 slope) {
    const __half2 zero = __half2half2(__ushort_as_half(0));
    return __hfma2(slope, __hmin2_nan(x, zero), __hmax2_nan(x, zero));
}

// As prelu2, with `bend` the slope less one.
__device__ __forceinline__ __half2 bent2(__half2 x, __half2 bend) {
    return __hfma2(bend, __hmin2(x, __half2half2(__ushort_as_half(0))), x);
}

// As sigmoid, of two values; off by at most 2^-11, the spacing of f16 below 1.
__device__ __forceinline__ __half2 sigmoid2(__half2 x) {
    const __half2 half = __half2half2(__ushort_as_half(0x3800));
    __half2 t = __hmul2(half, x);
    unsigned bits = *reinterpret_cast<unsigned*>(&t);
    asm("tanh.approx.f16x2 %0, %1;" : "=r"(bits) : "r"(bits));
    return __hfma2(half, *reinterpret_cast<__half2*>(&bits), half);
}
