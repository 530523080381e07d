//! Rows of `[c, h, w]` maps: whole maps, or the last few rows of one in a ring.

use super::simd::MAX_LANES;

/// Zeros before, between and after the rows of a ring: the zero padding that a convolution reads there,
/// and a pitch that is no power of two, for which a cache keeps the rows of all channels at once.
pub(crate) const RING_MARGIN: usize = 16;

/// Rows of a map to read. Row `y` of channel `c` lies at
/// `start + c * channel_stride + (y % ring) * pitch`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    data: &'a [f32],
    start: usize,
    channel_stride: usize,
    pitch: usize,
    width: usize,
    height: usize,
    ring: usize,
}

impl<'a> Rows<'a> {
    /// Returns the rows of a whole map `[c, h, w]`.
    pub(crate) fn of_map(data: &'a [f32], height: usize, width: usize) -> Self {
        let channel_stride = height * width;
        Self {
            data,
            start: 0,
            channel_stride,
            pitch: width,
            width,
            height,
            ring: height,
        }
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn height(&self) -> usize {
        self.height
    }

    /// Returns row `y` of channel `c`, or nothing above and below the map.
    #[inline(always)]
    pub(crate) fn row(&self, c: usize, y: isize) -> Option<&'a [f32]> {
        if y < 0 || y as usize >= self.height {
            return None;
        }
        let start = self.start + c * self.channel_stride + (y as usize % self.ring) * self.pitch;
        Some(&self.data[start..start + self.width])
    }

    /// Returns the whole memory of rows that have [`RING_MARGIN`] zeros on both sides, the distance of
    /// two channels in it, and where row `y` of the first channel starts. Nothing for a row outside the
    /// map, or for a map without margins.
    #[inline(always)]
    pub(crate) fn with_margins(&self, y: isize) -> Option<(&'a [f32], usize, usize)> {
        if self.start == 0 || y < 0 || y as usize >= self.height {
            return None;
        }
        let start = self.start + (y as usize % self.ring) * self.pitch;
        Some((self.data, self.channel_stride, start))
    }
}

/// The last rows of a map of which no more are needed at once.
#[derive(Default)]
pub(crate) struct Ring {
    data: Vec<f32>,
    channels: usize,
    pub(crate) height: usize,
    width: usize,
    depth: usize,
}

impl Ring {
    /// Returns a ring of the last `depth` rows of a map `[channels, height, width]`.
    pub(crate) fn new(channels: usize, [height, width]: [usize; 2], depth: usize) -> Self {
        // After the last row also what the last tile of a convolution reads and does not use.
        let tile = 4 * MAX_LANES;
        let rows = channels * depth * (width + RING_MARGIN);
        Self {
            data: vec![0.0; RING_MARGIN + rows + tile],
            channels,
            height,
            width,
            depth,
        }
    }

    pub(crate) fn rows(&self) -> Rows<'_> {
        let pitch = self.width + RING_MARGIN;
        Rows {
            data: &self.data,
            start: RING_MARGIN,
            channel_stride: self.depth * pitch,
            pitch,
            width: self.width,
            height: self.height,
            ring: self.depth,
        }
    }

    /// Returns row `y`'s place, once for each channel.
    pub(crate) fn row_mut(&mut self, y: usize) -> Vec<&mut [f32]> {
        let pitch = self.width + RING_MARGIN;
        let start = y % self.depth * pitch;
        let planes = self.data[RING_MARGIN..].chunks_exact_mut(self.depth * pitch);
        planes
            .take(self.channels)
            .map(|plane| &mut plane[start..start + self.width])
            .collect()
    }
}

/// A band of rows of a map to write: for each channel the same rows, as one slice.
pub(crate) struct Band<'a> {
    /// The band's first row in the map.
    pub(crate) first_row: usize,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    planes: Vec<&'a mut [f32]>,
}

impl Band<'_> {
    /// Returns row `y` of the map, once for each channel.
    pub(crate) fn row(&mut self, y: usize) -> Vec<&mut [f32]> {
        let start = (y - self.first_row) * self.width;
        self.planes
            .iter_mut()
            .map(|plane| &mut plane[start..start + self.width])
            .collect()
    }
}

/// Cuts a map `[c, height, width]` into bands of `rows` rows, the last one shorter.
pub(crate) fn bands_of_map(
    map: &mut [f32],
    height: usize,
    width: usize,
    rows: usize,
) -> Vec<Band<'_>> {
    let mut bands: Vec<Band<'_>> = (0..height)
        .step_by(rows)
        .map(|first_row| Band {
            first_row,
            rows: rows.min(height - first_row),
            width,
            planes: Vec::with_capacity(map.len() / (height * width).max(1)),
        })
        .collect();
    for plane in map.chunks_exact_mut(height * width) {
        for (band, part) in bands.iter_mut().zip(plane.chunks_mut(rows * width)) {
            band.planes.push(part);
        }
    }
    bands
}

/// Returns how many rows a band has: a few bands a thread, and no band so thin that the rows computed
/// twice at its edge weigh.
pub(crate) fn band_rows(height: usize) -> usize {
    const BANDS_PER_THREAD: usize = 4;
    const MIN_ROWS: usize = 4;
    height
        .div_ceil(rayon::current_num_threads() * BANDS_PER_THREAD)
        .max(MIN_ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_cover_each_row_of_each_channel_once() {
        let (channels, height, width) = (3, 7, 2);
        let mut map = vec![0.0; channels * height * width];
        for band in &mut bands_of_map(&mut map, height, width, 3) {
            for y in band.first_row..band.first_row + band.rows {
                for (c, row) in band.row(y).into_iter().enumerate() {
                    row.iter_mut().for_each(|x| *x += (c * height + y) as f32);
                }
            }
        }
        let expected: Vec<f32> = (0..channels * height * width)
            .map(|i| (i / width) as f32)
            .collect();
        assert_eq!(map, expected);
    }

    #[test]
    fn a_ring_keeps_the_last_rows() {
        let mut ring = Ring::new(2, [5, 1], 3);
        for y in 0..5 {
            for (c, row) in ring.row_mut(y).into_iter().enumerate() {
                row[0] = (10 * c + y) as f32;
            }
        }
        let rows = ring.rows();
        for (c, y) in [(0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4)] {
            assert_eq!(
                rows.row(c, y),
                Some([(10 * c as isize + y) as f32].as_slice())
            );
        }
        assert_eq!(rows.row(0, -1), None);
        assert_eq!(rows.row(0, 5), None);
    }
}
