// FFM's kernel before the scan: from the encoder's features and the pooled skips to what SS2D's scan reads.
#include "into_scan.cuh"

// For as many blocks as fit.
extern "C" __global__ void __launch_bounds__(into_scan::THREADS, 2)
    ffm_in(const __grid_constant__ into_scan::Params p) {
    into_scan::into_scan<true>(p);
}

// For no more blocks than multiprocessors, in so many registers that each has one to itself, with room for one of
// `ffm_out` beside it: blocks that start early would else crowd where that kernel has none.
extern "C" __global__ void __launch_bounds__(into_scan::THREADS, 1)
    ffm_in_spread(const __grid_constant__ into_scan::Params p) {
    into_scan::into_scan<true>(p);
}
