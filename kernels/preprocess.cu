// From the camera's own bytes to the network's input, at the network's size.
//
//   rgb(x, y)      = the pixel's three bytes, in the integer arithmetic of src/image/colour.rs
//   out(x, y, c)   = bilinear((rgb[places[c]] - mean[c]) * scale[c])   over the two taps an axis
//
// bytes    u8, planes of `step` bytes a row, as sensor_msgs/Image has them; any step, any alignment
// rows     [out_height] taps into the image's rows; those past the image repeat its last one
// columns  [out_width] taps into the image's columns, likewise
// input    [out_height, out_width, 4] f16: three channels in the weights' order, then 0
// flag     u32 [4], set to 0: the head raises the first where logits are not finite
//
// One thread a pixel of the output, one row of threads a row, so that the row's taps are uniform; in
// `preprocess_packed`, for an image of three bytes a pixel and of the network's size, four pixels, whose bytes
// are three words: its width and step are multiples of 4, and it has no taps.
// Limits: out_height at most 65,535. Arithmetic: integers up to the byte, then f32, unfused, in the
// order of src/preprocess.rs: bit for bit its value, rounded to f16 once.

#include <cstdint>
#include <cuda_fp16.h>

#include "launch.cuh"

namespace {

// The numbers of `PixelFormat`, as src/engine/preprocess.rs gives them.
enum Format : uint32_t {
    kRgb = 0,   // 3 or 4 bytes a pixel; `red` says where red is, blue opposite
    kMono = 1,  // 1 byte
    kYuv422 = 2,  // 4 bytes for two pixels; `red` is the place of the first luma byte
    kSemiPlanar = 3,  // a luma plane, then pairs; `red` is the place of U in a pair
    kBayer = 4,  // `red` is the parity of red's column, plus twice that of its row
};

struct __align__(8) Tap {
    uint32_t low;
    float share;
};

struct Params {
    const uint8_t* bytes;
    const Tap* rows;
    const Tap* columns;
    uint2* input;
    uint4* flag;
    uint64_t step;
    uint32_t height;
    uint32_t width;
    uint32_t out_width;
    uint32_t format;
    uint32_t pixel_bytes;
    uint32_t chroma_shift;
    uint32_t red;
    uint32_t places[3];
    float mean[3];
    float scale[3];
};

struct Rgb {
    int channel[3];
};

__device__ __forceinline__ int clamp_to_byte(int value) { return min(max(value, 0), 255); }

// BT.601, limited range, in 20-bit fixed point.
__device__ __forceinline__ Rgb rgb_from_yuv(int y, int u, int v) {
    const int luma = max(y - 16, 0) * 1220542 + (1 << 19);
    u -= 128;
    v -= 128;
    return {{clamp_to_byte((luma + 1673527 * v) >> 20),
             clamp_to_byte((luma - 852492 * v - 409993 * u) >> 20),
             clamp_to_byte((luma + 2116026 * u) >> 20)}};
}

__device__ __forceinline__ Rgb rgb_from_bayer(const Params& p, uint32_t x, uint32_t y) {
    // Mirrored at the border, so that the phase stays.
    const uint32_t before_x = x > 0 ? x - 1 : min(1u, p.width - 1);
    const uint32_t after_x = x + 1 < p.width ? x + 1 : (p.width > 1 ? p.width - 2 : 0);
    const uint32_t before_y = y > 0 ? y - 1 : min(1u, p.height - 1);
    const uint32_t after_y = y + 1 < p.height ? y + 1 : (p.height > 1 ? p.height - 2 : 0);
    const uint8_t* above = p.bytes + before_y * p.step;
    const uint8_t* here = p.bytes + y * p.step;
    const uint8_t* below = p.bytes + after_y * p.step;
    const int own = here[x];
    const int horizontal = (here[before_x] + here[after_x] + 1) / 2;
    const int vertical = (above[x] + below[x] + 1) / 2;
    const int diagonal =
        (above[before_x] + above[after_x] + below[before_x] + below[after_x] + 2) / 4;
    const int cross = (here[before_x] + here[after_x] + above[x] + below[x] + 2) / 4;
    const bool red_row = (y & 1) == p.red >> 1;
    const bool red_column = (x & 1) == (p.red & 1);
    if (red_row) {
        return red_column ? Rgb{{own, cross, diagonal}} : Rgb{{horizontal, own, vertical}};
    }
    return red_column ? Rgb{{vertical, own, horizontal}} : Rgb{{diagonal, cross, own}};
}

__device__ __forceinline__ Rgb rgb_at(const Params& p, uint32_t x, uint32_t y) {
    const uint8_t* row = p.bytes + y * p.step;
    switch (p.format) {
        case kRgb: {
            const uint8_t* pixel = row + x * p.pixel_bytes;
            return {{pixel[p.red], pixel[1], pixel[2 - p.red]}};
        }
        case kMono:
            return {{row[x], row[x], row[x]}};
        case kYuv422: {
            const uint8_t* block = row + (x >> 1) * 4;
            const uint32_t chroma = 1 - p.red;
            return rgb_from_yuv(block[p.red + (x & 1) * 2], block[chroma], block[chroma + 2]);
        }
        case kSemiPlanar: {
            // A chroma row of full resolution has two bytes a pixel and so spans two steps.
            const uint64_t chroma_step = p.step * (p.chroma_shift == 0 ? 2 : 1);
            const uint8_t* pair = p.bytes + p.height * p.step +
                                  (y >> p.chroma_shift) * chroma_step +
                                  (x >> p.chroma_shift) * 2;
            return rgb_from_yuv(row[x], pair[p.red], pair[1 - p.red]);
        }
        default:
            return rgb_from_bayer(p, x, y);
    }
}

// `low * (1 - share) + high * share` without fusing, as the CPU computes it.
__device__ __forceinline__ float mixed(float low, float high, float share) {
    return __fadd_rn(__fmul_rn(low, 1.0f - share), __fmul_rn(high, share));
}

__device__ __forceinline__ float normalised(const Params& p, const Rgb& rgb, int c) {
    const int place = p.places[c];
    const int value = place == 0 ? rgb.channel[0] : place == 1 ? rgb.channel[1] : rgb.channel[2];
    return __fmul_rn(__fadd_rn(static_cast<float>(value), -p.mean[c]), p.scale[c]);
}

// Writes row `y` of the image at column tap `tap`, normalised.
__device__ __forceinline__ void resampled_row(const Params& p, const Tap& tap, uint32_t y,
                                              float (&value)[3]) {
    const Rgb low = rgb_at(p, tap.low, y);
    for (int c = 0; c < 3; ++c) value[c] = normalised(p, low, c);
    if (tap.share != 0.0f) {
        const Rgb high = rgb_at(p, min(tap.low + 1, p.width - 1), y);
        for (int c = 0; c < 3; ++c) value[c] = mixed(value[c], normalised(p, high, c), tap.share);
    }
}

// A pixel of the input.
__device__ __forceinline__ uint2 halfs_of(const float (&value)[3]) {
    const __half2 first = __floats2half2_rn(value[0], value[1]);
    const __half2 second = __floats2half2_rn(value[2], 0.0f);
    return make_uint2(*reinterpret_cast<const uint32_t*>(&first), *reinterpret_cast<const uint32_t*>(&second));
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256) preprocess(const __grid_constant__ Params p) {
    const uint32_t x = blockIdx.x * blockDim.x + threadIdx.x;
    const uint32_t y = blockIdx.y;
    const Tap row = p.rows[y];
    const Tap column = p.columns[min(x, p.out_width - 1)];
    grid_dependency_wait();
    grid_dependency_release();
    if (x == 0 && y == 0) *p.flag = make_uint4(0, 0, 0, 0);
    if (x >= p.out_width) return;
    float value[3];
    resampled_row(p, column, row.low, value);
    if (row.share != 0.0f) {
        float high[3];
        resampled_row(p, column, min(row.low + 1, p.height - 1), high);
        for (int c = 0; c < 3; ++c) value[c] = mixed(value[c], high[c], row.share);
    }
    p.input[static_cast<size_t>(y) * p.out_width + x] = halfs_of(value);
}

extern "C" __global__ void __launch_bounds__(256) preprocess_packed(const __grid_constant__ Params p) {
    const uint32_t fours = p.width / 4, four = blockIdx.x * blockDim.x + threadIdx.x;
    const uint32_t y = four / fours;
    grid_dependency_wait();
    grid_dependency_release();
    if (four == 0) *p.flag = make_uint4(0, 0, 0, 0);
    if (y >= p.height) return;
    const uint32_t* words = reinterpret_cast<const uint32_t*>(p.bytes + y * p.step) + (four - y * fours) * 3;
    const uint32_t word[3] = {words[0], words[1], words[2]};
    const uint32_t pixels[4] = {word[0], __funnelshift_r(word[0], word[1], 24),
                                __funnelshift_r(word[1], word[2], 16), word[2] >> 8};
    uint2 halfs[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int byte[3] = {static_cast<int>(pixels[i] & 0xff), static_cast<int>(pixels[i] >> 8 & 0xff),
                             static_cast<int>(pixels[i] >> 16 & 0xff)};
        const Rgb rgb = {{p.red ? byte[2] : byte[0], byte[1], p.red ? byte[0] : byte[2]}};
        float value[3];
        for (int c = 0; c < 3; ++c) value[c] = normalised(p, rgb, c);
        halfs[i] = halfs_of(value);
    }
    uint4* to = reinterpret_cast<uint4*>(p.input) + static_cast<size_t>(four) * 2;
    to[0] = make_uint4(halfs[0].x, halfs[0].y, halfs[1].x, halfs[1].y);
    to[1] = make_uint4(halfs[2].x, halfs[2].y, halfs[3].x, halfs[3].y);
}
