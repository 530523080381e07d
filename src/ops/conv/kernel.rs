//! One output row of a convolution: tiles of up to three vectors of pixels by a block of output channels.
//!
//! A tile's input is copied into a *patch*, `[in, kernel rows, stride phases, columns]`: zero padded,
//! activated, and with a stride of 2 parted into even and odd columns, so that every tap of every pixel
//! vector is one unaligned load. The accumulators of a tile stay in registers.

#![allow(
    unsafe_code,
    reason = "the inner loop reads patch and weights without bounds checks"
)]

use super::{Conv, Geometry};
use crate::ops::rows::Rows;
use crate::ops::simd::{CpuPath, MAX_LANES, Vector};

/// Vectors of pixels in a tile, at most.
const TILE_VECTORS: usize = 3;

/// Returns how many output channels a tile has: as many as the path's registers hold accumulators for.
pub(super) fn out_block(path: CpuPath) -> usize {
    if path.lanes() == 16 { 8 } else { 4 }
}

#[inline(always)]
pub(super) fn row<V: Vector>(
    conv: &Conv,
    input: &Rows<'_>,
    y: usize,
    residual: Option<&Rows<'_>>,
    out: &mut [&mut [f32]],
    patch: &mut Vec<f32>,
) {
    assert_eq!(V::LANES, conv.path.lanes());
    let width = conv.geometry.out_size([input.height(), input.width()])[1];
    let mut x = 0;
    while x < width {
        let vectors_left = (width - x).div_ceil(V::LANES);
        // 2 and 2 instead of 3 and 1: a tile of one vector loads nearly as much as it multiplies.
        let vectors = if vectors_left == 4 {
            2
        } else {
            vectors_left.min(TILE_VECTORS)
        };
        let pixels = (vectors * V::LANES).min(width - x);
        let layout = Patch::new(&conv.geometry, vectors * V::LANES);
        layout.fill(conv, input, y, x, patch);
        let place = Place {
            y,
            x,
            pixels,
            residual,
        };
        match (vectors, V::LANES) {
            (1, MAX_LANES) => tile::<V, 8, 1>(conv, &layout, patch, &place, out),
            (2, MAX_LANES) => tile::<V, 8, 2>(conv, &layout, patch, &place, out),
            (_, MAX_LANES) => tile::<V, 8, 3>(conv, &layout, patch, &place, out),
            (1, _) => tile::<V, 4, 1>(conv, &layout, patch, &place, out),
            (2, _) => tile::<V, 4, 2>(conv, &layout, patch, &place, out),
            (_, _) => tile::<V, 4, 3>(conv, &layout, patch, &place, out),
        }
        x += pixels;
    }
}

/// Where a tile lies in the output.
struct Place<'a> {
    y: usize,
    x: usize,
    pixels: usize,
    residual: Option<&'a Rows<'a>>,
}

/// A patch's layout.
struct Patch {
    /// Columns of one phase of one row.
    columns: usize,
    /// Elements of one input channel.
    channel_stride: usize,
    /// Offset of each tap's first pixel in a channel.
    taps: [usize; MAX_TAPS],
    tap_count: usize,
}

const MAX_TAPS: usize = 9;

impl Patch {
    #[inline(always)]
    fn new(geometry: &Geometry, pixels: usize) -> Self {
        let [kernel_rows, kernel_columns] = geometry.kernel;
        let stride = geometry.stride;
        let columns = pixels + (kernel_columns - 1) * geometry.dilation[1] / stride;
        let mut taps = [0; MAX_TAPS];
        for (t, tap) in taps[..geometry.taps()].iter_mut().enumerate() {
            let (i, j) = (
                t / kernel_columns,
                t % kernel_columns * geometry.dilation[1],
            );
            *tap = (i * stride + j % stride) * columns + j / stride;
        }
        let channel_stride = kernel_rows * stride * columns;
        Self {
            columns,
            channel_stride,
            taps,
            tap_count: geometry.taps(),
        }
    }

    /// Copies what the tile at output row `y`, column `x` reads.
    #[inline(always)]
    fn fill(&self, conv: &Conv, input: &Rows<'_>, y: usize, x: usize, patch: &mut Vec<f32>) {
        let geometry = &conv.geometry;
        let stride = geometry.stride;
        let size = geometry.in_channels * self.channel_stride;
        if patch.len() < size {
            patch.resize(size, 0.0);
        }
        let first_row = conv.rows_read(y).start;
        let first_column = (x * stride) as isize - geometry.padding(1) as isize;
        let mut rest = &mut patch[..size];
        for c in 0..geometry.in_channels {
            for i in 0..geometry.kernel[0] {
                let row = input.row(c, first_row + (i * geometry.dilation[0]) as isize);
                for phase in 0..stride {
                    let (part, after) = rest.split_at_mut(self.columns);
                    rest = after;
                    let Some(row) = row else {
                        part.fill(0.0);
                        continue;
                    };
                    let valid = copy_columns(row, first_column + phase as isize, stride, part);
                    if let Some(prologue) = &conv.prologue {
                        prologue.apply(c, &mut part[valid]);
                    }
                }
            }
        }
    }
}

