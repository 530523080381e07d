// Constants on their way to shared memory while something else is done.
#pragma once
#include "launch.cuh"
#include "shared_address.cuh"

// By the second warp's bulk copies on Hopper and later, else by background copies of all threads. Sizes and
// addresses are multiples of 16. One batch of copies at a time: `begin`, `copy`s, and `wait` before the next.
struct Prefetch {
    unsigned long long barrier;

    // By all threads, once; a barrier of the block must come before the first `begin`.
    __device__ __forceinline__ void prepare() {
#if __CUDA_ARCH__ >= 900
        if (threadIdx.x == 0) {
            asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(address()) : "memory");
            asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        }
#endif
    }

    // By all threads, `total` bytes in the `copy` calls after it. What lay there before has been read, and
    // a barrier of the block stands between.
    __device__ __forceinline__ void begin(unsigned total) {
#if __CUDA_ARCH__ >= 900
        if (threadIdx.x == 32) {
            asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(address()), "r"(total)
                         : "memory");
        }
#endif
    }

    __device__ __forceinline__ void copy(void* shared, const void* global, unsigned bytes) {
#if __CUDA_ARCH__ >= 900
        if (threadIdx.x / 32 == 1) {
            // In pieces, and each block from another one on: all blocks read the same bytes, and would
            // otherwise ask the same part of the L2 cache at the same time.
            const unsigned piece = 16384, pieces = (bytes + piece - 1) / piece;
            for (unsigned i = threadIdx.x % 32; i < pieces; i += 32) {
                unsigned from = (blockIdx.x + i) % pieces * piece, size = min(piece, bytes - from);
                unsigned to = shared_address(shared) + from;
                asm volatile(
                    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                    "l"(static_cast<const char*>(global) + from), "r"(size), "r"(address())
                    : "memory");
            }
        }
#else
        copy_async_block(shared, global, bytes);
        copy_async_commit();
#endif
    }

    // By all threads, for the batch of this number, from 0 on; a barrier of the block must come after it
    // where bulk copies do not exist.
    __device__ __forceinline__ void wait(unsigned batch) {
#if __CUDA_ARCH__ >= 900
        asm volatile(
            "{\n .reg .pred done;\n"
            "again%=: mbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n"
            "@!done bra again%=;\n}" ::"r"(address()),
            "r"(batch & 1)
            : "memory");
#else
        copy_async_wait<0>();
#endif
    }

  private:
    __device__ __forceinline__ unsigned address() {
        return shared_address(&barrier);
    }
};
