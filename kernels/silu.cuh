// x / (1 + e^-x), relative error about 1e-6: exact enough to be rounded to f16 once.
#pragma once

__device__ __forceinline__ float silu(float x) { return __fdividef(x, 1.f + __expf(-x)); }
