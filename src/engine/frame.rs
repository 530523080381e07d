//! The host's side of a frame: the camera's bytes to the device, the mask back.

use std::ops::Range;

use super::driver::{Buffer, CudaError, Event, Gpu, PinnedBuffer, Stream, copy_past_caches};
use super::head::{FLAG_BYTES, MaskBuffer};
use super::preprocess::ImageLayout;
use crate::error::{Error, Result};
use crate::image::ImageView;
use crate::labels::{Confidence, LabelMask};

/// Bytes that are staged at a time: while the device fetches one piece, the CPU stages the next. Half of
/// what is left within these bounds, since each piece costs a call, and the last is waited for.
const PIECE_BYTES: [usize; 2] = [128 << 10, 512 << 10];

/// Pieces, and bytes of one at the least, in which a mask comes back: while the device sends one, the CPU
/// copies the one before.
const RETURNED_PIECES: usize = 4;
const RETURNED_BYTES: usize = 64 << 10;

/// Memory for the frames of one layout, on the device and pinned on the host.
pub(crate) struct FrameBuffers {
    staging: PinnedBuffer<u8>,
    /// The camera's bytes.
    pub(crate) bytes: Buffer<u8>,
    /// Flag, mask and confidence.
    pub(crate) mask: MaskBuffer,
    returned: PinnedBuffer<u8>,
    /// Of the flag and the mask, then of the confidence.
    pieces: Vec<ReturnedPiece>,
    size: [usize; 2],
}

/// Some bytes of what is fetched.
struct ReturnedPiece {
    range: Range<usize>,
    arrived: Event,
}

impl FrameBuffers {
    /// Allocates for images of `layout`.
    pub(crate) fn new(gpu: &Gpu, layout: &ImageLayout) -> Result<Self, CudaError> {
        let mask = MaskBuffer::new(gpu, layout.width * layout.height)?;
        let [mask_end, end] = [mask.bytes(false), mask.bytes(true)];
        let ranges = [0..mask_end, mask_end..end].into_iter().flat_map(cut);
        let pieces = ranges.map(|range| {
            Ok(ReturnedPiece {
                range,
                arrived: Event::ordering(gpu)?,
            })
        });
        Ok(Self {
            pieces: pieces.collect::<Result<_, CudaError>>()?,
            staging: PinnedBuffer::new(gpu, layout.bytes)?,
            bytes: Buffer::new(gpu, layout.bytes)?,
            returned: PinnedBuffer::new(gpu, mask.bytes(true))?,
            mask,
            size: [layout.height, layout.width],
        })
    }

    /// Puts the copy of the image's bytes on `stream`; the image itself may go once this returns.
    ///
    /// The stream's earlier work with these buffers is done. Errs if the image is larger than the
    /// layout's.
    pub(crate) fn send(&mut self, image: &ImageView<'_>, stream: &Stream) -> Result<(), CudaError> {
        let image = image.used();
        self.bytes.check_len("the image", image.len())?;
        let mut sent = 0;
        while sent < image.len() {
            let left = image.len() - sent;
            let piece = (left / 2).clamp(PIECE_BYTES[0], PIECE_BYTES[1]).min(left);
            let place = sent..sent + piece;
            copy_past_caches(
                &mut self.staging.as_mut_slice()[place.clone()],
                &image[place.clone()],
            );
            self.bytes.copy_range_from(&self.staging, place, stream)?;
            sent += piece;
        }
        Ok(())
    }

    /// Puts the copy of the mask, and of the confidence where asked for, to the host on `stream`.
    pub(crate) fn fetch(&self, with_confidence: bool, stream: &Stream) -> Result<(), CudaError> {
        for piece in self.fetched(with_confidence) {
            let range = piece.range.clone();
            self.mask
                .device
                .copy_range_to(&self.returned, range, stream)?;
            piece.arrived.record(stream)?;
        }
        Ok(())
    }

    /// Waits until what is fetched begins to arrive: the mask is computed.
    pub(crate) fn wait(&self) -> Result<(), CudaError> {
        (self.fetched(false).next()).map_or(Ok(()), |piece| piece.arrived.synchronise())
    }

    /// Waits for what was fetched and returns it; errs if a logit was not finite.
    pub(crate) fn result(&self, with_confidence: bool) -> Result<(LabelMask, Option<Confidence>)> {
        let [height, width] = self.size;
        let mut ids = Vec::with_capacity(height * width);
        let mut values = Vec::with_capacity(if with_confidence { height * width } else { 0 });
        let mut is_finite = true;
        for piece in self.fetched(with_confidence) {
            piece.arrived.synchronise()?;
            let bytes = self.returned.slice(piece.range.clone());
            if piece.range.start == 0 {
                let (flag, mask) = bytes.split_at(FLAG_BYTES);
                is_finite = flag[..4] == [0; 4];
                ids.extend_from_slice(mask);
            } else if piece.range.end <= self.mask.bytes(false) {
                ids.extend_from_slice(bytes);
            } else {
                values.extend_from_slice(bytes);
            }
        }
        if !is_finite {
            return Err(Error::NotFinite { what: "logits" });
        }
        let mask = LabelMask { width, height, ids };
        Ok((mask, with_confidence.then_some(Confidence { values })))
    }

