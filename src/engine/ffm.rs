//! FFM on the device: four kernels from the deepest features and the skips to the decoder's input.
//!
//! `kernels/ffm_in.cu` pools, normalises and projects; `ffm_project.cu` convolves and steers the scan;
//! `scan.cu` scans; `ffm_out.cu` merges the directions, gates them, and ends with the linear layers.

use half::f16;

use super::driver::{Buffer, CudaError, Gpu, Kernel, Launch, Stream};
use super::pack::fragments_from_matrix;
use super::scan::{Scan, ScanWeights, pitch};
use crate::error::Result;
use crate::network::layers::{ChannelOrder, Layers};
use crate::network::ss2d::selective_scan;
use crate::network::tensors::{DELTA_RANK, FUSED_WIDTH, MLP_WIDTH, SCAN_WIDTH, SKIP_WIDTH};
use crate::ops::{DIRECTIONS, STATES};

/// Pixels of a block along the map, and the side of a square block.
const PIXELS: usize = 16;
const SIDE: usize = 4;
/// Channels that lie together.
const GROUP: usize = 8;
const MAX_AREA: usize = 1 << 24;

/// FFM's weights on the device, and its kernels.
pub(crate) struct Ffm {
    norm: Buffer<f32>,
    in_weights: Buffer<f16>,
    taps: Buffer<f32>,
    taps_bias: Buffer<f32>,
    projection: Buffer<f16>,
    scan: Scan<f16>,
    out_norm: Buffer<f32>,
    weights1: Buffer<f16>,
    bias1: Buffer<f32>,
    weights2: Buffer<f16>,
    bias2: Buffer<f32>,
    f3_places: [i32; SKIP_WIDTH],
    kernels: Kernels,
}

struct Kernels {
    input: Kernel,
    project: Kernel,
    out: Kernel,
}

/// The maps that FFM reads and writes, f16 `[c / 8, h, w, 8]`.
pub(crate) struct FfmMaps<'a> {
    /// The deepest features, 16 channels, of size `size`.
    pub(crate) f3: &'a Buffer<f16>,
    /// The finest skip, 16 channels, of size `size1`.
    pub(crate) m1: &'a Buffer<f16>,
    /// The middle skip, 16 channels, of size `size2`.
    pub(crate) m2: &'a Buffer<f16>,
    /// The deepest skip, 16 channels, of size `size`.
    pub(crate) m3: &'a Buffer<f16>,
    /// The result `ffm(f3, m1, m2) + m3`, 16 channels, of size `size`.
    pub(crate) y: &'a Buffer<f16>,
    /// Height and width of the deepest maps.
    pub(crate) size: [usize; 2],
    /// Height and width of m1.
    pub(crate) size1: [usize; 2],
    /// Height and width of m2.
    pub(crate) size2: [usize; 2],
}

/// What FFM's kernels hand on to each other, for maps of one size.
pub(crate) struct FfmScratch {
    /// x and silu(z), `[24, h, w, 8]`.
    xz: Buffer<f16>,
    /// `[2, 96, pitch]`, pixels by rows, then by columns.
    u: Buffer<f16>,
    /// `[4 * 35, pitch]`.
    projected: Buffer<f16>,
    /// `[4, 96, pitch]`.
    scanned: Buffer<f16>,
}

impl FfmScratch {
    /// Allocates for deepest maps of `size`.
    pub(crate) fn new(gpu: &Gpu, size: [usize; 2]) -> Result<Self, CudaError> {
        let pitch = pitch(size[0] * size[1]);
        Ok(Self {
            xz: Buffer::new(gpu, 2 * SCAN_WIDTH * size[0] * size[1])?,
            u: Buffer::new(gpu, 2 * SCAN_WIDTH * pitch)?,
            projected: Buffer::new(gpu, DIRECTIONS * (DELTA_RANK + 2 * STATES) * pitch)?,
            scanned: Buffer::new(gpu, DIRECTIONS * SCAN_WIDTH * pitch)?,
        })
    }
}

