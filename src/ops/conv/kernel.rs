//! One output row of a convolution: tiles of up to three vectors of pixels by a block of output channels.
//!
//! Every tap of every pixel vector is one unaligned load. Where the input's rows have margins of zeros,
//! that is a load from them; else the tile's input is first copied into a *patch*, `[in, kernel rows,
//! stride phases, columns]`: zero padded, activated, and with a stride of 2 parted into even and odd
//! columns. The accumulators of a tile stay in registers.

#![allow(
    unsafe_code,
    reason = "the inner loop reads patch and weights without bounds checks"
)]

use super::{Conv, Geometry};
use crate::ops::activation::prelu;
use crate::ops::rows::{RING_MARGIN, Rows};
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
        let pixels_read = vectors * V::LANES;
        let (tile_input, layout) = match Layout::in_place(conv, input, y, x) {
            Some((rows, layout)) => (rows, layout),
            None => {
                let layout = Layout::of_patch(&conv.geometry, pixels_read);
                layout.fill_patch::<V>(conv, input, y, x, pixels_read, patch);
                (patch.as_slice(), layout)
            }
        };
        let place = Place {
            y,
            x,
            pixels,
            residual,
        };
        match (vectors, V::LANES) {
            (1, MAX_LANES) => tile::<V, 8, 1>(conv, &layout, tile_input, &place, out),
            (2, MAX_LANES) => tile::<V, 8, 2>(conv, &layout, tile_input, &place, out),
            (_, MAX_LANES) => tile::<V, 8, 3>(conv, &layout, tile_input, &place, out),
            (1, _) => tile::<V, 4, 1>(conv, &layout, tile_input, &place, out),
            (2, _) => tile::<V, 4, 2>(conv, &layout, tile_input, &place, out),
            (_, _) => tile::<V, 4, 3>(conv, &layout, tile_input, &place, out),
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

/// Where the taps of a tile lie in memory.
struct Layout {
    /// Elements from one input channel to the next.
    channel_stride: usize,
    /// Offset of each tap's first pixel in the first channel.
    taps: [usize; MAX_TAPS],
    tap_count: usize,
}

const MAX_TAPS: usize = 9;

impl Layout {
    /// Returns the input itself and the taps in it, if its rows have margins and need no change.
    #[inline(always)]
    fn in_place<'a>(
        conv: &Conv,
        input: &Rows<'a>,
        y: usize,
        x: usize,
    ) -> Option<(&'a [f32], Self)> {
        let geometry = &conv.geometry;
        let padding = geometry.padding(1);
        if geometry.stride > 1 || conv.prologue.is_some() || padding > RING_MARGIN {
            return None;
        }
        let [kernel_rows, kernel_columns] = geometry.kernel;
        let first_row = conv.rows_read(y).start;
        let mut layout = Self {
            channel_stride: 0,
            taps: [0; MAX_TAPS],
            tap_count: geometry.taps(),
        };
        let mut memory: &[f32] = &[];
        for i in 0..kernel_rows {
            let row = input.with_margins(first_row + (i * geometry.dilation[0]) as isize)?;
            let (data, channel_stride, start) = row;
            (memory, layout.channel_stride) = (data, channel_stride);
            for j in 0..kernel_columns {
                // The margin before each row is at least the padding.
                layout.taps[i * kernel_columns + j] =
                    start + x + j * geometry.dilation[1] - padding;
            }
        }
        Some((memory, layout))
    }

    /// Returns the layout of a patch for so many pixels of an output row.
    #[inline(always)]
    fn of_patch(geometry: &Geometry, pixels: usize) -> Self {
        let [kernel_rows, kernel_columns] = geometry.kernel;
        let stride = geometry.stride;
        let columns = patch_columns(geometry, pixels);
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
            channel_stride,
            taps,
            tap_count: geometry.taps(),
        }
    }

    /// Copies what the tile at output row `y`, column `x` reads.
    #[inline(always)]
    fn fill_patch<V: Vector>(
        &self,
        conv: &Conv,
        input: &Rows<'_>,
        y: usize,
        x: usize,
        pixels: usize,
        patch: &mut Vec<f32>,
    ) {
        let geometry = &conv.geometry;
        let stride = geometry.stride;
        let size = geometry.in_channels * self.channel_stride;
        if patch.len() < size {
            patch.resize(size, 0.0);
        }
        let columns = patch_columns(geometry, pixels);
        let first_row = conv.rows_read(y).start;
        let first_column = (x * stride) as isize - geometry.padding(1) as isize;
        let mut parts = patch[..size].chunks_exact_mut(columns);
        for c in 0..geometry.in_channels {
            let activation = conv
                .prologue
                .as_ref()
                .map(|prologue| prologue.of_channel(c));
            for i in 0..geometry.kernel[0] {
                let row = input.row(c, first_row + (i * geometry.dilation[0]) as isize);
                for (phase, part) in (&mut parts).take(stride).enumerate() {
                    let Some(row) = row else {
                        part.fill(0.0);
                        continue;
                    };
                    let first = first_column + phase as isize;
                    copy_columns::<V>(row, first, stride, activation, part);
                }
            }
        }
    }
}

