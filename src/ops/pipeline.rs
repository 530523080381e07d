//! A chain of convolutions computed row by row, so that no map between two of them is ever whole.
//!
//! A band of output rows is one task. Each stage keeps only the rows that the next one still reads, in a
//! ring; at a band's edge those few rows are computed by both neighbours, with equal results, so the
//! output does not depend on how many threads there are.

use rayon::prelude::*;

use super::conv::Conv;
use super::merge::Merge;
use super::resize::Bilinear;
use super::rows::{Ring, Rows, band_rows, bands_of_map};
use super::simd::{Kernel, Vector};

/// What the first convolution of a pipeline reads.
pub(crate) enum Source<'a> {
    /// A map as it is.
    Map(Rows<'a>),
    /// A map of so many channels resized, one row at a time.
    Resized { map: Rows<'a>, bilinear: Bilinear },
    /// The three branches of an EDAB added up, one row at a time.
    Merged(Merge<'a>),
}

impl Source<'_> {
    fn size(&self) -> [usize; 2] {
        match self {
            Self::Map(map) => [map.height(), map.width()],
            Self::Resized { bilinear, .. } => bilinear.out_size(),
            Self::Merged(merge) => merge.size(),
        }
    }
}

/// Returns the `[h, w]` that `convs` make of `size`.
pub(crate) fn out_size(convs: &[Conv], size: [usize; 2]) -> [usize; 2] {
    convs
        .iter()
        .fold(size, |size, conv| conv.geometry().out_size(size))
}

/// Computes `convs` one after the other on `source`; `residual` is the last one's. Returns the map
/// `[c, h, w]` of the last, empty where `convs` is.
pub(crate) fn run(source: &Source<'_>, convs: &[Conv], residual: Option<&Rows<'_>>) -> Vec<f32> {
    let Some(last) = convs.last() else {
        return Vec::new();
    };
    let [height, width] = out_size(convs, source.size());
    let mut out = vec![0.0; last.geometry().out_channels * height * width];
    run_into(source, convs, residual, &mut out);
    out
}

/// As [`run`], into the map `out`.
pub(crate) fn run_into(
    source: &Source<'_>,
    convs: &[Conv],
    residual: Option<&Rows<'_>>,
    out: &mut [f32],
) {
    if convs.is_empty() {
        return;
    }
    let [height, width] = out_size(convs, source.size());
    let bands = bands_of_map(out, height, width, band_rows(height));
    bands.into_par_iter().for_each(|mut band| {
        let mut stages = Stages::new(source, convs);
        for y in band.first_row..band.first_row + band.rows {
            stages.conv_row(convs.len() - 1, y, residual, &mut band.row(y));
        }
    });
}

/// The rows that lie between the stages of one band.
struct Stages<'a> {
    source: &'a Source<'a>,
    convs: &'a [Conv],
    /// The source's, unless that is a map, then each convolution's but the last.
    rings: Vec<StageRing>,
    scratch: Vec<f32>,
}

/// A stage's last rows: as many as its reader reads at once.
struct StageRing {
    ring: Ring,
    /// The next row to compute, once the first has been asked for.
    next: Option<usize>,
}

impl<'a> Stages<'a> {
    fn new(source: &'a Source<'a>, convs: &'a [Conv]) -> Self {
        let mut size = source.size();
        let mut rings = Vec::with_capacity(convs.len());
        for (i, reader) in convs.iter().enumerate() {
            if i > 0 {
                size = convs[i - 1].geometry().out_size(size);
            }
            if i > 0 || !matches!(source, Source::Map(_)) {
                let depth = reader.rows_read(0).len();
                let ring = Ring::new(reader.geometry().in_channels, size, depth);
                rings.push(StageRing { ring, next: None });
            }
        }
        Self {
            source,
            convs,
            rings,
            scratch: Vec::new(),
        }
    }

    /// Computes row `y` of convolution `conv`'s output into `out`.
    fn conv_row(
        &mut self,
        conv: usize,
        y: usize,
        residual: Option<&Rows<'_>>,
        out: &mut [&mut [f32]],
    ) {
        self.make_input(conv, self.convs[conv].rows_read(y));
        let input = match (self.ring_before(conv), self.source) {
            (Some(ring), _) => self.rings[ring].ring.rows(),
            (None, Source::Map(map) | Source::Resized { map, .. }) => *map,
            (None, Source::Merged(merge)) => merge.trunk,
        };
        let conv = &self.convs[conv];
        conv.path().run(ConvRow {
            conv,
            input,
            y,
            residual,
            out,
            patch: &mut self.scratch,
        });
    }

    /// Computes what is still missing of the rows `wanted` that convolution `conv` reads.
    fn make_input(&mut self, conv: usize, wanted: std::ops::Range<isize>) {
        let Some(ring) = self.ring_before(conv) else {
            return;
        };
        let start = self.rings[ring]
            .next
            .unwrap_or(wanted.start.max(0) as usize);
        let end = wanted.end.clamp(0, self.rings[ring].ring.height as isize) as usize;
        for y in start..end {
            // Taken out, so that it can be written while the rings before it are read.
            let mut filling = std::mem::take(&mut self.rings[ring].ring);
            let mut out = filling.row_mut(y);
            if conv == 0 {
                self.source_row(y, &mut out);
            } else {
                self.conv_row(conv - 1, y, None, &mut out);
            }
            self.rings[ring].ring = filling;
        }
        self.rings[ring].next = Some(start.max(end));
    }

    /// Returns the index of the ring that convolution `conv` reads; none where it reads a map.
    fn ring_before(&self, conv: usize) -> Option<usize> {
        (conv + self.rings.len()).checked_sub(self.convs.len())
    }

    fn source_row(&mut self, y: usize, out: &mut [&mut [f32]]) {
        let path = self.convs[0].path();
        match self.source {
            Source::Map(_) => {}
            Source::Resized { map, bilinear } => {
                for (c, out) in out.iter_mut().enumerate() {
                    bilinear.row(map, c, y, out, &mut self.scratch);
                }
            }
            Source::Merged(merge) => path.run(merge.row(y, out)),
        }
    }
}

struct ConvRow<'a, 'b> {
    conv: &'a Conv,
    input: Rows<'a>,
    y: usize,
    residual: Option<&'a Rows<'a>>,
    out: &'a mut [&'b mut [f32]],
    patch: &'a mut Vec<f32>,
}

impl Kernel for ConvRow<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        self.conv
            .row::<V>(&self.input, self.y, self.residual, self.out, self.patch);
    }
}