impl Ffm {
    /// Puts the weights below `layers` (`ffm`) on the device, for an f3 whose channels lie in `f3_order`.
    ///
    /// Errs if a tensor is missing or of another shape, or the device's memory is full.
    pub(crate) fn new(layers: &Layers<'_>, f3_order: &ChannelOrder, gpu: &Gpu) -> Result<Self> {
        let ss2d = layers.pp("ss2d");
        let joined = f3_order.before(FUSED_WIDTH - SKIP_WIDTH);
        let norm = [
            joined.reorder(layers.values("norm.weight", &[FUSED_WIDTH])?),
            joined.reorder(layers.values("norm.bias", &[FUSED_WIDTH])?),
        ];
        let in_proj = ss2d.values("in_proj.weight", &[2 * SCAN_WIDTH, FUSED_WIDTH])?;
        let in_weights = fragments_from_matrix(FUSED_WIDTH, 2 * SCAN_WIDTH, |k, n| {
            in_proj[n * FUSED_WIDTH + joined.channel(k)]
        });
        let filters = ss2d.values("conv2d.weight", &[SCAN_WIDTH, 1, 3, 3])?;
        let taps: Vec<f32> = (0..SCAN_WIDTH / GROUP)
            .flat_map(|group| (0..9).map(move |tap| (group, tap)))
            .flat_map(|(group, tap)| {
                (0..GROUP).map(move |i| filters[(group * GROUP + i) * 9 + tap])
            })
            .collect();
        let rows = DELTA_RANK + 2 * STATES;
        let x_proj = ss2d.values("x_proj_weight", &[DIRECTIONS, rows, SCAN_WIDTH])?;
        let projection = fragments_from_matrix(SCAN_WIDTH, DIRECTIONS * rows, |k, n| {
            x_proj[n * SCAN_WIDTH + k]
        });
        let out_norm = [
            ss2d.values("out_norm.weight", &[SCAN_WIDTH])?,
            ss2d.values("out_norm.bias", &[SCAN_WIDTH])?,
        ];
        let linear = |name: &str, to, from| -> Result<[&[f32]; 2]> {
            Ok([
                layers.values(&format!("{name}.weight"), &[to, from])?,
                layers.values(&format!("{name}.bias"), &[to])?,
            ])
        };
        let out_proj = ss2d.values("out_proj.weight", &[FUSED_WIDTH, SCAN_WIDTH])?;
        let [fc1, bias1] = linear("fc1", MLP_WIDTH, FUSED_WIDTH)?;
        let [fc2, fc2_bias] = linear("fc2", FUSED_WIDTH, MLP_WIDTH)?;
        let [proj, proj_bias] = linear("proj", SKIP_WIDTH, FUSED_WIDTH)?;
        let first = product(fc1, out_proj, FUSED_WIDTH);
        let second = product(proj, fc2, FUSED_WIDTH);
        let bias2: Vec<f32> = product(proj, fc2_bias, FUSED_WIDTH)
            .iter()
            .zip(proj_bias)
            .map(|(a, b)| a + b)
            .collect();
        let mut f3_places = [0; SKIP_WIDTH];
        for (place, of) in f3_places.iter_mut().zip(f3_order.places()) {
            *place = of as i32;
        }
        let halfs = |values: Vec<f16>| Buffer::from_slice(gpu, &values);
        let floats = |values: &[f32]| Buffer::from_slice(gpu, values);
        Ok(Self {
            norm: floats(&norm.concat())?,
            in_weights: halfs(in_weights)?,
            taps: floats(&taps)?,
            taps_bias: floats(ss2d.values("conv2d.bias", &[SCAN_WIDTH])?)?,
            projection: halfs(projection)?,
            scan: Scan::new(gpu, &ScanWeights::from(&selective_scan(&ss2d)?))?,
            out_norm: floats(&out_norm.concat())?,
            weights1: halfs(fragments_from_matrix(SCAN_WIDTH, MLP_WIDTH, |k, n| {
                first[n * SCAN_WIDTH + k]
            }))?,
            bias1: floats(bias1)?,
            weights2: halfs(fragments_from_matrix(MLP_WIDTH, SKIP_WIDTH, |k, n| {
                second[n * MLP_WIDTH + k]
            }))?,
            bias2: floats(&bias2)?,
            f3_places,
            kernels: Kernels {
                input: gpu.kernel("ffm_in", "ffm_in")?,
                project: gpu.kernel("ffm_project", "ffm_project")?,
                out: gpu.kernel("ffm_out", "ffm_out")?,
            },
        })
    }

