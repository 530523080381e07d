//! The whole network on the GPU: its weights, the maps between its kernels, and their order.
//!
//! The skips' branches, a line and an MSAU each, run beside the encoder on streams of their own.

use half::f16;

use super::down::Down;
use super::driver::{Buffer, CudaError, Event, Gpu, Stream};
use super::edab::{EdabScratch, EdabStage};
use super::ffm::{Ffm, FfmMaps, FfmScratch};
use super::head::Decoded;
use super::line::Line;
use super::msau::{Msau, MsauScratch};
use super::stem::{INPUT_CHANNELS, Stem};
use super::up::{Resized, Up};
use crate::error::Result;
use crate::network::layers::{ChannelOrder, Layers};
use crate::network::tensors::{
    DILATIONS, SHALLOW_DILATIONS, SKIP_WIDTH, STEM_WIDTH, WIDTHS, tensor_shapes,
};
use crate::network::{Plan, Weights};
use crate::ops::CpuPath;

/// The network's kernels with their weights, all but the classifier.
pub(crate) struct GpuNetwork {
    plan: Plan,
    stem: Stem,
    encoder: [EncoderStage; 3],
    msau: Msau,
    ffm: Ffm,
    decoder: [DecoderStage; 3],
}

struct EncoderStage {
    down: Down,
    blocks: EdabStage,
    out_order: ChannelOrder,
    line: Line,
}

struct DecoderStage {
    blocks: EdabStage,
    out_order: ChannelOrder,
    up: Up,
}

/// One map of the network, for [`GpuNetwork::launch`]'s observer.
#[cfg_attr(not(test), allow(dead_code, reason = "only the tests look"))]
pub(crate) struct Observed<'a> {
    /// The reference network's name of it.
    pub(crate) name: &'a str,
    pub(crate) map: &'a Buffer<f16>,
    pub(crate) order: &'a ChannelOrder,
    pub(crate) size: [usize; 2],
}

impl GpuNetwork {
    /// Packs checked weights for `gpu`.
    ///
    /// Errs if a tensor is missing, of another shape or not ECMNet's, or if memory runs out.
    pub(crate) fn new(gpu: &Gpu, weights: &Weights) -> Result<Self> {
        let classes = weights.metadata().classes.len();
        weights.check_names(&tensor_shapes(classes).into_keys().collect())?;
        let layers = Layers::new(weights, CpuPath::best());
        let plan = weights.metadata().plan;
        let mut read = ChannelOrder::natural(STEM_WIDTH);
        let mut encoder_stage = |stage: usize, dilations: &[usize]| -> Result<EncoderStage> {
            let channels = WIDTHS[stage - 1];
            let below = layers.pp(format_args!("down{stage}"));
            let down = Down::new(gpu, &below, &read, channels)?;
            let below = layers.pp(format_args!("enc{stage}"));
            let act =
                |order: &ChannelOrder| Ok(Some(layers.activation(&format!("act{stage}"), order)?));
            let (blocks, out_order) =
                EdabStage::new(gpu, &below, down.out_order(), dilations, act)?;
            read = out_order.clone();
            Ok(EncoderStage {
                line: Line::new(gpu, &layers, stage, &out_order)?,
                down,
                blocks,
                out_order,
            })
        };
        let encoder = [
            encoder_stage(1, &SHALLOW_DILATIONS)?,
            encoder_stage(2, &DILATIONS)?,
            encoder_stage(3, &DILATIONS)?,
        ];
        let natural = ChannelOrder::natural(SKIP_WIDTH);
        let decoder_stage = |stage: usize| -> Result<DecoderStage> {
            let below = layers.pp(format_args!("dec{stage}"));
            let (blocks, out_order) =
                EdabStage::new(gpu, &below, &natural, &SHALLOW_DILATIONS, |_| Ok(None))?;
            let up = Up::new(gpu, &layers, stage, &out_order)?;
            Ok(DecoderStage {
                blocks,
                out_order,
                up,
            })
        };
        Ok(Self {
            plan,
            stem: Stem::new(gpu, &layers, plan)?,
            msau: Msau::new(gpu, &layers.pp("msau"))?,
            ffm: Ffm::new(&layers.pp("ffm"), &encoder[2].out_order, gpu)?,
            encoder,
            decoder: [decoder_stage(1)?, decoder_stage(2)?, decoder_stage(3)?],
        })
    }

