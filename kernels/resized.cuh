// A bilinear resize (half-pixel centres, borders repeated) into the patch of a 3x3 convolution: what up and
// the head share.
#pragma once
#include "conv3x3.cuh"

// (1 - share) * in[low] + share * in[high]; low is negative where the output is outside of the map.
struct ResizeTap {
    int low, high;
    __half2 share;
};

__device__ __forceinline__ ResizeTap resize_tap(int out, int n_in, int n_out) {
    if (out < 0 || out >= n_out) return {-1, -1, {}};
    int at = max((2 * out + 1) * n_in - n_out, 0);
    int low = min(at / (2 * n_out), n_in - 1);
    float share = static_cast<float>(at - low * 2 * n_out) / static_cast<float>(2 * n_out);
    return {low, min(low + 1, n_in - 1), __float2half2_rn(share)};
}

// low + share * (high - low), in f16: three of these round the resized map by at most 2^-9. By value: a
// reference to the device's memory would be read member by member.
__device__ __forceinline__ Half8 mixed8(Half8 low, Half8 high, __half2 share) {
    Half8 out;
#pragma unroll
    for (int i = 0; i < 4; i++) out.v[i] = __hfma2(share, __hsub2(high.v[i], low.v[i]), low.v[i]);
    return out;
}

// The taps of a tile's patch, its rows' and then its columns', by all threads.
template <class Conv>
__device__ __forceinline__ void resize_taps(ResizeTap (&taps)[Conv::H + Conv::W], int top, int left, int height,
                                            int width, int out_height, int out_width) {
    for (int i = threadIdx.x; i < Conv::H + Conv::W; i += Conv::THREADS) {
        taps[i] = i < Conv::H ? resize_tap(top - 1 + i, height, out_height)
                              : resize_tap(left - 1 + i - Conv::H, width, out_width);
    }
}

// The patch from a map [2, height, width, 8], zeros outside of the resized one: a thread eight channels of a
// pixel at a time, in f16. All loads first, since they take longer than what is done with them, and no branch
// in all this, which the compiler would put them off into: what lies past the last item goes to the pixels'
// padding.
template <class Conv>
__device__ __forceinline__ void resize_patch(__half* patch, const ResizeTap (&taps)[Conv::H + Conv::W],
                                             const __half* map, int height, int width) {
    constexpr int PIXELS = Conv::H * Conv::W, OF_THREAD = (2 * PIXELS + Conv::THREADS - 1) / Conv::THREADS;
    static_assert(OF_THREAD * Conv::THREADS <= 3 * PIXELS && Conv::PIXEL == 3 * 8, "room in the padding");
    Half8 corners[OF_THREAD][4];
    ResizeTap x[OF_THREAD], y[OF_THREAD];
#pragma unroll
    for (int n = 0; n < OF_THREAD; n++) {
        const int i = threadIdx.x + n * Conv::THREADS;
        y[n] = taps[i / Conv::W % Conv::H], x[n] = taps[Conv::H + i % Conv::W];
        // Outside of the resized map, the first one is read.
        const int left = max(x[n].low, 0), right = max(x[n].high, 0);
        const Half8* plane = reinterpret_cast<const Half8*>(map);
        if (i >= PIXELS) plane += static_cast<size_t>(height) * width;
        const Half8* low = plane + static_cast<size_t>(max(y[n].low, 0)) * width;
        const Half8* high = plane + static_cast<size_t>(max(y[n].high, 0)) * width;
        corners[n][0] = low[left];
        corners[n][1] = high[left];
        corners[n][2] = low[right];
        corners[n][3] = high[right];
    }
#pragma unroll
    for (int n = 0; n < OF_THREAD; n++) {
        const int i = threadIdx.x + n * Conv::THREADS;
        Half8 before = mixed8(corners[n][0], corners[n][1], y[n].share);
        Half8 after = mixed8(corners[n][2], corners[n][3], y[n].share);
        Half8 value = mixed8(before, after, x[n].share);
        if (y[n].low < 0 || x[n].low < 0) value = half8_zero();
        *reinterpret_cast<Half8*>(patch + i % PIXELS * Conv::PIXEL + i / PIXELS * 8) = value;
    }
}