    /// Puts FFM on `stream`. Errs if a buffer is too small for its map, or a map is empty.
    pub(crate) fn launch(
        &self,
        stream: &Stream,
        maps: &FfmMaps<'_>,
        scratch: &FfmScratch,
    ) -> Result<(), CudaError> {
        maps.check()?;
        self.launch_in(stream, maps, scratch)?;
        self.launch_project(stream, maps.size, scratch)?;
        let buffers = [&scratch.u, &scratch.projected, &scratch.scanned];
        self.scan
            .launch(stream, buffers, maps.size[0] * maps.size[1])?;
        self.launch_out(stream, maps, scratch)
    }

    fn launch_in(
        &self,
        stream: &Stream,
        maps: &FfmMaps<'_>,
        scratch: &FfmScratch,
    ) -> Result<(), CudaError> {
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct Params {
            f3: u64,
            m1: u64,
            m2: u64,
            norm: u64,
            weights: u64,
            out: u64,
            size: [i32; 2],
            size1: [i32; 2],
            size2: [i32; 2],
        }
        let area = maps.size[0] * maps.size[1];
        scratch
            .xz
            .check_len("FFM's x and z", 2 * SCAN_WIDTH * area)?;
        let as_i32 = |size: [usize; 2]| size.map(|side| side as i32);
        let parameters = Params {
            f3: maps.f3.address(),
            m1: maps.m1.address(),
            m2: maps.m2.address(),
            norm: self.norm.address(),
            weights: self.in_weights.address(),
            out: scratch.xz.address(),
            size: as_i32(maps.size),
            size1: as_i32(maps.size1),
            size2: as_i32(maps.size2),
        };
        let launch = Launch::new([area.div_ceil(PIXELS) as u32, 1, 1], 192, 0);
        // SAFETY: Params is the kernel's; the maps' lengths and the scratch's were checked.
        unsafe { self.kernels.input.launch(stream, &launch, &parameters) }
    }

    fn launch_project(
        &self,
        stream: &Stream,
        size: [usize; 2],
        scratch: &FfmScratch,
    ) -> Result<(), CudaError> {
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct Params {
            x: u64,
            taps: u64,
            bias: u64,
            weights: u64,
            u: u64,
            projected: u64,
            height: i32,
            width: i32,
            pitch: i32,
        }
        let pitch = pitch(size[0] * size[1]);
        scratch.u.check_len("FFM's u", 2 * SCAN_WIDTH * pitch)?;
        let rows = self.scan.projected_rows();
        scratch
            .projected
            .check_len("FFM's projections", rows * pitch)?;
        let parameters = Params {
            x: scratch.xz.address(),
            taps: self.taps.address(),
            bias: self.taps_bias.address(),
            weights: self.projection.address(),
            u: scratch.u.address(),
            projected: scratch.projected.address(),
            height: size[0] as i32,
            width: size[1] as i32,
            pitch: pitch as i32,
        };
        let [rows, columns] = size.map(|side| side.div_ceil(SIDE) as u32);
        let launch = Launch::new([columns, rows, 1], 192, 0);
        // SAFETY: Params is the kernel's; x is the first half of what `launch_in` checked, and the
        // scratch's lengths were checked above.
        unsafe { self.kernels.project.launch(stream, &launch, &parameters) }
    }

