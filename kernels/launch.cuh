// Order between kernels that overlap on one stream (programmatic dependent launch), and between the
// blocks of a grid or a cluster.
#pragma once

// Waits until every kernel before this one on the stream has ended and its writes are seen. A kernel
// calls it before it touches any activation; every kernel calls it, so that the order is transitive.
__device__ __forceinline__ void grid_dependency_wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next kernel on the stream start, up to its own wait.
__device__ __forceinline__ void grid_dependency_release() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Copies 16 bytes from global to shared memory in the background, or zeros where `valid` is false.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global, bool valid = true) {
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
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

// Constants on their way to shared memory while the kernel before still runs: one thread's bulk copies on
// Hopper and later, else background copies by all threads. All sizes and addresses are multiples of 16.
struct Prefetch {
    unsigned long long barrier;

    // By all threads, `total` bytes in one or more `copy` calls after it.
    __device__ __forceinline__ void begin(unsigned total) {
#if __CUDA_ARCH__ >= 900
        if (threadIdx.x == 0) {
            asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(address()) : "memory");
            asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
            asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(address()), "r"(total)
                         : "memory");
        }
#endif
    }

    __device__ __forceinline__ void copy(void* shared, const void* global, unsigned bytes) {
#if __CUDA_ARCH__ >= 900
        if (threadIdx.x == 0) {
            // In pieces, and each block from another one on: all blocks read the same bytes, and would
            // otherwise ask the same part of the L2 cache at the same time.
            const unsigned piece = 4096, pieces = (bytes + piece - 1) / piece;
            unsigned at = (blockIdx.x + blockIdx.y * gridDim.x) % pieces;
            for (unsigned i = 0; i < pieces; i++) {
                unsigned from = at * piece, size = min(piece, bytes - from);
                unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared)) + from;
                asm volatile(
                    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                    "l"(static_cast<const char*>(global) + from), "r"(size), "r"(address())
                    : "memory");
                at = at + 1 == pieces ? 0 : at + 1;
            }
        }
#else
        copy_async_block(shared, global, bytes);
        copy_async_commit();
#endif
    }

    // By all threads, after a barrier of the block that follows `begin`; a second one must come before
    // other threads' copies are read where bulk copies do not exist.
    __device__ __forceinline__ void wait() {
#if __CUDA_ARCH__ >= 900
        asm volatile(
            "{\n .reg .pred done;\n"
            "again%=: mbarrier.try_wait.parity.shared.b64 done, [%0], 0;\n"
            "@!done bra again%=;\n}" ::"r"(address())
            : "memory");
#else
        copy_async_wait<0>();
#endif
    }

  private:
    __device__ __forceinline__ unsigned address() {
        return static_cast<unsigned>(__cvta_generic_to_shared(&barrier));
    }
};
