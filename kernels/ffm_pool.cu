// A skip's part of FFM's input: the means of its map over cells, one for each pixel of the deepest map
// (PyTorch's adaptive_avg_pool2d).
//
//   out(y, x) = mean over rows floor(y H / h) .. ceil((y + 1) H / h) of map, and columns likewise
//
//   map [2, H, W, 8], out [2, h, w, 8]   f16
//
// One thread a cell of 8 channels, PIXELS of a row asked for at once; f32 sums. Any sizes from 1x1.
#include "half8.cuh"
#include "launch.cuh"

namespace {

constexpr int PIXELS = 4;

struct FfmPoolParams {
    const Half8* map;
    Half8* out;
    int from[2], to[2];  // height and width of map and out
};

}  // namespace

// Grid: (w / 64 rounded up, h, 2); 64 threads.
extern "C" __global__ void __launch_bounds__(64) ffm_pool(const __grid_constant__ FfmPoolParams p) {
    int const x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y, group = blockIdx.z;
    int const height = p.to[0], width = p.to[1];
    int const first_row = y * p.from[0] / height, end_row = ((y + 1) * p.from[0] + height - 1) / height;
    int const first = x * p.from[1] / width, end = ((x + 1) * p.from[1] + width - 1) / width;
    grid_dependency_wait();
    grid_dependency_release();
    if (x >= width) return;
    const Half8* const map = p.map + size_t(group) * p.from[0] * p.from[1];
    float sum[8] = {};
    for (int row = first_row; row < end_row; row++) {
        for (int left = first; left < end; left += PIXELS) {
            Half8 pixels[PIXELS];
#pragma unroll
            for (int i = 0; i < PIXELS; i++) pixels[i] = map[size_t(row) * p.from[1] + min(left + i, end - 1)];
#pragma unroll
            for (int i = 0; i < PIXELS; i++) {
                if (left + i >= end) continue;
                float one[8];
                floats_from_half8(one, pixels[i]);
#pragma unroll
                for (int c = 0; c < 8; c++) sum[c] += one[c];
            }
        }
    }
    float const scale = 1.f / float((end_row - first_row) * (end - first));
#pragma unroll
    for (int c = 0; c < 8; c++) sum[c] *= scale;
    p.out[(size_t(group) * height + y) * width + x] = half8_from_floats(sum);
}