    /// Returns what [`GpuNetwork::launch`] ends with, for a head that goes on from there.
    pub(crate) fn decoded<'a>(&self, maps: &'a GpuMaps) -> Decoded<'a> {
        Decoded {
            map: &maps.decoder[2].blocks,
            size: maps.sizes.stages[0],
            up: self.decoder[2].up.weights(),
        }
    }

    /// Puts the last `Up` on `stream`, after [`GpuNetwork::launch`]: to [`GpuMaps::features`].
    pub(crate) fn launch_features(&self, stream: &Stream, maps: &GpuMaps) -> Result<(), CudaError> {
        let resized = Resized {
            map: &maps.decoder[2].blocks,
            size: maps.sizes.stages[0],
            skip: None,
            out: maps.features(),
            out_size: maps.sizes.stem,
        };
        self.decoder[2].up.launch(stream, &resized)
    }

    /// Puts the network on `stream`: from [`GpuMaps::input`] to the decoder's last blocks.
    ///
    /// `observe` gets each map once its kernels are on the stream; those of the skips' branches once
    /// the stream waits for them.
    pub(crate) fn launch<E: From<CudaError>>(
        &self,
        stream: &Stream,
        maps: &GpuMaps,
        mut observe: impl FnMut(&Observed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let natural = ChannelOrder::natural(SKIP_WIDTH);
        let MapSizes {
            network,
            stem,
            stages,
        } = maps.sizes;
        self.stem
            .launch(stream, maps.input(), network, &maps.stem)?;
        observe(&Observed {
            name: "stem_act",
            map: &maps.stem,
            order: &ChannelOrder::natural(STEM_WIDTH),
            size: stem,
        })?;
        let [m1, m2, m3] = [0, 1, 2].map(|i| &maps.skips[i].out);
        let ffm = FfmMaps {
            f3: &maps.encoder[2].out,
            m1,
            m2,
            m3,
            y: &maps.fused,
            size: stages[2],
            size1: stages[0],
            size2: stages[1],
        };
        let (mut read, mut read_size) = (&maps.stem, stem);
        for (i, stage) in self.encoder.iter().enumerate() {
            let (size, map) = (stages[i], &maps.encoder[i]);
            stage.down.launch(stream, read, read_size, &map.down)?;
            observe(&Observed {
                name: ["down1", "down2", "down3"][i],
                map: &map.down,
                order: stage.down.out_order(),
                size,
            })?;
            if i == 2 {
                // The first two stages' grids fill the card, and would wait for what runs beside them.
                self.launch_skip(stream, 0, maps, &ffm)?;
                self.launch_skip(stream, 1, maps, &ffm)?;
            }
            let (blocks, scratch) = (&stage.blocks, &maps.edab);
            blocks.launch(stream, &map.down, &map.out, size, scratch)?;
            observe(&Observed {
                name: ["act1", "act2", "act3"][i],
                map: &map.out,
                order: &stage.out_order,
                size,
            })?;
            (read, read_size) = (&map.out, size);
        }
        self.launch_skip(stream, 2, maps, &ffm)?;
        // What FFM needs of the deepest skip, it needs at its end.
        let [first, second, deepest] = &maps.skips;
        for skip in [first, second] {
            skip.ends.hold(stream)?;
        }
        self.ffm.launch_scan(stream, &ffm, &maps.ffm)?;
        deepest.ends.hold(stream)?;
        self.ffm.launch_out(stream, &ffm, &maps.ffm)?;
        for (i, skip) in maps.skips.iter().enumerate() {
            for (name, map) in [("line", &skip.line), ("msau", &skip.out)] {
                observe(&Observed {
                    name: &format!("{name}{}", i + 1),
                    map,
                    order: &natural,
                    size: stages[i],
                })?;
            }
        }
        observe(&Observed {
            name: "ffm + msau3",
            map: &maps.fused,
            order: &natural,
            size: stages[2],
        })?;
        let mut map = &maps.fused;
        for (i, stage) in self.decoder.iter().enumerate() {
            let size = stages[2 - i];
            let (blocks, out) = (&stage.blocks, &maps.decoder[i].blocks);
            blocks.launch(stream, map, out, size, &maps.edab)?;
            observe(&Observed {
                name: ["dec1.2", "dec2.2", "dec3.2"][i],
                map: out,
                order: &stage.out_order,
                size,
            })?;
            if let Some(up) = &maps.decoder[i].up {
                let resized = Resized {
                    map: out,
                    size,
                    skip: Some(&maps.skips[1 - i].out),
                    out: up,
                    out_size: stages[1 - i],
                };
                stage.up.launch(stream, &resized)?;
                map = up;
            }
        }
        Ok(())
    }

    /// Puts the line and the MSAU of encoder stage `i` beside the stream, and of the first two what FFM needs
    /// of them.
    fn launch_skip(
        &self,
        stream: &Stream,
        i: usize,
        maps: &GpuMaps,
        ffm: &FfmMaps<'_>,
    ) -> Result<(), CudaError> {
        let (size, skip) = (maps.sizes.stages[i], &maps.skips[i]);
        skip.begins.record(stream)?;
        skip.begins.hold(&skip.stream)?;
        let beside = skip.stream.in_order();
        let (line, map) = (&self.encoder[i].line, &maps.encoder[i].out);
        line.launch(&beside, map, size, &skip.line, &skip.reduced)?;
        let joined = [&skip.line, &skip.reduced];
        self.msau
            .launch(&skip.stream, joined, size, &skip.out, &skip.scratch)?;
        if i < 2 {
            self.ffm.launch_pool(&skip.stream, i, ffm, &maps.ffm)?;
        }
        skip.ends.record(&skip.stream)
    }

    /// Returns the sizes of the maps for a network input of `[h, w]`.
    pub(crate) fn sizes(&self, network: [usize; 2]) -> MapSizes {
        let halved = |size: [usize; 2]| size.map(|side| side.div_ceil(2));
        let stem = (self.plan.stem_strides().into_iter()).fold(network, |size, stride| {
            size.map(|side| side.div_ceil(stride))
        });
        let first = halved(stem);
        let second = halved(first);
        MapSizes {
            network,
            stem,
            stages: [first, second, halved(second)],
        }
    }
}

