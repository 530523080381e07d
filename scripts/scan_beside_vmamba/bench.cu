// The project's scan beside VMamba's bare kernel on the same data: 96 channels of 16 states, four directions.
//
// VMamba's kernel gets u, delta before softplus, B and C gathered by direction, and leaves four directions' y.
// Ours gets u, dt of rank 3, B and C of every direction by rows of the map, as one layer's convolution and
// projections leave them, and gives the merged y by rows: what runs is `gather`, which turns u and the
// projections of the two directions along columns, the scan (kernels/scan.cu, which projects delta), and
// `merge`, which adds up the four directions. Times are those of one of 20 nodes in a graph, for the three
// kernels together and for the scan alone; the results are compared.
//
// scripts/scan_beside_vmamba/run builds and runs it.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <type_traits>
#include <vector>

#include "../../kernels/scan.cu"
#include "selective_scan_oflex.h"

#include <c10/util/Half.h>

template <int ROWS, typename Input, typename Weight, typename Output>
void selective_scan_fwd_cuda(SSMParamsBase& params, cudaStream_t stream);

// What VMamba's launch calls where a call fails, without PyTorch's library.
namespace c10::cuda {
void c10_cuda_check_implementation(const int32_t error, const char* file, const char* function, const uint32_t line,
                                   const bool) {
    if (error == 0) return;
    std::fprintf(stderr, "%s:%u: %s: CUDA error %d\n", file, line, function, error);
    std::exit(1);
}
}  // namespace c10::cuda

namespace {

void check(cudaError_t error, int line) {
    if (error == cudaSuccess) return;
    std::fprintf(stderr, "line %d: %s\n", line, cudaGetErrorString(error));
    std::exit(1);
}
#define CHECK(call) check(call, __LINE__)

constexpr int WIDTH = 96, STATES = 16, RANK = 3, DIRECTIONS = 4, STEERED = RANK + 2 * STATES;
constexpr int SIDE = 32, LINES = 8;

// Three maps of so many rows each, one after the other; `merge` has one.
struct MapParams {
    const void* from[3];
    void* to[3];
    int rows[3];
    int height, width, pitch;
};

// A tile of one row of a map: 32 x 32 pixels by a block of 32 x 8 threads.
struct Tile {
    int row, top, left;
};

__device__ __forceinline__ Tile own_tile(int width) {
    const int tiles_x = (width + SIDE - 1) / SIDE;
    return {static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y) / tiles_x * SIDE,
            static_cast<int>(blockIdx.y) % tiles_x * SIDE};
}

// Turns rows of pixels by rows of the map into pixels by its columns.
template <typename T>
__global__ void __launch_bounds__(SIDE * LINES) gather(const __grid_constant__ MapParams p) {
    __shared__ T tile[SIDE][SIDE + 2];
    Tile at = own_tile(p.width);
    const int x = threadIdx.x % SIDE, first = threadIdx.x / SIDE;
    int map = 0;
    for (; at.row >= p.rows[map]; map++) at.row -= p.rows[map];
    const T* from = static_cast<const T*>(p.from[map]) + size_t(at.row) * p.pitch;
    T* to = static_cast<T*>(p.to[map]) + size_t(at.row) * p.pitch;
    grid_dependency_release();
    grid_dependency_wait();
#pragma unroll
    for (int i = 0; i < SIDE; i += LINES) {
        const int y = at.top + first + i;
        if (y < p.height && at.left + x < p.width) tile[first + i][x] = from[y * p.width + at.left + x];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < SIDE; i += LINES) {
        const int column = at.left + first + i;
        if (column < p.width && at.top + x < p.height) to[column * p.height + at.top + x] = tile[x][first + i];
    }
}

