//! An image in, a label mask out: preprocessing, the network and the labels, with their times.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::image::ImageView;
use crate::labels::{ClassTable, Confidence, LabelMask};
use crate::network::{Weights, WeightsMetadata};
use crate::overlay::overlay_from_mask;
use crate::preprocess::InputFit;

mod backend;
mod cpu;
#[cfg(feature = "inject-faults")]
mod faults;
#[cfg(feature = "cuda")]
mod gpu;

use backend::Backend;

/// Where the network runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The GPU where this build and this machine have one, else the CPU, and the user is told.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of this number; an error where it cannot be used.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbered = text
            .strip_prefix("cuda:")
            .and_then(|number| number.parse().ok());
        match (text, numbered) {
            ("auto", _) => Ok(Self::Auto),
            ("cpu", _) => Ok(Self::Cpu),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(number)) => Ok(Self::Cuda(number)),
            _ => Err(format!(
                "device '{text}' is none of auto, cpu, cuda, cuda:N"
            )),
        }
    }
}

/// The size at which the network sees an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkSize {
    /// The image's own size, padded to what the strides need.
    Native,
    /// The size that the weights were trained at.
    #[default]
    Train,
    /// This size.
    Fixed {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
}

/// The largest side that a fixed network size may have.
const MAX_NETWORK_SIDE: usize = 8192;

impl FromStr for NetworkSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| {
            text.parse()
                .ok()
                .filter(|side| (1..=MAX_NETWORK_SIDE).contains(side))
        };
        match text {
            "native" => Ok(Self::Native),
            "train" => Ok(Self::Train),
            _ => (text.split_once('x'))
                .and_then(|(height, width)| {
                    Some(Self::Fixed {
                        height: side(height)?,
                        width: side(width)?,
                    })
                })
                .ok_or_else(|| {
                    format!(
                        "network size '{text}' is none of native, train, HxW \
                         (1 to {MAX_NETWORK_SIDE} each, such as 360x480)"
                    )
                }),
        }
    }
}

impl fmt::Display for NetworkSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Train => f.write_str("train"),
            Self::Fixed { height, width } => write!(f, "{height}x{width}"),
        }
    }
}

/// What a [`Segmenter`] is made from.
#[derive(Clone, Debug)]
pub struct SegmenterOptions {
    /// The weights file.
    pub weights: PathBuf,
    /// Where the network runs.
    pub device: DeviceChoice,
    /// CPU threads; all of the machine's where none are given.
    pub threads: Option<usize>,
    /// The size at which the network sees an image.
    pub network_size: NetworkSize,
}

impl SegmenterOptions {
    /// Returns the defaults with these weights: device auto, all threads, the training size.
    pub fn new(weights: &Path) -> Self {
        Self {
            weights: weights.to_owned(),
            device: DeviceChoice::default(),
            threads: None,
            network_size: NetworkSize::default(),
        }
    }
}

/// How long the stages of one image took.
///
/// On a GPU the device does the first and the last inside `network`, and they are the host's copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Colour conversion, resizing and normalisation.
    pub preprocess: Duration,
    /// The network, up to its last upsampling.
    pub network: Duration,
    /// Upsampling to the image, comparison and confidence.
    pub labels: Duration,
}

impl StageTimes {
    /// Returns the sum of the stages.
    pub fn total(&self) -> Duration {
        self.preprocess + self.network + self.labels
    }
}

/// What one image gave.
#[derive(Clone, Debug)]
pub struct Segmentation {
    /// A class for every pixel.
    pub mask: LabelMask,
    /// How sure each is, where it was asked for.
    pub confidence: Option<Confidence>,
    /// How long it took.
    pub times: StageTimes,
}

/// A network with its weights, ready for images of any size.
///
/// The same image gives the same bytes on one device, whatever the number of threads.
pub struct Segmenter {
    backend: Backend,
    device_note: Option<String>,
    metadata: WeightsMetadata,
    weights_sha256: String,
    classes: ClassTable,
    network_size: NetworkSize,
    threads: rayon::ThreadPool,
    #[cfg(feature = "inject-faults")]
    fault: faults::Fault,
}

