//! The camera's own bytes to the network's input, on the device: `kernels/preprocess.cu`.

use half::f16;

use super::driver::{Buffer, CudaError, Gpu, Kernel, Launch, MAX_GRID_ROWS, Stream};
use super::head::FLAG_BYTES;
use crate::bilinear::Taps;
use crate::image::{ImageView, PixelFormat};
use crate::preprocess::{InputFit, InputNormalisation};

/// Threads of a block, along a row.
const THREADS: u32 = 256;

/// How the bytes of an image lie: what a plan is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageLayout {
    /// How bytes encode pixels.
    pub(crate) format: PixelFormat,
    /// Pixels a row.
    pub(crate) width: usize,
    /// Rows.
    pub(crate) height: usize,
    /// Bytes from one row to the next.
    pub(crate) step: usize,
    /// Bytes from the first to the last that the image uses.
    pub(crate) bytes: usize,
}

impl From<&ImageView<'_>> for ImageLayout {
    fn from(image: &ImageView<'_>) -> Self {
        Self {
            format: image.format(),
            width: image.width(),
            height: image.height(),
            step: image.step(),
            bytes: image.used().len(),
        }
    }
}

/// Pixels of a thread of `preprocess_packed`.
const PACKED: usize = 4;

/// The kernels and the weights' normalisation.
pub(crate) struct Preprocess {
    kernel: Kernel,
    packed: Kernel,
    normalisation: InputNormalisation,
}

/// The taps from one image layout to one network size, on the device.
pub(crate) struct PreprocessPlan {
    layout: ImageLayout,
    network: [usize; 2],
    /// Whether `preprocess_packed` takes such an image.
    is_packed: bool,
    rows: Buffer<u32>,
    columns: Buffer<u32>,
}

impl Preprocess {
    pub(crate) fn new(gpu: &Gpu, normalisation: &InputNormalisation) -> Result<Self, CudaError> {
        Ok(Self {
            kernel: gpu.kernel("preprocess", "preprocess")?,
            packed: gpu.kernel("preprocess", "preprocess_packed")?,
            normalisation: normalisation.clone(),
        })
    }

    /// Returns what a frame of this layout needs on the device beside its bytes.
    ///
    /// Errs if the network's input has more than 65,535 rows, or if memory runs out.
    pub(crate) fn plan(
        &self,
        gpu: &Gpu,
        layout: ImageLayout,
        fit: InputFit,
    ) -> Result<PreprocessPlan, CudaError> {
        if fit.network[0] > MAX_GRID_ROWS {
            return Err(CudaError::Limit {
                what: "the network's height",
                limit: MAX_GRID_ROWS,
                got: fit.network[0],
            });
        }
        let axis = |from: usize, to: usize, padded: usize| {
            Buffer::from_slice(gpu, &tap_words(&Taps::new(from, to), padded))
        };
        Ok(PreprocessPlan {
            layout,
            network: fit.network,
            is_packed: [fit.network, fit.image] == [[layout.height, layout.width]; 2]
                && Kind::of(layout.format).pixel_bytes == 3
                && layout.width.is_multiple_of(PACKED)
                && layout.step.is_multiple_of(size_of::<u32>()),
            rows: axis(layout.height, fit.image[0], fit.network[0])?,
            columns: axis(layout.width, fit.image[1], fit.network[1])?,
        })
    }

    /// Puts on `stream`: `bytes` to `input` `[h, w, 4]`, f16, normalised, the fourth channel 0; and
    /// `flag` to 0.
    ///
    /// Errs if a buffer is too small.
    pub(crate) fn launch(
        &self,
        stream: &Stream,
        plan: &PreprocessPlan,
        bytes: &Buffer<u8>,
        input: &Buffer<f16>,
        flag: &Buffer<u8>,
    ) -> Result<(), CudaError> {
        let [height, width] = plan.network;
        let layout = &plan.layout;
        bytes.check_len("the image", layout.bytes)?;
        input.check_len("the network's input", height * width * 4)?;
        flag.check_len("the flag", FLAG_BYTES)?;
        let kind = Kind::of(layout.format);
        let InputNormalisation {
            rgb_places,
            mean,
            std,
        } = &self.normalisation;
        let parameters = Parameters {
            bytes: bytes.address(),
            rows: plan.rows.address(),
            columns: plan.columns.address(),
            input: input.address(),
            flag: flag.address(),
            step: layout.step as u64,
            height: layout.height as u32,
            width: layout.width as u32,
            out_width: width as u32,
            format: kind.format,
            pixel_bytes: kind.pixel_bytes,
            chroma_shift: kind.chroma_shift,
            red: kind.red,
            places: rgb_places.map(|place| place as u32),
            mean: *mean,
            scale: std.map(|std| 1.0 / std),
        };
        let blocks = |threads: usize| threads.div_ceil(THREADS as usize) as u32;
        let (kernel, grid) = match plan.is_packed {
            true => (&self.packed, [blocks(height * width / PACKED), 1, 1]),
            false => (&self.kernel, [blocks(width), height as u32, 1]),
        };
        let launch = Launch::new(grid, THREADS, 0);
        // SAFETY: the argument is the kernel's; the image view's lengths hold for the layout, and the
        // lengths of all buffers were checked above.
        unsafe { kernel.launch(stream, &launch, &parameters) }
    }
}

