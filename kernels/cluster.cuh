// The blocks of a cluster: their barrier, and their words in each other's shared memory. Hopper and later.
#pragma once
#include "delay.cuh"
#include "shared_address.cuh"

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ unsigned cluster_rank() {
    unsigned rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// By all threads of all blocks: what they wrote to their own block's shared memory is seen by those that
// read it from another's. The fences are of shared memory alone, which CUDA 12.8 brought: those of all memory
// take a barrier from 0.1 to 0.7 us.
__device__ __forceinline__ void cluster_barrier() {
    injected_delay();
#if __CUDACC_VER_MAJOR__ > 12 || (__CUDACC_VER_MAJOR__ == 12 && __CUDACC_VER_MINOR__ >= 8)
    asm volatile(
        "fence.release.sync_restrict::shared::cta.cluster;\n"
        "barrier.cluster.arrive.relaxed.aligned;\n"
        "barrier.cluster.wait.acquire.aligned;\n"
        "fence.acquire.sync_restrict::shared::cluster.cluster;" ::: "memory");
#else
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
    injected_delay();
}

// The address, for the load below, of what lies at `shared` in the block of this rank.
__device__ __forceinline__ unsigned cluster_address(const void* shared, unsigned rank) {
    unsigned own = shared_address(shared), address;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(own), "r"(rank));
    return address;
}

__device__ __forceinline__ unsigned cluster_load_word(unsigned address) {
    unsigned word;
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(word) : "r"(address) : "memory");
    return word;
}
#endif
