// The blocks of a cluster: their barrier, and their words in each other's shared memory. Hopper and later.
#pragma once
#include "delay.cuh"
#include "half8.cuh"

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ unsigned cluster_rank() {
    unsigned rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// By all threads of all blocks: what they wrote to their own block's shared memory is seen by those that
// read it from another's. The fence is of shared memory alone: one of all memory takes eight times as long.
__device__ __forceinline__ void cluster_barrier() {
    injected_delay();
    asm volatile(
        "fence.release.sync_restrict::shared::cta.cluster;\n"
        "barrier.cluster.arrive.relaxed.aligned;\n"
        "barrier.cluster.wait.acquire.aligned;\n"
        "fence.acquire.sync_restrict::shared::cluster.cluster;" ::: "memory");
    injected_delay();
}

// The address, for the loads below, of what lies at `shared` in the block of this rank.
__device__ __forceinline__ unsigned cluster_address(const void* shared, unsigned rank) {
    unsigned own = static_cast<unsigned>(__cvta_generic_to_shared(shared)), address;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(own), "r"(rank));
    return address;
}

__device__ __forceinline__ Half8 cluster_load(unsigned address) {
    uint4 word;
    asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(word.x), "=r"(word.y), "=r"(word.z), "=r"(word.w)
                 : "r"(address)
                 : "memory");
    return *reinterpret_cast<Half8*>(&word);
}

__device__ __forceinline__ unsigned cluster_load_word(unsigned address) {
    unsigned word;
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(word) : "r"(address) : "memory");
    return word;
}
#endif