/// Copies `row[first + i * stride]` to `part[i]`, zero outside the row; returns the part inside.
#[inline(always)]
fn copy_columns(
    row: &[f32],
    first: isize,
    stride: usize,
    part: &mut [f32],
) -> std::ops::Range<usize> {
    let step = stride as isize;
    let start = ((-first).max(0) + step - 1) / step;
    let end = (row.len() as isize - first + step - 1).max(0) / step;
    let start = (start as usize).min(part.len());
    let end = (end as usize).clamp(start, part.len());
    part[..start].fill(0.0);
    part[end..].fill(0.0);
    if start < end {
        let from = (first + start as isize * step) as usize;
        let inside = &mut part[start..end];
        if stride == 1 {
            inside.copy_from_slice(&row[from..from + (end - start)]);
        } else {
            for (to, from) in inside.iter_mut().zip(row[from..].iter().step_by(2)) {
                *to = *from;
            }
        }
    }
    start..end
}

/// Computes a tile of `N` vectors for every output channel, `OUT` at a time.
#[inline(always)]
fn tile<V: Vector, const OUT: usize, const N: usize>(
    conv: &Conv,
    layout: &Patch,
    patch: &[f32],
    place: &Place<'_>,
    out: &mut [&mut [f32]],
) {
    let channels = conv.geometry.in_channels;
    let block_weights = channels * layout.tap_count * OUT;
    let taps = &layout.taps[..layout.tap_count];
    let last_tap = taps.iter().copied().max().unwrap_or(0);
    assert!(channels * layout.channel_stride <= patch.len());
    assert!(last_tap + N * V::LANES <= layout.channel_stride);
    let blocks = out
        .chunks_mut(OUT)
        .zip(conv.packed.chunks_exact(block_weights));
    for (block, (out, weights)) in blocks.enumerate() {
        // SAFETY: the assertions hold every load of the patch inside it: channel offsets up to
        // (channels - 1) * channel_stride, then at most last_tap + N * LANES more. `weights` holds
        // channels * taps * OUT elements, as many as are read.
        let sums = unsafe {
            accumulate::<V, OUT, N>(patch.as_ptr(), layout, taps, channels, weights.as_ptr())
        };
        for (lane, (sums, out)) in sums.iter().zip(out).enumerate() {
            let o = block * OUT + lane;
            let out = &mut out[place.x..place.x + place.pixels];
            let residual = place
                .residual
                .and_then(|rows| rows.row(o, place.y as isize))
                .map(|row| &row[place.x..place.x + place.pixels]);
            finish::<V, N>(conv, o, sums, residual, out);
        }
    }
}

/// # Safety
/// Every `patch[c * channel_stride + tap..][..N * LANES]` with `c < channels` is readable, and
/// `weights` has `channels * taps.len() * OUT` elements.
#[inline(always)]
unsafe fn accumulate<V: Vector, const OUT: usize, const N: usize>(
    patch: *const f32,
    layout: &Patch,
    taps: &[usize],
    channels: usize,
    weights: *const f32,
) -> [[V; N]; OUT] {
    // Wrapping pointer steps and whole loads: an unoptimised check in this loop, as a debug build would
    // have it, costs more than what it checks.
    let mut sums = [[V::splat(0.0); N]; OUT];
    let mut weights = weights;
    let mut channel = patch;
    for _ in 0..channels {
        for &tap in taps {
            let mut pixels = [V::splat(0.0); N];
            let mut at = channel.wrapping_add(tap);
            for pixels in &mut pixels {
                // SAFETY: the caller's promise, for this channel and tap.
                *pixels = unsafe { V::load(at) };
                at = at.wrapping_add(V::LANES);
            }
            for sums in &mut sums {
                // SAFETY: the caller's promise; OUT weights are read for each channel and tap.
                let weight = unsafe { V::splat_from(weights) };
                weights = weights.wrapping_add(1);
                for (sum, pixels) in sums.iter_mut().zip(pixels) {
                    *sum = pixels.mul_add(weight, *sum);
                }
            }
        }
        channel = channel.wrapping_add(layout.channel_stride);
    }
    sums
}

/// Applies the epilogue of output channel `o` and writes the row's part.
#[inline(always)]
fn finish<V: Vector, const N: usize>(
    conv: &Conv,
    o: usize,
    sums: &[V; N],
    residual: Option<&[f32]>,
    out: &mut [f32],
) {
    let epilogue = &conv.epilogue;
    let bias = V::splat(epilogue.bias.get(o).copied().unwrap_or(0.0));
    let slope = epilogue.slope.get(o).map(|&slope| V::splat(slope));
    for (i, (sum, out)) in sums.iter().zip(out.chunks_mut(V::LANES)).enumerate() {
        let mut value = sum.add(bias);
        if let Some(slope) = slope {
            value = value.prelu(slope);
        }
        if let Some(residual) = residual {
            value = value.add(V::from_slice(&residual[i * V::LANES..]));
        }
        if let Some(post) = &epilogue.post {
            let scaled = value.mul_add(V::splat(post.scale[o]), V::splat(post.shift[o]));
            value = scaled.prelu(V::splat(post.slope[o]));
        }
        value.to_slice(out);
    }
}