impl Segmenter {
    /// Loads the weights and builds the network.
    ///
    /// Errs if the weights cannot be read or are not this network's, if the device cannot be
    /// used, or if the threads cannot be started.
    pub fn new(options: &SegmenterOptions) -> Result<Self> {
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads.unwrap_or(0))
            .thread_name(|i| format!("ecmnet-cpu-{i}"))
            .build()
            .map_err(|source| Error::Threads { source })?;
        let weights = Weights::load(&options.weights)?;
        let metadata = weights.metadata().clone();
        let weights_sha256 = weights.sha256().to_owned();
        let (backend, device_note) = threads.install(|| Backend::open(options.device, weights))?;
        Ok(Self {
            backend,
            device_note,
            weights_sha256,
            classes: metadata.class_table(),
            metadata,
            network_size: options.network_size,
            threads,
            #[cfg(feature = "inject-faults")]
            fault: faults::Fault::from_environment()?,
        })
    }

    /// Returns the mask of `image`, of the image's size, and its confidence if asked for.
    ///
    /// Errs if the network gives values that are not finite, or if the GPU fails: see
    /// [`Error::is_device_lost`]. The first time that a GPU's memory runs out, all of the engine's own is
    /// freed and the image tried again; if that does not help, and ever after, the GPU is as good as
    /// lost.
    pub fn run(&self, image: &ImageView<'_>, with_confidence: bool) -> Result<Segmentation> {
        #[cfg(feature = "inject-faults")]
        self.fault.strike(&self.backend)?;
        let fit = self.fit(image.height(), image.width());
        match &self.backend {
            Backend::Cpu(cpu) => self
                .threads
                .install(|| cpu.run(image, fit, with_confidence)),
            #[cfg(feature = "cuda")]
            Backend::Gpu(gpu) => gpu.run(image, fit, with_confidence),
        }
    }

    /// Returns packed RGB, `[height, width, 3]`: the image with its mask's colours laid over it, drawn
    /// on the segmenter's threads. See [`overlay_from_mask`].
    pub fn overlay(&self, image: &ImageView<'_>, mask: &LabelMask, alpha: f32) -> Vec<u8> {
        self.threads
            .install(|| overlay_from_mask(image, mask, &self.classes, alpha))
    }

    /// Returns the classes that the mask's ids stand for.
    pub fn classes(&self) -> &ClassTable {
        &self.classes
    }

    /// Returns what the weights file says of itself.
    pub fn metadata(&self) -> &WeightsMetadata {
        &self.metadata
    }

    /// Returns the weights file's SHA-256, in hexadecimal.
    pub fn weights_sha256(&self) -> &str {
        &self.weights_sha256
    }

    /// Returns where the network runs, in words.
    pub fn device_name(&self) -> String {
        match &self.backend {
            Backend::Cpu(cpu) => format!(
                "cpu ({} threads, {})",
                self.threads.current_num_threads(),
                cpu.path()
            ),
            #[cfg(feature = "cuda")]
            Backend::Gpu(gpu) => gpu.name(),
        }
    }

    /// Returns why `auto` did not take a GPU, where it did not.
    pub fn device_note(&self) -> Option<&str> {
        self.device_note.as_deref()
    }

    /// Returns the number type that the network computes in.
    pub fn dtype(&self) -> &'static str {
        match &self.backend {
            Backend::Cpu(_) => "f32",
            #[cfg(feature = "cuda")]
            Backend::Gpu(_) => "f16",
        }
    }

    /// Returns a clock of the GPU's own work on `image`, its copies left out; `None` on the CPU.
    #[cfg(feature = "cuda")]
    pub fn gpu_clock(&self) -> Option<GpuClock<'_>> {
        match &self.backend {
            Backend::Cpu(_) => None,
            Backend::Gpu(gpu) => Some(GpuClock {
                gpu,
                segmenter: self,
            }),
        }
    }

    /// Returns the network's `[height, width]` for an image of `height` x `width` pixels.
    pub fn network_size_for(&self, height: usize, width: usize) -> [usize; 2] {
        self.fit(height, width).network
    }

    fn fit(&self, height: usize, width: usize) -> InputFit {
        let resized = |size| InputFit {
            network: size,
            image: size,
        };
        match self.network_size {
            NetworkSize::Train => resized(self.metadata.train_size),
            NetworkSize::Fixed { height, width } => resized([height, width]),
            NetworkSize::Native => {
                let stride = self.metadata.plan.total_stride();
                let network = [height, width].map(|side| side.next_multiple_of(stride));
                InputFit {
                    network,
                    image: [height, width],
                }
            }
        }
    }
}

/// Measures the GPU's own work: from an image in its memory to the mask there.
#[cfg(feature = "cuda")]
pub struct GpuClock<'a> {
    gpu: &'a gpu::Gpu,
    segmenter: &'a Segmenter,
}

#[cfg(feature = "cuda")]
impl GpuClock<'_> {
    /// Puts the image into the GPU's memory; errs as [`Segmenter::run`].
    pub fn load(&self, image: &ImageView<'_>) -> Result<()> {
        let fit = self.segmenter.fit(image.height(), image.width());
        self.gpu.load(image, fit)
    }

    /// Returns the wall time of one frame of the loaded image, synchronised.
    pub fn wall(&self) -> Result<Duration> {
        self.gpu.wall()
    }

    /// Returns the time of one frame of the loaded image by the GPU's own events.
    pub fn events(&self) -> Result<Duration> {
        self.gpu.events()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_sizes_are_read_or_refused_with_the_choices() {
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        for bad in ["", "gpu", "cuda:", "cuda:x", "cpu:1", "auto:"] {
            let error = bad.parse::<DeviceChoice>().expect_err(bad);
            assert!(error.contains("cuda:N"), "{error}");
        }
        assert_eq!(
            "360x480".parse(),
            Ok(NetworkSize::Fixed {
                height: 360,
                width: 480
            })
        );
        for bad in ["", "0x5", "360", "360x", "-1x4", "9000x9000"] {
            assert!(bad.parse::<NetworkSize>().is_err(), "{bad}");
        }
    }
}
