// A kernel that fails, for the tests of what becomes of the process: built with the feature
// `inject-faults` alone. After it every call on the context errs.

extern "C" __global__ void trap(int) { __trap(); }
