//! The host's side of a frame: the camera's bytes to the device, the mask back.

use super::driver::{Buffer, CudaError, Gpu, PinnedBuffer, Stream};
use super::head::MaskBuffer;
use super::preprocess::ImageLayout;
use super::stager::Stager;
use crate::error::{Error, Result};
use crate::image::ImageView;
use crate::labels::{Confidence, LabelMask};

/// Memory for the frames of one layout, on the device and pinned on the host.
pub(crate) struct FrameBuffers {
    staging: PinnedBuffer<u8>,
    /// The camera's bytes.
    pub(crate) bytes: Buffer<u8>,
    /// Flag, mask and confidence.
    pub(crate) mask: MaskBuffer,
    returned: PinnedBuffer<u8>,
    size: [usize; 2],
}

impl FrameBuffers {
    /// Allocates for images of `layout`.
    pub(crate) fn new(gpu: &Gpu, layout: &ImageLayout) -> Result<Self, CudaError> {
        let mask = MaskBuffer::new(gpu, layout.width * layout.height)?;
        Ok(Self {
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
    pub(crate) fn send(
        &mut self,
        image: &ImageView<'_>,
        stager: &mut Stager,
        stream: &Stream,
    ) -> Result<(), CudaError> {
        let image = image.used();
        self.bytes.check_len("the image", image.len())?;
        let staging = self.staging.as_mut_slice()[..image.len()].as_mut_ptr();
        // SAFETY: `staging` has as many bytes, and the device reads only parts that are there.
        unsafe {
            stager.copy(staging, image, |part| {
                self.bytes.copy_range_from(&self.staging, part, stream)
            })
        }
    }

    /// Puts the copy of the mask, and of the confidence where asked for, to the host on `stream`.
    pub(crate) fn fetch(&self, with_confidence: bool, stream: &Stream) -> Result<(), CudaError> {
        let bytes = self.mask.bytes(with_confidence);
        self.mask.device.copy_to(&self.returned, bytes, stream)
    }

    /// Returns what was fetched, once the stream's work is done; errs if a logit was not finite.
    pub(crate) fn result(&self, with_confidence: bool) -> Result<(LabelMask, Option<Confidence>)> {
        let (is_finite, ids, values) = self.mask.split(&self.returned);
        if !is_finite {
            return Err(Error::NotFinite { what: "logits" });
        }
        let [height, width] = self.size;
        let mask = LabelMask {
            width,
            height,
            ids: ids.to_vec(),
        };
        let confidence = with_confidence.then(|| Confidence {
            values: values.to_vec(),
        });
        Ok((mask, confidence))
    }
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
        let mut stager = Stager::new();
        frame.send(&image, &mut stager, &gpu.stream())?;
        assert_eq!(frame.bytes.to_vec()?, image.used());
        let larger = ImageView::new(PixelFormat::Rgb8, width, height, step + 1, &[0; 3012 * 613])?;
        assert!(matches!(
            frame.send(&larger, &mut stager, &gpu.stream()),
            Err(CudaError::Size { .. })
        ));
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
            stream.synchronise()?;
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
        let mut stager = Stager::new();
        let mut times: [Vec<f64>; 4] = Default::default();
        for i in 0..600 {
            let view = ImageView::from_rgb8(width, height, &images[i % 8])?;
            let start = Instant::now();
            frame.send(&view, &mut stager, &stream)?;
            let sent = start.elapsed();
            frame.fetch(false, &stream)?;
            stream.synchronise()?;
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