/// The sizes `[h, w]` of a network's maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapSizes {
    /// The input's.
    pub(crate) network: [usize; 2],
    /// The stem's and the features'.
    pub(crate) stem: [usize; 2],
    /// The three stages', finest first.
    pub(crate) stages: [[usize; 2]; 3],
}

/// Every map of the network for one size of input.
///
/// Large ones that are never needed together are one buffer: the input and the first stage's output, the
/// stem's output and the features.
pub(crate) struct GpuMaps {
    sizes: MapSizes,
    stem: Buffer<f16>,
    encoder: [EncoderMaps; 3],
    skips: [SkipMaps; 3],
    edab: EdabScratch,
    ffm: FfmScratch,
    fused: Buffer<f16>,
    decoder: [DecoderMaps; 3],
}

struct EncoderMaps {
    down: Buffer<f16>,
    out: Buffer<f16>,
}

struct DecoderMaps {
    blocks: Buffer<f16>,
    /// `None` for the last: the features.
    up: Option<Buffer<f16>>,
}

struct SkipMaps {
    stream: Stream,
    begins: Event,
    ends: Event,
    line: Buffer<f16>,
    reduced: Buffer<f16>,
    out: Buffer<f16>,
    scratch: MsauScratch,
}

impl GpuMaps {
    /// Allocates the maps of these sizes.
    pub(crate) fn new(gpu: &Gpu, sizes: MapSizes) -> Result<Self, CudaError> {
        let map = |channels: usize, [h, w]: [usize; 2]| Buffer::new(gpu, channels * h * w);
        let stages = sizes.stages;
        let area = |[h, w]: [usize; 2]| h * w;
        let encoder = |i: usize| -> Result<EncoderMaps, CudaError> {
            let out = WIDTHS[i] * area(stages[i]);
            let input = INPUT_CHANNELS * area(sizes.network);
            Ok(EncoderMaps {
                down: map(WIDTHS[i], stages[i])?,
                out: Buffer::new(gpu, if i == 0 { out.max(input) } else { out })?,
            })
        };
        let skip = |i: usize| -> Result<SkipMaps, CudaError> {
            Ok(SkipMaps {
                stream: gpu.side_stream(i),
                begins: Event::ordering(gpu)?,
                ends: Event::ordering(gpu)?,
                line: map(SKIP_WIDTH, stages[i])?,
                reduced: map(SKIP_WIDTH / 2, stages[i])?,
                out: map(SKIP_WIDTH, stages[i])?,
                scratch: MsauScratch::new(gpu, stages[i])?,
            })
        };
        let decoder = |i: usize| -> Result<DecoderMaps, CudaError> {
            let up = (i < 2).then(|| map(SKIP_WIDTH, stages[1 - i]));
            Ok(DecoderMaps {
                blocks: map(SKIP_WIDTH, stages[2 - i])?,
                up: up.transpose()?,
            })
        };
        let widths = [WIDTHS[0], WIDTHS[1], WIDTHS[2]];
        let edabs: Vec<_> = (widths.into_iter().chain([SKIP_WIDTH; 3]))
            .zip(stages.into_iter().chain(stages))
            .collect();
        Ok(Self {
            stem: map(STEM_WIDTH, sizes.stem)?,
            encoder: [encoder(0)?, encoder(1)?, encoder(2)?],
            skips: [skip(0)?, skip(1)?, skip(2)?],
            edab: EdabScratch::new(gpu, &edabs)?,
            ffm: FfmScratch::new(gpu, stages[2])?,
            fused: map(SKIP_WIDTH, stages[2])?,
            decoder: [decoder(0)?, decoder(1)?, decoder(2)?],
            sizes,
        })
    }