    fn fetched(&self, with_confidence: bool) -> impl Iterator<Item = &ReturnedPiece> {
        let end = self.mask.bytes(with_confidence);
        self.pieces
            .iter()
            .take_while(move |piece| piece.range.end <= end)
    }
}

/// Returns the pieces in which these bytes come back.
fn cut(bytes: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let pieces = (bytes.len() / RETURNED_BYTES).clamp(1, RETURNED_PIECES);
    let end_of = move |piece: usize| bytes.start + bytes.len() * piece / pieces;
    (0..pieces).map(move |piece| end_of(piece)..end_of(piece + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::driver::GpuLimits;
    use crate::image::PixelFormat;
    use std::time::Instant;

    type TestResult = std::result::Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn every_byte_of_an_image_of_many_pieces_arrives() -> TestResult {
        let gpu = Gpu::open(0, GpuLimits::default())?;
        let (width, height, step) = (1001, 613, 3011);
        let bytes: Vec<u8> = (0..step * height).map(|i| (i * 7919 % 251) as u8).collect();
        let image = ImageView::new(PixelFormat::Rgb8, width, height, step, &bytes)?;
        let mut frame = FrameBuffers::new(&gpu, &ImageLayout::from(&image))?;
        frame.send(&image, &gpu.stream())?;
        assert_eq!(frame.bytes.to_vec()?, image.used());
        let larger = ImageView::new(PixelFormat::Rgb8, width, height, step + 1, &[0; 3012 * 613])?;
        assert!(matches!(
            frame.send(&larger, &gpu.stream()),
            Err(CudaError::Size { .. })
        ));
        Ok(())
    }

    #[test]
    fn every_byte_of_a_mask_of_many_pieces_comes_back() -> TestResult {
        let gpu = Gpu::open(0, GpuLimits::default())?;
        // One piece each, pieces of the least size, and more than the most.
        for (width, height) in [(4, 2), (301, 701), (1001, 613)] {
            let pixels = width * height;
            let image = vec![0; 3 * pixels];
            let image = ImageView::from_rgb8(width, height, &image)?;
            let frame = FrameBuffers::new(&gpu, &ImageLayout::from(&image))?;
            let mut computed = PinnedBuffer::new(&gpu, frame.mask.bytes(true))?;
            for (i, byte) in computed.as_mut_slice()[FLAG_BYTES..].iter_mut().enumerate() {
                *byte = (i * 7919 % 251) as u8;
            }
            let stream = gpu.stream();
            let device = &frame.mask.device;
            device.copy_from(&computed, frame.mask.bytes(true), &stream)?;
            for with_confidence in [false, true] {
                frame.fetch(with_confidence, &stream)?;
                frame.wait()?;
                let (mask, confidence) = frame.result(with_confidence)?;
                let want = computed.slice(FLAG_BYTES..frame.mask.bytes(true));
                assert_eq!(mask.ids, want[..pixels]);
                let want = with_confidence.then(|| want[pixels..].to_vec());
                assert_eq!(confidence.map(|confidence| confidence.values), want);
            }
        }
        Ok(())
    }

    #[test]
    fn a_raised_flag_gives_no_mask() -> TestResult {
        let gpu = Gpu::open(0, GpuLimits::default())?;
        let image = ImageView::from_rgb8(4, 2, &[0; 24])?;
        let frame = FrameBuffers::new(&gpu, &ImageLayout::from(&image))?;
        let stream = gpu.stream();
        for (byte, is_finite) in [(0, true), (1, false)] {
            frame.mask.device.fill_bytes(byte, &stream)?;
            frame.fetch(true, &stream)?;
            assert_eq!(frame.result(true).is_ok(), is_finite);
        }
        Ok(())
    }

    #[test]
    #[ignore = "prints times"]
    fn times() -> TestResult {
        let gpu = Gpu::open(0, GpuLimits::default())?;
        let (width, height) = (1024, 512);
        let images: Vec<Vec<u8>> = (0..8).map(|i| vec![i; 3 * width * height]).collect();
        let view = ImageView::from_rgb8(width, height, &images[0])?;
        let mut frame = FrameBuffers::new(&gpu, &ImageLayout::from(&view))?;
        let stream = gpu.stream();
        frame.mask.device.fill_bytes(0, &stream)?;
        let mut times: [Vec<f64>; 4] = Default::default();
        for i in 0..600 {
            let view = ImageView::from_rgb8(width, height, &images[i % 8])?;
            let start = Instant::now();
            frame.send(&view, &stream)?;
            let sent = start.elapsed();
            frame.fetch(false, &stream)?;
            frame.wait()?;
            let fetched = start.elapsed();
            let mask = frame.result(false)?;
            let end = start.elapsed();
            std::hint::black_box(mask);
            let spans = [sent, fetched - sent, end - fetched, end];
            for (times, span) in times.iter_mut().zip(spans) {
                times.push(span.as_secs_f64() * 1e6);
            }
        }
        for (name, times) in ["send", "wait", "result", "in all"].iter().zip(&mut times) {
            times.drain(..100);
            times.sort_by(f64::total_cmp);
            eprintln!(
                "host {name}: p50 {:.1} us, p95 {:.1} us",
                times[250], times[475]
            );
        }
        Ok(())
    }
}
