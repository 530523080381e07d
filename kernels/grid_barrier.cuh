// A barrier over all blocks of a grid, which must be resident together (a cooperative launch).
#pragma once
#include "delay.cuh"

// One word in device memory, zero before the first launch; every launch leaves it ready for the next.
// All blocks but the first add one and the first the rest up to 2^31, so its highest bit turns when all
// have arrived.
struct GridBarrier {
    unsigned* word;
    unsigned turned;  // the highest bit as it is until all have arrived

    // By all threads of the block, before its first arrival.
    __device__ __forceinline__ void prepare(unsigned* in_device_memory) {
        word = in_device_memory;
        if (threadIdx.x == 0) {
            asm volatile("ld.relaxed.gpu.u32 %0, [%1];" : "=r"(turned) : "l"(word) : "memory");
        }
    }

    // By all threads of the block: what they wrote is seen by those that have waited. Nothing that the
    // others read may be written between this and `wait`.
    __device__ __forceinline__ void arrive() {
        injected_delay();
        __syncthreads();
        if (threadIdx.x == 0) {
            unsigned add = blockIdx.x == 0 ? 0x80000000u - (gridDim.x - 1) : 1;
            asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(word), "r"(add) : "memory");
        }
    }

    __device__ __forceinline__ void wait() {
        if (threadIdx.x == 0) {
            unsigned now;
            do {
                asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(now) : "l"(word) : "memory");
            } while (((now ^ turned) & 0x80000000u) == 0);
            turned = now;
        }
        __syncthreads();
        injected_delay();
    }
};
