// The weights of EDABs as their kernels read them, in bytes from each part's beginning.
#pragma once

constexpr int FRAGMENT = 256;  // bytes of one packed 16x8 operand

__host__ __device__ constexpr int up_to(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

// One step of a stage of C channels: what ends one block and begins the next (src/engine/edab/weights.rs).
// A stage of n blocks has n + 1 steps; what the first has nothing to end with, and the last nothing to
// begin with, is zero, but that the last one's `pre` is the activation after the stage. A bend is a PReLU's
// slope less one.
template <int C>
struct EdabWeights {
    static constexpr int h = C / 2;
    static constexpr int k_h = up_to(h, 16) / 16, k_strip = up_to(3 * h, 16) / 16;
    // Of the block that ends.
    static constexpr int expand = 0;
    static constexpr int row_gate = expand + k_h * (C / 8) * FRAGMENT;
    static constexpr int column_gate = row_gate + k_h * (h / 8) * FRAGMENT;
    static constexpr int ca = column_gate + k_h * (h / 8) * FRAGMENT;  // CA's three f32, and one unused
    static constexpr int mid = ca + 16;                                // f16 scale, shift, bend [h]
    // Of the block that begins.
    static constexpr int reduce = up_to(mid + 3 * h * 2, 16);
    static constexpr int up1 = reduce + (C / 16) * (h / 8) * FRAGMENT;
    static constexpr int up2 = up1 + k_strip * (h / 8) * FRAGMENT;
    static constexpr int bias = up2 + k_strip * (h / 8) * FRAGMENT;  // f32 of up1, of up2 [h]
    static constexpr int bend = bias + 2 * h * 4;                    // f16 of up1, of up2 [h]
    static constexpr int pre = bend + 2 * h * 2;                     // f16 scale, shift, bend [C]
    static constexpr int dense_bytes = up_to(pre + 3 * C * 2, 16);
    // Its depthwise taps, after all that: f16 [h/8, 20, 8].
    static constexpr int taps_bytes = h * 20 * 2;
    static constexpr int bytes = dense_bytes + taps_bytes;
};
