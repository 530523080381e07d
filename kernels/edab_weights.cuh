// The weights of one EDAB as its kernels read them, in bytes from each part's beginning.
#pragma once

constexpr int FRAGMENT = 256;  // bytes of one packed 16x8 operand

__host__ __device__ constexpr int up_to(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

// How the weights of an EDAB of C channels lie in memory; src/engine/edab/weights.rs packs them.
template <int C>
struct EdabWeights {
    static constexpr int h = C / 2;
    static constexpr int k_h = up_to(h, 16) / 16, k_strip = up_to(3 * h, 16) / 16;
    // Of the block that ends.
    static constexpr int expand = 0;
    static constexpr int row_gate = expand + k_h * (C / 8) * FRAGMENT;
    static constexpr int column_gate = row_gate + k_h * (h / 8) * FRAGMENT;
    static constexpr int taps = column_gate + k_h * (h / 8) * FRAGMENT;  // CA's three f32, and one unused
    static constexpr int mid = taps + 16;                                // f16 scale, shift, slope [h]
    static constexpr int act = mid + 3 * h * 2;                          // f16 scale, shift, slope [C]
    static constexpr int leave_bytes = up_to(act + 3 * C * 2, 16);
    // Of the block that begins.
    static constexpr int reduce = 0;
    static constexpr int up1 = reduce + (C / 16) * (h / 8) * FRAGMENT;
    static constexpr int up2 = up1 + k_strip * (h / 8) * FRAGMENT;
    static constexpr int bias = up2 + k_strip * (h / 8) * FRAGMENT;  // f32 of up1, of up2 [h]
    static constexpr int slope = bias + 2 * h * 4;                   // f16 of up1, of up2 [h]
    static constexpr int pre = slope + 2 * h * 2;                    // f16 scale, shift, slope [C]
    static constexpr int enter_bytes = up_to(pre + 3 * C * 2, 16);
};