// (y_0 + y_2) + (y_1 + y_3) of [4][96][pitch], the last two by columns, to [96][pitch] by rows.
template <typename T>
__global__ void __launch_bounds__(SIDE * LINES) merge(const __grid_constant__ MapParams p) {
    __shared__ float tile[SIDE][SIDE + 1];
    const Tile at = own_tile(p.width);
    const int x = threadIdx.x % SIDE, first = threadIdx.x / SIDE;
    const size_t direction = size_t(WIDTH) * p.pitch;
    const T* from = static_cast<const T*>(p.from[0]) + size_t(at.row) * p.pitch;
    T* to = static_cast<T*>(p.to[0]) + size_t(at.row) * p.pitch;
    grid_dependency_release();
    grid_dependency_wait();
    T by_columns[SIDE / LINES][2], by_rows[SIDE / LINES][2];
#pragma unroll
    for (int i = 0; i < SIDE / LINES; i++) {
        const int column = at.left + first + i * LINES, y = at.top + first + i * LINES;
        const bool is_column = column < p.width && at.top + x < p.height, is_row = y < p.height && at.left + x < p.width;
        const T* column_at = from + direction + (is_column ? column * p.height + at.top + x : 0);
        const T* row_at = from + (is_row ? y * p.width + at.left + x : 0);
        by_columns[i][0] = column_at[0], by_columns[i][1] = column_at[2 * direction];
        by_rows[i][0] = row_at[0], by_rows[i][1] = row_at[2 * direction];
    }
#pragma unroll
    for (int i = 0; i < SIDE / LINES; i++) {
        tile[first + i * LINES][x] = float(by_columns[i][0]) + float(by_columns[i][1]);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < SIDE / LINES; i++) {
        const int y = at.top + first + i * LINES;
        if (y >= p.height || at.left + x >= p.width) continue;
        const float sum = float(by_rows[i][0]) + float(by_rows[i][1]) + tile[x][first + i * LINES];
        to[y * p.width + at.left + x] = T(sum);
    }
}

// Puts a kernel on the stream that may start before the one before it has ended.
template <typename Params>
void launch(cudaStream_t stream, void (*kernel)(Params), dim3 grid, int block, int shared, const Params& params) {
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid, config.blockDim = block, config.dynamicSmemBytes = shared, config.stream = stream;
    config.attrs = &attribute, config.numAttrs = 1;
    CHECK(cudaLaunchKernelEx(&config, kernel, params));
}

// Microseconds of one of 20 nodes, the median of 101 replays.
float microseconds(const std::function<void(cudaStream_t)>& node) {
    constexpr int NODES = 20, WARM_UP = 20, REPLAYS = 101;
    cudaStream_t stream;
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    node(stream);
    CHECK(cudaStreamSynchronize(stream));
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < NODES; i++) node(stream);
    cudaGraph_t graph;
    CHECK(cudaStreamEndCapture(stream, &graph));
    cudaGraphExec_t executable;
    CHECK(cudaGraphInstantiate(&executable, graph, 0));
    cudaEvent_t start, end;
    CHECK(cudaEventCreate(&start));
    CHECK(cudaEventCreate(&end));
    std::vector<float> times;
    for (int i = 0; i < WARM_UP + REPLAYS; i++) {
        CHECK(cudaEventRecord(start, stream));
        CHECK(cudaGraphLaunch(executable, stream));
        CHECK(cudaEventRecord(end, stream));
        CHECK(cudaStreamSynchronize(stream));
        float milliseconds;
        CHECK(cudaEventElapsedTime(&milliseconds, start, end));
        if (i >= WARM_UP) times.push_back(milliseconds * 1e3f / NODES);
    }
    std::sort(times.begin(), times.end());
    CHECK(cudaGraphExecDestroy(executable));
    CHECK(cudaGraphDestroy(graph));
    CHECK(cudaStreamDestroy(stream));
    return times[REPLAYS / 2];
}

template <typename T>
T* on_device(const std::vector<float>& values) {
    std::vector<T> narrow(values.begin(), values.end());
    T* pointer;
    CHECK(cudaMalloc(&pointer, narrow.size() * sizeof(T)));
    CHECK(cudaMemcpy(pointer, narrow.data(), narrow.size() * sizeof(T), cudaMemcpyHostToDevice));
    return pointer;
}

template <typename T>
T* poisoned(size_t count) {
    T* pointer;
    CHECK(cudaMalloc(&pointer, count * sizeof(T)));
    CHECK(cudaMemset(pointer, 0xff, count * sizeof(T)));
    return pointer;
}

template <typename T>
std::vector<float> on_host(const T* pointer, size_t count) {
    std::vector<T> narrow(count);
    CHECK(cudaMemcpy(narrow.data(), pointer, count * sizeof(T), cudaMemcpyDeviceToHost));
    return std::vector<float>(narrow.begin(), narrow.end());
}

template <typename T>
float rounded(float value) {
    return float(T(value));
}

std::vector<float> made(std::mt19937& random, size_t count, float low, float high) {
    std::uniform_real_distribution<float> between(low, high);
    std::vector<float> values(count);
    for (float& value : values) value = between(random);
    return values;
}