    fn launch_out(
        &self,
        stream: &Stream,
        maps: &FfmMaps<'_>,
        scratch: &FfmScratch,
    ) -> Result<(), CudaError> {
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct Params {
            y: u64,
            gate: u64,
            norm: u64,
            weights1: u64,
            bias1: u64,
            weights2: u64,
            bias2: u64,
            f3: u64,
            m3: u64,
            out: u64,
            height: i32,
            width: i32,
            pitch: i32,
            f3_places: [i32; SKIP_WIDTH],
        }
        let area = maps.size[0] * maps.size[1];
        let gate_bytes = SCAN_WIDTH * area * size_of::<f16>();
        let parameters = Params {
            y: scratch.scanned.address(),
            gate: scratch.xz.address() + gate_bytes as u64,
            norm: self.out_norm.address(),
            weights1: self.weights1.address(),
            bias1: self.bias1.address(),
            weights2: self.weights2.address(),
            bias2: self.bias2.address(),
            f3: maps.f3.address(),
            m3: maps.m3.address(),
            out: maps.y.address(),
            height: maps.size[0] as i32,
            width: maps.size[1] as i32,
            pitch: pitch(area) as i32,
            f3_places: self.f3_places,
        };
        let [rows, columns] = maps.size.map(|side| side.div_ceil(SIDE) as u32);
        let launch = Launch::new([columns, rows, 1], 384, 0);
        // SAFETY: Params is the kernel's; the maps' lengths were checked, the gate is the second half of
        // what `launch_in` checked, and the scan checked its own buffers.
        unsafe { self.kernels.out.launch(stream, &launch, &parameters) }
    }
}

impl FfmMaps<'_> {
    fn check(&self) -> Result<(), CudaError> {
        for (what, map, size) in [
            ("FFM's f3", self.f3, self.size),
            ("FFM's m1", self.m1, self.size1),
            ("FFM's m2", self.m2, self.size2),
            ("FFM's m3", self.m3, self.size),
            ("FFM's y", self.y, self.size),
        ] {
            let area = size[0] * size[1];
            if area > MAX_AREA {
                let (limit, got) = (MAX_AREA, area);
                return Err(CudaError::Limit { what, limit, got });
            }
            map.check_len(what, SKIP_WIDTH * area.max(1))?;
        }
        Ok(())
    }
}

