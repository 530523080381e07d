// SS2D by itself, before its scan (kernels/scan.cu) and after it: what FFM's kernels hold, without the layer norm
// before SS2D and the linear layers after it. For its test and its bench; the programs do not carry it.
#include "into_scan.cuh"
#include "out_of_scan.cuh"

extern "C" __global__ void __launch_bounds__(into_scan::THREADS, 2)
    ss2d_in(const __grid_constant__ into_scan::Params p) {
    into_scan::into_scan<false>(p);
}

extern "C" __global__ void __launch_bounds__(into_scan::THREADS, 1)
    ss2d_in_spread(const __grid_constant__ into_scan::Params p) {
    into_scan::into_scan<false>(p);
}

extern "C" __global__ void __launch_bounds__(out_of_scan::THREADS, 2)
    ss2d_out(const __grid_constant__ out_of_scan::Params p) {
    out_of_scan::out_of_scan<false>(p);
}
