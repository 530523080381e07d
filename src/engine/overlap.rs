//! What overlapping kernels may not change: the bits of a frame. The reference is the same engine with
//! every kernel alone on the device.

use anyhow::{Context, Result, ensure};

use super::Engine;
use super::against_cpu::SMALL_CARD;
use super::driver::GpuLimits;
use crate::image::ImageView;
use crate::network::Weights;
use crate::preprocess::InputFit;
use crate::seeded::{image_bytes, seeded_weights};

/// Most images that take turns: what an earlier frame left behind is not what this one needs.
const IMAGES: usize = 8;

/// One network and one size.
struct Case {
    plan: &'static str,
    image: [usize; 2],
    network: [usize; 2],
    card: Card,
}

/// What the engine may use.
#[derive(Clone, Copy)]
enum Card {
    All,
    WithoutClusters,
    /// 99 KB of shared memory, and no clusters.
    Small,
}

/// The sizes of the benchmarks, odd ones, and an image that is resized.
const CASES: [Case; 8] = [
    Case::new("A", [360, 480]),
    Case::new("A", [512, 1024]),
    Case::new("A", [1024, 1024]),
    Case::new("B", [512, 1024]),
    Case::new("B", [1024, 1024]),
    Case::new("A", [97, 161]).of_image([120, 200]),
    Case::new("A", [360, 480]).on(Card::Small),
    Case::new("B", [357, 481])
        .of_image([480, 640])
        .on(Card::Small),
];

impl Case {
    const fn new(plan: &'static str, size: [usize; 2]) -> Self {
        Self {
            plan,
            image: size,
            network: size,
            card: Card::All,
        }
    }

    const fn of_image(self, image: [usize; 2]) -> Self {
        Self { image, ..self }
    }

    const fn on(self, card: Card) -> Self {
        Self { card, ..self }
    }

    fn engine(&self, no_overlap: bool) -> Result<Engine> {
        let weights = Weights::from_bytes(&seeded_weights(self.plan, 11)?)?;
        let card = match self.card {
            Card::All => GpuLimits::default(),
            Card::WithoutClusters => GpuLimits {
                cluster_blocks: Some(0),
                ..GpuLimits::default()
            },
            Card::Small => SMALL_CARD,
        };
        let limits = GpuLimits { no_overlap, ..card };
        Ok(Engine::new(&weights, 0, limits)?)
    }

    fn images(&self, count: usize) -> Vec<Vec<u8>> {
        let [height, width] = self.image;
        let first = image_bytes(height, width);
        let shifted = |i: usize| {
            first
                .iter()
                .map(move |byte| byte.wrapping_add(31 * i as u8))
        };
        (0..count).map(|i| shifted(i).collect()).collect()
    }

    fn frame(&self, engine: &mut Engine, pixels: &[u8]) -> Result<FrameBits> {
        let view = ImageView::from_rgb8(self.image[1], self.image[0], pixels)?;
        let fit = InputFit {
            network: self.network,
            image: self.network,
        };
        let (mask, confidence, _) = engine.run(&view, fit, true)?;
        let decoded = engine.network.decoded(&engine.prepared[0].maps);
        let decoded = decoded.map.to_vec()?;
        Ok(FrameBits {
            decoded: decoded.into_iter().map(half::f16::to_bits).collect(),
            mask: mask.ids,
            confidence: confidence.context("no confidence")?.values,
        })
    }

    /// Errs unless each of `frames` frames has the bits of the same frame with every kernel alone;
    /// `before` is called before each.
    fn check(&self, frames: usize, before: impl Fn(usize, &Engine) -> Result<()>) -> Result<()> {
        let images = self.images(frames.min(IMAGES));
        let mut alone = self.engine(true)?;
        let frame = |pixels: &Vec<u8>| self.frame(&mut alone, pixels);
        let want: Vec<FrameBits> = images.iter().map(frame).collect::<Result<_>>()?;
        drop(alone);
        for (i, one) in want.iter().enumerate() {
            ensure!(
                want[..i].iter().all(|other| other != one),
                "two frames are alike"
            );
        }
        let mut engine = self.engine(false)?;
        // Allocates what the others are to find poisoned.
        self.frame(&mut engine, &images[0])?;
        for frame in 0..frames {
            before(frame, &engine)?;
            let image = frame % images.len();
            let got = self.frame(&mut engine, &images[image]);
            let got = got.with_context(|| format!("{self}: frame {frame}"))?;
            let off = got.differing_from(&want[image]);
            ensure!(
                off == [0; 3],
                "{self}: frame {frame} differs in {off:?} values of the decoder, classes, confidences"
            );
        }
        Ok(())
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            plan,
            image: [rows, columns],
            network: [height, width],
            card,
        } = self;
        let card = match card {
            Card::All => "",
            Card::WithoutClusters => ", no clusters",
            Card::Small => ", small card",
        };
        write!(f, "plan {plan}, {rows}x{columns} to {height}x{width}{card}")
    }
}

/// What a frame gave: the decoder's last map, the mask and the confidence.
#[derive(PartialEq)]
struct FrameBits {
    decoded: Vec<u16>,
    mask: Vec<u8>,
    confidence: Vec<u8>,
}

impl FrameBits {
    fn differing_from(&self, other: &Self) -> [usize; 3] {
        fn count<T: PartialEq>(a: &[T], b: &[T]) -> usize {
            a.iter().zip(b).filter(|(a, b)| a != b).count() + a.len().abs_diff(b.len())
        }
        [
            count(&self.decoded, &other.decoded),
            count(&self.mask, &other.mask),
            count(&self.confidence, &other.confidence),
        ]
    }
}

#[test]
fn overlapping_kernels_give_the_bits_of_kernels_one_by_one() -> Result<()> {
    for case in &CASES {
        case.check(300, |_, _| Ok(()))?;
    }
    Ok(())
}

/// A few frames with each kind of kernel, small enough for tools that watch every access of memory.
fn check_few(card: Card) -> Result<()> {
    for case in [
        Case::new("A", [97, 161]).of_image([60, 50]),
        Case::new("A", [64, 96]),
        Case::new("B", [120, 200]),
        Case::new("A", [1, 1]),
    ] {
        case.on(card).check(2, |_, _| Ok(()))?;
    }
    Ok(())
}

#[test]
fn small_frames_give_the_bits_of_kernels_one_by_one() -> Result<()> {
    check_few(Card::All)
}

#[test]
fn small_frames_without_clusters_give_the_bits_of_kernels_one_by_one() -> Result<()> {
    check_few(Card::WithoutClusters)
}

#[test]
fn small_frames_on_a_small_card_give_the_bits_of_kernels_one_by_one() -> Result<()> {
    check_few(Card::Small)
}

#[test]
fn no_kernel_reads_what_none_of_its_frame_has_written() -> Result<()> {
    for case in &CASES {
        case.check(24, |_, engine| {
            Ok(engine.gpu.poison(&engine.gpu.stream())?)
        })?;
    }
    Ok(())
}

#[cfg(feature = "inject-faults")]
#[test]
fn late_warps_change_no_bit_of_a_frame_of_poisoned_buffers() -> Result<()> {
    /// Shorter than a kernel, about as long, longer.
    const MOST_NS: [u32; 3] = [1_000, 8_000, 60_000];
    for case in &CASES {
        case.check(100, |frame, engine| {
            super::fault::delay(&engine.gpu, MOST_NS[frame % MOST_NS.len()])?;
            Ok(engine.gpu.poison(&engine.gpu.stream())?)
        })?;
    }
    Ok(())
}
