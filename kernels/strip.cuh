// A depthwise strip of three taps with its PReLU, for two channels: f16 in, f32 arithmetic.
#pragma once
#include "half8.cuh"

struct Strip {
    float2 tap[3], bias, slope;
};

// `taps` is f32 [5, 8], from the two channels on: three taps, bias, slope.
__device__ __forceinline__ Strip load_strip(const float* taps) {
    Strip s;
#pragma unroll
    for (int i = 0; i < 3; i++) s.tap[i] = *reinterpret_cast<const float2*>(taps + i * 8);
    s.bias = *reinterpret_cast<const float2*>(taps + 24);
    s.slope = *reinterpret_cast<const float2*>(taps + 32);
    return s;
}

// prelu(w . (a, b, c) + bias)
__device__ __forceinline__ float2 apply(const Strip& s, __half2 a, __half2 b, __half2 c) {
    float2 af = __half22float2(a), bf = __half22float2(b), cf = __half22float2(c);
    float x = fmaf(s.tap[2].x, cf.x, fmaf(s.tap[1].x, bf.x, fmaf(s.tap[0].x, af.x, s.bias.x)));
    float y = fmaf(s.tap[2].y, cf.y, fmaf(s.tap[1].y, bf.y, fmaf(s.tap[0].y, af.y, s.bias.y)));
    return make_float2(prelu(x, s.slope.x), prelu(y, s.slope.y));
}