/// The argument of both kernels.
#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters {
    bytes: u64,
    rows: u64,
    columns: u64,
    input: u64,
    flag: u64,
    step: u64,
    height: u32,
    width: u32,
    out_width: u32,
    format: u32,
    pixel_bytes: u32,
    chroma_shift: u32,
    red: u32,
    places: [u32; 3],
    mean: [f32; 3],
    scale: [f32; 3],
}

/// How the kernel reads a format; the numbers are those of its `Format`.
#[derive(Default)]
struct Kind {
    format: u32,
    pixel_bytes: u32,
    chroma_shift: u32,
    red: u32,
}

impl Kind {
    fn of(format: PixelFormat) -> Self {
        let packed = |pixel_bytes, red| Self {
            pixel_bytes,
            red,
            ..Self::default()
        };
        let other = |format, red| Self {
            format,
            red,
            ..Self::default()
        };
        let semi_planar = |chroma_shift, red| Self {
            chroma_shift,
            ..other(3, red)
        };
        match format {
            PixelFormat::Rgb8 => packed(3, 0),
            PixelFormat::Bgr8 => packed(3, 2),
            PixelFormat::Rgba8 => packed(4, 0),
            PixelFormat::Bgra8 => packed(4, 2),
            PixelFormat::Mono8 => other(1, 0),
            PixelFormat::Uyvy => other(2, 1),
            PixelFormat::Yuyv => other(2, 0),
            PixelFormat::Nv12 => semi_planar(1, 0),
            PixelFormat::Nv21 => semi_planar(1, 1),
            PixelFormat::Nv24 => semi_planar(0, 0),
            PixelFormat::BayerRggb8 => other(4, 0b00),
            PixelFormat::BayerGrbg8 => other(4, 0b01),
            PixelFormat::BayerGbrg8 => other(4, 0b10),
            PixelFormat::BayerBggr8 => other(4, 0b11),
        }
    }
}

