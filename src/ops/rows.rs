//! Rows of `[c, h, w]` maps: whole maps, or the last few rows of one in a ring.

/// Rows of a map to read. Row `y` of channel `c` lies at `c * channel_stride + (y % ring) * width`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    data: &'a [f32],
    channel_stride: usize,
    width: usize,
    height: usize,
    ring: usize,
}

impl<'a> Rows<'a> {
    /// Returns the rows of a whole map `[c, h, w]`.
    pub(crate) fn of_map(data: &'a [f32], height: usize, width: usize) -> Self {
        Self {
            data,
            channel_stride: height * width,
            width,
            height,
            ring: height,
        }
    }

    /// Returns the rows of a map of `height` rows, of which the ring `[c, ring, w]` holds the last.
    pub(crate) fn of_ring(data: &'a [f32], height: usize, width: usize, ring: usize) -> Self {
        Self {
            data,
            channel_stride: ring * width,
            width,
            height,
            ring,
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
        let start = c * self.channel_stride + (y as usize % self.ring) * self.width;
        Some(&self.data[start..start + self.width])
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
        let ring = [30.0, 40.0, 20.0];
        let rows = Rows::of_ring(&ring, 5, 1, 3);
        assert_eq!(rows.row(0, 2), Some(&ring[2..3]));
        assert_eq!(rows.row(0, 3), Some(&ring[0..1]));
        assert_eq!(rows.row(0, 4), Some(&ring[1..2]));
        assert_eq!(rows.row(0, -1), None);
        assert_eq!(rows.row(0, 5), None);
    }
}