// The kernel that src/engine/scan.rs takes for this length, and its shared memory.
template <typename T>
void launch_scan(cudaStream_t stream, const ScanParams& params) {
    auto with = [&](auto shape, void (*kernel)(ScanParams)) {
        using Of = decltype(shape);
        const int shared = Of::BUFFERS * Of::BUFFER * 16 + sizeof(Handover<Of::CHUNKS>);
        CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
        CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, 100));
        launch(stream, kernel, dim3((WIDTH + CHANNELS - 1) / CHANNELS, DIRECTIONS), Of::THREADS, shared, params);
    };
    if constexpr (sizeof(T) == 4) {
        with(F32{}, scan_f32);
    } else if (params.length > 1024) {
        with(F16{}, scan_f16);
    } else {
        with(F16Short{}, scan_f16_short);
    }
}

// The place of a pixel in a direction's order.
int order_of(int direction, int pixel, int height, int width) {
    const int place = direction % 2 ? pixel % width * height + pixel / width : pixel;
    return direction < 2 ? place : height * width - 1 - place;
}

template <typename T, typename Theirs>
void compare(int height, int width) {
    const int length = height * width, pitch = (length + 15) / 16 * 16;
    std::mt19937 random(height * 1000 + width);
    const auto u = made(random, size_t(WIDTH) * length, -2, 2);
    const auto steered = made(random, size_t(DIRECTIONS) * STEERED * length, -2, 2);
    const auto delta_weights = made(random, DIRECTIONS * WIDTH * RANK, -0.5, 0.5);
    const auto delta_bias = made(random, DIRECTIONS * WIDTH, -6, -2);
    auto decay = made(random, DIRECTIONS * WIDTH * STATES, -16, -1);
    const auto skip = made(random, DIRECTIONS * WIDTH, 0.5, 1.5);

    // Theirs: everything by direction, in its order; delta projected, rounded once.
    std::vector<float> their_u(size_t(DIRECTIONS) * WIDTH * length), their_delta = their_u;
    std::vector<float> their_b(size_t(DIRECTIONS) * STATES * length), their_c = their_b;
    for (int k = 0; k < DIRECTIONS; k++) {
        for (int pixel = 0; pixel < length; pixel++) {
            const int order = order_of(k, pixel, height, width);
            auto projection = [&](int row) {
                return rounded<T>(steered[(size_t(k) * STEERED + row) * length + pixel]);
            };
            for (int c = 0; c < WIDTH; c++) {
                float delta = 0;
                for (int r = 0; r < RANK; r++) delta += delta_weights[(k * WIDTH + c) * RANK + r] * projection(r);
                their_delta[(size_t(k) * WIDTH + c) * length + order] = delta;
                their_u[(size_t(k) * WIDTH + c) * length + order] = u[size_t(c) * length + pixel];
            }
            for (int n = 0; n < STATES; n++) {
                their_b[(size_t(k) * STATES + n) * length + order] = projection(RANK + n);
                their_c[(size_t(k) * STATES + n) * length + order] = projection(RANK + STATES + n);
            }
        }
    }
    SSMParamsBase theirs = {};
    theirs.batch = 1, theirs.dim = DIRECTIONS * WIDTH, theirs.seqlen = length, theirs.dstate = STATES;
    theirs.n_groups = DIRECTIONS, theirs.n_chunks = (length + 2047) / 2048;
    theirs.dim_ngroups_ratio = WIDTH, theirs.dim_deltagroups_ratio = 1, theirs.delta_softplus = true;
    theirs.A_d_stride = STATES, theirs.A_dstate_stride = 1;
    theirs.B_group_stride = theirs.C_group_stride = STATES * length;
    theirs.B_dstate_stride = theirs.C_dstate_stride = length;
    theirs.B_batch_stride = theirs.C_batch_stride = DIRECTIONS * STATES * length;
    theirs.u_d_stride = theirs.delta_d_stride = theirs.out_d_stride = length;
    theirs.u_batch_stride = theirs.delta_batch_stride = theirs.out_batch_stride = DIRECTIONS * WIDTH * length;
    theirs.A_ptr = on_device<float>(decay);
    theirs.B_ptr = on_device<T>(their_b), theirs.C_ptr = on_device<T>(their_c);
    theirs.D_ptr = on_device<float>(skip), theirs.delta_bias_ptr = on_device<float>(delta_bias);
    theirs.u_ptr = on_device<T>(their_u), theirs.delta_ptr = on_device<T>(their_delta);
    T* their_y = poisoned<T>(their_u.size());
    theirs.out_ptr = their_y;
    theirs.x_ptr = poisoned<float>(size_t(DIRECTIONS) * WIDTH * theirs.n_chunks * STATES * 2);
    auto their_node = [&](cudaStream_t stream) { selective_scan_fwd_cuda<1, Theirs, float, Theirs>(theirs, stream); };

    // Ours: by rows of the map, in rows of `pitch`; directions along columns lie apart until they are turned.
    auto pitched = [&](const std::vector<float>& rows) {
        std::vector<float> out(rows.size() / length * pitch, 0.f);
        for (size_t i = 0; i < rows.size(); i++) out[i / length * pitch + i % length] = rows[i];
        return out;
    };
    auto doubled = pitched(u);
    doubled.resize(2 * doubled.size(), NAN);
    auto forth = pitched(steered), turned = forth;
    for (size_t i = 0; i < forth.size(); i++) {
        if (i / pitch / STEERED % 2) forth[i] = NAN;
    }
    // Of the directions along columns alone: 1, then 3.
    std::vector<float> along_columns;
    for (int k = 1; k < DIRECTIONS; k += 2) {
        auto begin = turned.begin() + size_t(k) * STEERED * pitch;
        along_columns.insert(along_columns.end(), begin, begin + size_t(STEERED) * pitch);
    }
    std::vector<float> skip_sum(WIDTH, 0.f);
    for (int i = 0; i < DIRECTIONS * WIDTH; i++) skip_sum[i % WIDTH] += skip[i];
    for (float& rate : decay) rate *= LOG2_E;
    T* our_u = on_device<T>(doubled);
    T* projected = on_device<T>(forth);
    T* apart = on_device<T>(along_columns);
    T* y = poisoned<T>(size_t(DIRECTIONS) * WIDTH * pitch);
    T* merged = poisoned<T>(size_t(WIDTH) * pitch);
    const ScanParams scan_params = {our_u, projected, on_device<float>(delta_weights), on_device<float>(delta_bias),
                                    on_device<float>(decay), on_device<float>(skip_sum), y, length, pitch, WIDTH,
                                    RANK, STATES};
    const int tiles = (height + SIDE - 1) / SIDE * ((width + SIDE - 1) / SIDE);
    const size_t turned_rows = size_t(STEERED) * pitch;
    const MapParams turn = {{our_u, apart, apart + turned_rows},
                            {our_u + size_t(WIDTH) * pitch, projected + turned_rows, projected + 3 * turned_rows},
                            {WIDTH, STEERED, STEERED},
                            height,
                            width,
                            pitch};
    const MapParams sum = {{y}, {merged}, {WIDTH}, height, width, pitch};
    auto scan_node = [&](cudaStream_t stream) { launch_scan<T>(stream, scan_params); };
    auto our_node = [&](cudaStream_t stream) {
        launch(stream, gather<T>, dim3(WIDTH + 2 * STEERED, tiles), SIDE * LINES, 0, turn);
        scan_node(stream);
        launch(stream, merge<T>, dim3(WIDTH, tiles), SIDE * LINES, 0, sum);
    };

    const float of_theirs = microseconds(their_node), of_ours = microseconds(our_node);
    const float alone = microseconds(scan_node), theirs_again = microseconds(their_node);
    const auto got = on_host(merged, size_t(WIDTH) * pitch), want = on_host(their_y, their_u.size());
    double off = 0, all = 0;
    for (int c = 0; c < WIDTH; c++) {
        for (int pixel = 0; pixel < length; pixel++) {
            double exact = 0;
            for (int k = 0; k < DIRECTIONS; k++) {
                exact += want[(size_t(k) * WIDTH + c) * length + order_of(k, pixel, height, width)];
            }
            const double difference = got[size_t(c) * pitch + pixel] - exact;
            off += difference * difference, all += exact * exact;
        }
    }
    std::printf("| %dx%d | %s | %.1f | %.1f | %.1f (again %.1f) | %.2f | %.1e |\n", height, width,
                sizeof(T) == 2 ? "f16" : "f32", of_ours, alone, of_theirs, theirs_again, of_ours / of_theirs,
                std::sqrt(off / all));
    if (!(off / all < 1e-5)) std::exit(1);
}

}  // namespace

int main() {
    std::printf("| map | | ours, gathered and merged | ours, the scan alone | VMamba's | ratio | norm apart |\n");
    std::printf("|---|---|---|---|---|---|---|\n");
    for (auto [height, width] : {std::pair{23, 30}, {32, 64}, {64, 64}, {64, 128}}) {
        compare<__half, c10::Half>(height, width);
        compare<float, float>(height, width);
    }
}