/// Returns `padded` taps as the kernel reads them, place and share, the last one repeated.
fn tap_words(taps: &Taps, padded: usize) -> Vec<u32> {
    (0..padded)
        .flat_map(|out| {
            let tap = taps.at(out.min(taps.len() - 1));
            [tap.low as u32, tap.share.to_bits()]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::driver::{GpuLimits, Graph};
    use crate::engine::timing::microseconds_each;
    use crate::preprocess::input_from_image;

    type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

    const FORMATS: [PixelFormat; 14] = [
        PixelFormat::Rgb8,
        PixelFormat::Bgr8,
        PixelFormat::Rgba8,
        PixelFormat::Bgra8,
        PixelFormat::Mono8,
        PixelFormat::Uyvy,
        PixelFormat::Yuyv,
        PixelFormat::Nv12,
        PixelFormat::Nv21,
        PixelFormat::Nv24,
        PixelFormat::BayerRggb8,
        PixelFormat::BayerBggr8,
        PixelFormat::BayerGbrg8,
        PixelFormat::BayerGrbg8,
    ];

    fn normalisation() -> InputNormalisation {
        InputNormalisation {
            rgb_places: [2, 1, 0],
            mean: [103.53, 116.28, 123.675],
            std: [57.375, 57.12, 58.395],
        }
    }

    fn made_bytes(n: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..n).map(|_| next()).collect()
    }

    /// What many images share: nearly all time is the driver's, above all beside other programs or under a
    /// sanitizer.
    struct Bench<'a> {
        gpu: &'a Gpu,
        preprocess: Preprocess,
        flag: Buffer<u8>,
    }

    impl Bench<'_> {
        /// Returns the device's input and flag, both poisoned before.
        fn run(
            &self,
            layout: ImageLayout,
            bytes: &Buffer<u8>,
            fit: InputFit,
        ) -> Result<(Vec<f16>, Vec<u8>)> {
            let stream = self.gpu.stream();
            let input = Buffer::<f16>::new(self.gpu, 4 * fit.network[0] * fit.network[1])?;
            input.fill_bytes(0xff, &stream)?;
            self.flag.fill_bytes(0xff, &stream)?;
            let plan = self.preprocess.plan(self.gpu, layout, fit)?;
            (self.preprocess).launch(&stream, &plan, bytes, &input, &self.flag)?;
            Ok((input.to_vec()?, self.flag.to_vec()?))
        }

        /// The arithmetic is the CPU's, step by step, so that the values are its own, rounded once.
        fn assert_all_are_the_cpus(&self, image: &ImageView<'_>, fits: &[InputFit]) -> Result {
            let bytes = Buffer::from_slice(self.gpu, image.used())?;
            for fit in fits {
                let (got, flag) = self.run(ImageLayout::from(image), &bytes, *fit)?;
                assert_eq!(flag, [0; FLAG_BYTES]);
                let want = input_from_image(image, *fit, &normalisation());
                let plane = fit.network[0] * fit.network[1];
                for (pixel, got) in got.chunks_exact(4).enumerate() {
                    let want = [0, 1, 2].map(|c| f16::from_f32(want[c * plane + pixel]));
                    assert_eq!(
                        got,
                        [want[0], want[1], want[2], f16::ZERO],
                        "{} {}x{} step {} to {fit:?}: pixel {pixel}",
                        image.format(),
                        image.width(),
                        image.height(),
                        image.step(),
                    );
                }
            }
            Ok(())
        }
    }

    #[test]
    fn every_format_gives_the_bits_of_the_cpu_at_any_size_and_step() -> Result {
        let gpu = Gpu::open(0, GpuLimits::default())?;
        let bench = Bench {
            gpu: &gpu,
            preprocess: Preprocess::new(&gpu, &normalisation())?,
            flag: Buffer::new(&gpu, FLAG_BYTES)?,
        };
        for format in FORMATS {
            let sizes = [[2, 2], [6, 4], [34, 18], [36, 6], [258, 20]];
            let odd = [[1, 1], [1, 5], [7, 1], [33, 17], [259, 3]];
            let sizes = match ImageView::new(format, 1, 1, 8, &[0; 64]) {
                Ok(_) => [&sizes[..], &odd[..]].concat(),
                Err(_) => sizes.to_vec(),
            };
            for [width, height] in sizes {
                let resized = [[height, width], [height + 9, 2 * width + 1], [3, 2], [1, 1]];
                let fits = resized.map(|size| {
                    [[0, 0], [5, 14]].map(|pad| InputFit {
                        network: [size[0] + pad[0], size[1] + pad[1]],
                        image: size,
                    })
                });
                for padding in [0, 5] {
                    let step = 4 * width + padding;
                    let bytes = made_bytes(step * height * 3);
                    let image = ImageView::new(format, width, height, step, &bytes)?;
                    bench.assert_all_are_the_cpus(&image, fits.as_flattened())?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_buffer_that_is_too_small_is_refused() -> Result {
        let gpu = Gpu::open(0, GpuLimits::default())?;
        let preprocess = Preprocess::new(&gpu, &normalisation())?;
        let bytes = made_bytes(3 * 4 * 4);
        let image = ImageView::from_rgb8(4, 4, &bytes)?;
        let size = [4, 4];
        let fit = InputFit {
            network: size,
            image: size,
        };
        let plan = preprocess.plan(&gpu, ImageLayout::from(&image), fit)?;
        let [short, long] = [1, FLAG_BYTES].map(|n| Buffer::<u8>::new(&gpu, n));
        let input = Buffer::<f16>::new(&gpu, 64)?;
        let error = preprocess.launch(&gpu.stream(), &plan, &short?, &input, &long?);
        assert!(matches!(error, Err(CudaError::Size { expected: 48, .. })));
        Ok(())
    }

    #[test]
    #[ignore = "prints times"]
    fn times() -> Result {
        let gpu = Gpu::open(0, GpuLimits::default())?;
        let preprocess = Preprocess::new(&gpu, &normalisation())?;
        let network = [512, 1024];
        let input = Buffer::<f16>::new(&gpu, 4 * network[0] * network[1])?;
        let flag = Buffer::<u8>::new(&gpu, FLAG_BYTES)?;
        for (format, [height, width]) in [
            (PixelFormat::Rgb8, network),
            (PixelFormat::Bgra8, network),
            (PixelFormat::Nv12, network),
            (PixelFormat::BayerRggb8, network),
            (PixelFormat::Rgb8, [720, 1280]),
        ] {
            let bytes = made_bytes(4 * width * height * 3);
            let image = ImageView::new(format, width, height, 4 * width, &bytes)?;
            let fit = InputFit {
                network,
                image: network,
            };
            let plan = preprocess.plan(&gpu, ImageLayout::from(&image), fit)?;
            let bytes = Buffer::from_slice(&gpu, image.used())?;
            let graph = Graph::record(&gpu, |stream| {
                (0..20).try_for_each(|_| preprocess.launch(stream, &plan, &bytes, &input, &flag))
            })?;
            let us = microseconds_each(&gpu, &graph, 20)?;
            eprintln!("preprocess {format} {height}x{width} to {network:?}: {us:.2} us");
        }
        Ok(())
    }
}
