// Order between kernels that overlap on one stream (programmatic dependent launch), and copies in the
// background.
#pragma once

#include "delay.cuh"
#include "shared_address.cuh"

// Waits until every kernel before this one on the stream has ended and its writes are seen. A kernel
// calls it before it touches any activation; every kernel calls it, so that the order is transitive.
__device__ __forceinline__ void grid_dependency_wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
    injected_delay();
}

// Lets the next kernel on the stream start, up to its own wait.
__device__ __forceinline__ void grid_dependency_release() {
    injected_delay();
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
    injected_delay();
}

// Copies 16 bytes from global to shared memory in the background, or zeros where `valid` is false.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global, bool valid = true) {
    unsigned address = shared_address(shared);
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global),
                 "r"(bytes)
                 : "memory");
}

// Ends a group of background copies of the calling thread.
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most PENDING of the calling thread's latest groups are under way.
template <int PENDING>
__device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Copies `bytes` (a multiple of 16) from global to shared memory by the whole block, in the background.
__device__ __forceinline__ void copy_async_block(void* shared, const void* global, int bytes) {
#pragma unroll 4
    for (int i = threadIdx.x * 16; i < bytes; i += blockDim.x * 16) {
        copy_async_16(static_cast<char*>(shared) + i, static_cast<const char*>(global) + i);
    }
}

// Stops the kernel where its launch gave it less dynamic shared memory than it uses.
__device__ __forceinline__ void check_shared_bytes(unsigned needed) {
    unsigned given;
    asm("mov.u32 %0, %%dynamic_smem_size;" : "=r"(given));
    if (given < needed) __trap();
}
