// FFM's kernel before the scan: from the encoder's features and the pooled skips to what SS2D's scan reads.
#include "into_scan.cuh"

extern "C" __global__ void __launch_bounds__(into_scan::THREADS, 2)
    ffm_in(const __grid_constant__ into_scan::Params p) {
    into_scan::into_scan<true>(p);
}