    /// Returns the network's input, `[h, w, 4]`, normalised, the fourth channel 0.
    pub(crate) fn input(&self) -> &Buffer<f16> {
        &self.encoder[0].out
    }

    /// Returns the last `Up`'s output, `[2, h, w, 8]` of the stem's size: what the classifier reads.
    pub(crate) fn features(&self) -> &Buffer<f16> {
        &self.stem
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, ensure};
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::engine::against_cpu::{SMALL_CARD, difference};
    use crate::engine::driver::{GpuLimits, PinnedBuffer};
    use crate::engine::map::planes_from_blocked;
    use crate::network::ECMNet;
    use crate::network::trace::in_natural_order;
    use crate::seeded::{image_bytes, seeded_weights};

    /// Norm of the difference as a share of the reference's: f16 storage of some 200 maps, one after the
    /// other.
    const TOLERANCE: f64 = 1e-2;

    fn compare(weights: &Weights, limits: GpuLimits, size: [usize; 2]) -> anyhow::Result<()> {
        let gpu = Gpu::open(0, limits)?;
        let network = GpuNetwork::new(&gpu, weights)?;
        let maps = GpuMaps::new(&gpu, network.sizes(size))?;
        let area = size[0] * size[1];
        let pixels = image_bytes(size[0], size[1]);
        let value = |c: usize, i: usize| (f32::from(pixels[i * 3 + c]) - 128.0) / 64.0;
        let input: Vec<f16> = (0..area)
            .flat_map(|i| [0, 1, 2, 3].map(|c| if c < 3 { value(c, i) } else { 0.0 }))
            .map(f16::from_f32)
            .collect();
        let planes: Vec<f32> = (0..3 * area)
            .map(|i| f16::from_f32(value(i / area, i % area)).to_f32())
            .collect();
        let image = Tensor::from_vec(planes, (1, 3, size[0], size[1]), &Device::Cpu)?;
        let traced = ECMNet::new(weights, &Device::Cpu)?.forward_traced(&image)?;
        let find = |name: &str| -> anyhow::Result<Tensor> {
            let mut parts = name.split(" + ").map(|name| {
                let found = traced.iter().find(|(traced, _)| traced == name);
                Ok(found.context("a traced name")?.1.clone())
            });
            let first = parts.next().context("a name")??;
            parts.try_fold(first, |sum, part: anyhow::Result<_>| Ok((sum + part?)?))
        };
        let stream = gpu.stream();
        let mut staged = PinnedBuffer::new(&gpu, input.len())?;
        staged.as_mut_slice().copy_from_slice(&input);
        maps.input().copy_from(&staged, input.len(), &stream)?;
        let mut seen = 0;
        let mut worst = (0.0, String::new());
        let mut compare = |observed: &Observed<'_>| {
            // A buffer may be longer than the map in it.
            let [h, w] = observed.size;
            let channels = observed.order.len();
            let map = observed.map.to_vec()?;
            let planes = planes_from_blocked(&map[..channels * h * w], h * w);
            let got = Tensor::from_vec(planes, (1, channels, h, w), &Device::Cpu)?;
            let got = in_natural_order(&got, observed.order)?;
            let got: Vec<f32> = got.flatten_all()?.to_vec1()?;
            let want: Vec<f32> = find(observed.name)?.flatten_all()?.to_vec1()?;
            let off = difference(&got, &want);
            eprintln!("{size:?} {}: {off:.1e}", observed.name);
            if off.is_nan() || off > worst.0 {
                worst = (off, observed.name.to_owned());
            }
            seen += 1;
            anyhow::Ok(())
        };
        network.launch(&stream, &maps, &mut compare)?;
        network.launch_features(&stream, &maps)?;
        compare(&Observed {
            name: "up3",
            map: maps.features(),
            order: &ChannelOrder::natural(SKIP_WIDTH),
            size: maps.sizes.stem,
        })?;
        ensure!(seen == 18, "{seen} maps were compared");
        ensure!(worst.0 < TOLERANCE, "{size:?} {}: {}", worst.1, worst.0);
        Ok(())
    }

    #[test]
    fn every_stage_of_the_network_equals_the_cpus() -> anyhow::Result<()> {
        for plan in ["A", "B"] {
            let weights = Weights::from_bytes(&seeded_weights(plan, 11)?)?;
            for size in [[360, 480], [357, 481], [33, 65], [512, 1024], [7, 5]] {
                compare(&weights, GpuLimits::default(), size).context(plan)?;
            }
        }
        Ok(())
    }

    #[test]
    fn the_network_equals_the_cpus_as_on_a_small_old_card() -> anyhow::Result<()> {
        let weights = Weights::from_bytes(&seeded_weights("A", 19)?)?;
        for size in [[357, 481], [512, 1024]] {
            compare(&weights, SMALL_CARD, size)?;
        }
        Ok(())
    }
}
