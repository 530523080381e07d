// Delays for the test that no order between warps, blocks and kernels is by chance: in builds with the
// feature `inject-faults` alone, and there only once the host has set `most_delay_ns`.
#pragma once

#ifdef ECMNET_INJECT_FAULTS
// Most nanoseconds that a warp sleeps at one point (the hardware may double them), at most a million.
__device__ unsigned most_delay_ns = 0;

// One warp in four sleeps, for a time that neither its place nor its kernel tells.
__device__ __forceinline__ void injected_delay() {
    unsigned most = *const_cast<volatile unsigned*>(&most_delay_ns);
    if (most == 0) return;
    unsigned bits = static_cast<unsigned>(clock64()) + 0x9E3779B9u * (threadIdx.x / 32 + blockIdx.x * 64);
    bits = (bits ^ bits >> 16) * 0x85EBCA6Bu;
    bits = (bits ^ bits >> 13) * 0xC2B2AE35u;
    if (bits % 4 == 0) __nanosleep((bits >> 8) % most);
}
#else
__device__ __forceinline__ void injected_delay() {}
#endif