/// Returns the matrix product of `a` `[rows, inner]` and `b` `[inner, columns]`, rounded once.
fn product(a: &[f32], b: &[f32], inner: usize) -> Vec<f32> {
    let columns = b.len() / inner;
    a.chunks_exact(inner)
        .flat_map(|row| {
            (0..columns).map(move |column| {
                let terms = row.iter().zip(b[column..].iter().step_by(columns));
                terms
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum::<f64>() as f32
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::{Device, Tensor};

    use super::super::driver::GpuLimits;
    use super::super::scan::tests::{microseconds, values};
    use super::*;
    use crate::network::Weights;
    use crate::network::ffm as reference;
    use crate::network::trace::Trace;
    use crate::ops::CpuPath;

    fn weights() -> Result<Weights> {
        let path = Path::new("models/ecmnet_camvid.safetensors");
        Ok(Weights::load(path)?)
    }

    /// The order that f3 comes in: after its stage's twelve shuffles.
    fn f3_order() -> ChannelOrder {
        (0..12).fold(ChannelOrder::natural(SKIP_WIDTH), |order, _| {
            order.shuffled()
        })
    }

    /// Maps of one input, rounded to f16, on the device and as the CPU network takes them.
    struct Inputs {
        buffers: [Buffer<f16>; 4],
        tensors: [Tensor; 4],
        sizes: [[usize; 2]; 3],
    }

    impl Inputs {
        fn new(gpu: &Gpu, sizes: [[usize; 2]; 3]) -> anyhow::Result<Self> {
            let natural = ChannelOrder::natural(SKIP_WIDTH);
            let orders = [f3_order(), natural.clone(), natural.clone(), natural];
            let size_of = |i: usize| sizes[if i == 3 { 0 } else { i }];
            let maps: Vec<_> = (0..4)
                .map(|i| {
                    let [h, w] = size_of(i);
                    let map = values(20 + i as u64, SKIP_WIDTH * h * w, -2.0, 3.0);
                    let map: Vec<f16> = map.into_iter().map(f16::from_f32).collect();
                    let tensor = Tensor::from_vec(
                        map.iter().map(|x| x.to_f32()).collect::<Vec<f32>>(),
                        (1, SKIP_WIDTH, h, w),
                        &Device::Cpu,
                    )?;
                    let mut blocked = vec![f16::ZERO; map.len()];
                    for (channel, place) in orders[i].places().into_iter().enumerate() {
                        for pixel in 0..h * w {
                            blocked[(place / 8 * h * w + pixel) * 8 + place % 8] =
                                map[channel * h * w + pixel];
                        }
                    }
                    Ok((Buffer::from_slice(gpu, &blocked)?, tensor))
                })
                .collect::<anyhow::Result<_>>()?;
            let (buffers, tensors): (Vec<_>, Vec<_>) = maps.into_iter().unzip();
            let four = |_| anyhow::anyhow!("four maps");
            Ok(Self {
                buffers: buffers
                    .try_into()
                    .map_err(|_| anyhow::anyhow!("four maps"))?,
                tensors: tensors.try_into().map_err(four)?,
                sizes,
            })
        }

        fn maps<'a>(&'a self, y: &'a Buffer<f16>) -> FfmMaps<'a> {
            let [f3, m1, m2, m3] = &self.buffers;
            let [size, size1, size2] = self.sizes;
            FfmMaps {
                f3,
                m1,
                m2,
                m3,
                y,
                size,
                size1,
                size2,
            }
        }
    }

    /// Asserts that `got(c, pixel)` is the CPU's map but for `tolerance` of its largest value.
    fn assert_near(
        what: &str,
        exact: &Tensor,
        tolerance: f32,
        got: impl Fn(usize, usize) -> f32,
    ) -> anyhow::Result<()> {
        let (_, _, h, w) = exact.dims4()?;
        let exact: Vec<f32> = exact.flatten_all()?.to_vec1()?;
        let largest = exact.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        let mut worst = 0.0_f32;
        for (i, exact) in exact.iter().enumerate() {
            let got = got(i / (h * w), i % (h * w));
            anyhow::ensure!(got.is_finite(), "{what}: element {i} was not written");
            worst = worst.max((got - exact).abs());
        }
        eprintln!("{what} {h}x{w}: {:.1e} of the largest", worst / largest);
        anyhow::ensure!(
            worst <= tolerance * largest,
            "{what}: off by {worst} of {largest}"
        );
        Ok(())
    }

    #[test]
    fn ffm_equals_the_cpu_networks() -> anyhow::Result<()> {
        let gpu = Gpu::open(0, GpuLimits::default())?;
        let weights = weights()?;
        let layers = Layers::new(&weights, CpuPath::best()).pp("ffm");
        let ffm = Ffm::new(&layers, &f3_order(), &gpu)?;
        let exact = reference::Ffm::new(&layers)?;
        for sizes in [
            [[32, 64], [128, 256], [64, 128]],
            [[23, 30], [90, 120], [45, 60]],
            [[1, 1], [1, 1], [1, 1]],
            [[1, 9], [3, 35], [2, 18]],
            [[9, 1], [33, 1], [17, 1]],
            [[45, 60], [180, 239], [90, 120]],
            [[5, 7], [3, 4], [5, 7]],
        ] {
            let inputs = Inputs::new(&gpu, sizes)?;
            let (size, stream) = (sizes[0], gpu.stream());
            let area = size[0] * size[1];
            let pitch = pitch(area);
            let scratch = FfmScratch::new(&gpu, size)?;
            let y = Buffer::new(&gpu, SKIP_WIDTH * area)?;
            let mut runs = Vec::new();
            for _ in 0..2 {
                let scratches = [
                    &scratch.xz,
                    &scratch.u,
                    &scratch.projected,
                    &scratch.scanned,
                ];
                for buffer in scratches.into_iter().chain([&y]) {
                    buffer.fill_bytes(0xFF, &stream)?;
                }
                ffm.launch(&stream, &inputs.maps(&y), &scratch)?;
                runs.push(y.to_vec()?);
            }
            let bits = |run: &[f16]| run.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&runs[0]), bits(&runs[1]), "{size:?}");

            let mut trace = Trace::on();
            let [f3, m1, m2, m3] = &inputs.tensors;
            let out = (exact.forward(f3, m1, m2, &mut trace)? + m3)?;
            let traced = trace.into_tensors();
            let of = |name: &str| {
                let found = traced.iter().find(|(of, _)| of == name);
                found.ok_or_else(|| anyhow::anyhow!("no {name}"))
            };
            let xz = scratch.xz.to_vec()?;
            let (_, in_proj) = of("ffm.ss2d.in_proj")?;
            // Operands and results rounded to f16, 2^-12 each, over sums of 48 products.
            assert_near("x", &in_proj.narrow(1, 0, SCAN_WIDTH)?, 2e-3, |c, pixel| {
                xz[(c / 8 * area + pixel) * 8 + c % 8].to_f32()
            })?;
            let u = scratch.u.to_vec()?;
            let (_, conv2d) = of("ffm.ss2d.conv2d")?;
            let by_columns = |pixel: usize| pixel % size[1] * size[0] + pixel / size[1];
            assert_near("u", conv2d, 2e-3, |c, pixel| u[c * pitch + pixel].to_f32())?;
            assert_near("u by columns", conv2d, 2e-3, |c, pixel| {
                u[(SCAN_WIDTH + c) * pitch + by_columns(pixel)].to_f32()
            })?;
            let scanned = scratch.scanned.to_vec()?;
            let (_, scan) = of("ffm.ss2d.scan")?;
            // dt, B and C are rounded too, and a state sums up dozens of steps.
            assert_near("scan", scan, 4e-3, |c, pixel| {
                (0..DIRECTIONS)
                    .map(|k| {
                        let order = if k % 2 == 0 { pixel } else { by_columns(pixel) };
                        scanned[(k * SCAN_WIDTH + c) * pitch + order].to_f32()
                    })
                    .sum()
            })?;
            // The layer norm between makes small pixels large again, and with them their rounding.
            assert_near("y", &out, 5e-3, |c, pixel| {
                runs[0][(c / 8 * area + pixel) * 8 + c % 8].to_f32()
            })?;
        }
        Ok(())
    }

    #[test]
    fn linear_layers_with_nothing_between_are_one() {
        // [2, 2] times [2, 1]
        assert_eq!(product(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0], 2), [17.0, 39.0]);
    }

    #[test]
    #[ignore = "prints times"]
    fn times() -> anyhow::Result<()> {
        let gpu = Gpu::open(0, GpuLimits::default())?;
        let weights = weights()?;
        let layers = Layers::new(&weights, CpuPath::best()).pp("ffm");
        let ffm = Ffm::new(&layers, &f3_order(), &gpu)?;
        for sizes in [
            [[23, 30], [90, 120], [45, 60]],
            [[32, 64], [128, 256], [64, 128]],
            [[64, 64], [256, 256], [128, 128]],
        ] {
            let inputs = Inputs::new(&gpu, sizes)?;
            let size = sizes[0];
            let scratch = FfmScratch::new(&gpu, size)?;
            let y = Buffer::new(&gpu, SKIP_WIDTH * size[0] * size[1])?;
            let maps = inputs.maps(&y);
            let scanned = [&scratch.u, &scratch.projected, &scratch.scanned];
            ffm.launch(&gpu.stream(), &maps, &scratch)?;
            let all = microseconds(&gpu, 20, |s| ffm.launch(s, &maps, &scratch))?;
            let parts = [
                microseconds(&gpu, 20, |s| ffm.launch_in(s, &maps, &scratch))?,
                microseconds(&gpu, 20, |s| ffm.launch_project(s, size, &scratch))?,
                microseconds(&gpu, 20, |s| ffm.scan.launch(s, scanned, size[0] * size[1]))?,
                microseconds(&gpu, 20, |s| ffm.launch_out(s, &maps, &scratch))?,
            ];
            eprintln!("ffm {size:?}: {all:.2} us; in, project, scan, out {parts:.2?}");
        }
        Ok(())
    }
}
