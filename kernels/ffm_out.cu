// FFM's last kernel: from the four directions' scans to the decoder's input.
#include "out_of_scan.cuh"

extern "C" __global__ void __launch_bounds__(out_of_scan::THREADS, 2)
    ffm_out(const __grid_constant__ out_of_scan::Params p) {
    out_of_scan::out_of_scan<true>(p);
}