/// Returns the columns that a patch has in one phase of one row.
#[inline(always)]
fn patch_columns(geometry: &Geometry, pixels: usize) -> usize {
    pixels + (geometry.kernel[1] - 1) * geometry.dilation[1] / geometry.stride
}

/// Copies `row[first + i * stride]`, activated, to `part[i]`; zero outside the row.
#[inline(always)]
fn copy_columns<V: Vector>(
    row: &[f32],
    first: isize,
    stride: usize,
    activation: Option<[f32; 3]>,
    part: &mut [f32],
) {
    let step = stride as isize;
    let start = ((-first).max(0) + step - 1) / step;
    let end = (row.len() as isize - first + step - 1).max(0) / step;
    let start = (start as usize).min(part.len());
    let end = (end as usize).clamp(start, part.len());
    part[..start].fill(0.0);
    part[end..].fill(0.0);
    let inside = &mut part[start..end];
    if inside.is_empty() {
        return;
    }
    let row = &row[(first + start as isize * step) as usize..];
    if stride == 1 {
        for (to, from) in inside.chunks_mut(V::LANES).zip(row.chunks(V::LANES)) {
            let mut values = V::from_slice(from);
            if let Some([scale, shift, slope]) = activation {
                let scaled = values.mul_add(V::splat(scale), V::splat(shift));
                values = scaled.prelu(V::splat(slope));
            }
            values.to_slice(to);
        }
        return;
    }
    let (pairs, last) = row.as_chunks::<2>();
    let (most, rest) = inside.split_at_mut(pairs.len().min(end - start));
    for (to, [from, _]) in most.iter_mut().zip(pairs) {
        *to = *from;
    }
    rest.copy_from_slice(&last[..rest.len()]);
    if let Some([scale, shift, slope]) = activation {
        inside
            .iter_mut()
            .for_each(|x| *x = prelu(scale * *x + shift, slope));
    }
}

/// Computes a tile of `N` vectors for every output channel, `OUT` at a time.
#[inline(always)]
fn tile<V: Vector, const OUT: usize, const N: usize>(
    conv: &Conv,
    layout: &Layout,
    input: &[f32],
    place: &Place<'_>,
    out: &mut [&mut [f32]],
) {
    let channels = conv.geometry.in_channels;
    let block_weights = channels * layout.tap_count * OUT;
    let taps = &layout.taps[..layout.tap_count];
    let last_tap = taps.iter().copied().max().unwrap_or(0);
    let last_channel = (channels - 1) * layout.channel_stride;
    assert!(last_channel + last_tap + N * V::LANES <= input.len());
    let blocks = out
        .chunks_mut(OUT)
        .zip(conv.packed.chunks_exact(block_weights));
    for (block, (out, weights)) in blocks.enumerate() {
        // SAFETY: the assertion holds the last pixel of the last tap of the last channel inside the
        // input, and all others lie before it. `weights` holds channels * taps * OUT elements, as many
        // as are read.
        let sums = unsafe {
            accumulate::<V, OUT, N>(input.as_ptr(), layout, taps, channels, weights.as_ptr())
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
/// Every `input[c * channel_stride + tap..][..N * LANES]` with `c < channels` is readable, and
/// `weights` has `channels * taps.len() * OUT` elements.
#[inline(always)]
unsafe fn accumulate<V: Vector, const OUT: usize, const N: usize>(
    input: *const f32,
    layout: &Layout,
    taps: &[usize],
    channels: usize,
    weights: *const f32,
) -> [[V; N]; OUT] {
    // Wrapping pointer steps and whole loads: an unoptimised check in this loop, as a debug build would
    // have it, costs more than what it checks.
    let mut sums = [[V::splat(0.0); N]; OUT];
    let mut weights = weights;
    let mut channel = input;
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
