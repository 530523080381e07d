use std::path::Path;

use candle_core::{Device, Tensor};

use super::*;
use crate::engine::against_cpu::{made_values, print_times};
use crate::engine::driver::GpuLimits;
use crate::engine::map::blocked_from_planes;
use crate::network::Weights;
use crate::network::ffm as reference;
use crate::network::trace::Trace;
use crate::ops::{CpuPath, Function};

pub(super) fn weights() -> Result<Weights> {
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
        let map = |i: usize| -> anyhow::Result<(Buffer<f16>, Tensor)> {
            let [h, w] = size_of(i);
            // Rounded to f16, in the reference's order of channels.
            let values = made_values(&format!("ffm {i}"), SKIP_WIDTH * h * w);
            let rounded = |x: f32| f16::from_f32(0.5 + 2.5 * x).to_f32();
            let planes: Vec<f32> = values.into_iter().map(rounded).collect();
            let places = orders[i].places();
            let mut placed = vec![0.0; planes.len()];
            for (plane, place) in planes.chunks_exact(h * w).zip(places) {
                placed[place * h * w..(place + 1) * h * w].copy_from_slice(plane);
            }
            let buffer = Buffer::from_slice(gpu, &blocked_from_planes(&placed, h * w))?;
            let tensor = Tensor::from_vec(planes, (1, SKIP_WIDTH, h, w), &Device::Cpu)?;
            Ok((buffer, tensor))
        };
        let [(f3, f3_cpu), (m1, m1_cpu), (m2, m2_cpu), (m3, m3_cpu)] =
            [map(0)?, map(1)?, map(2)?, map(3)?];
        Ok(Self {
            buffers: [f3, m1, m2, m3],
            tensors: [f3_cpu, m1_cpu, m2_cpu, m3_cpu],
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
                &scratch.gate,
                &scratch.u,
                &scratch.projected,
                &scratch.scanned,
                &scratch.pooled[0],
                &scratch.pooled[1],
            ];
            for buffer in scratches.into_iter().chain([&y]) {
                buffer.fill_bytes(0xFF, &stream)?;
            }
            let maps = inputs.maps(&y);
            ffm.launch_pool(&stream, 0, &maps, &scratch)?;
            ffm.launch_pool(&stream, 1, &maps, &scratch)?;
            ffm.launch_scan(&stream, &maps, &scratch)?;
            ffm.launch_out(&stream, &maps, &scratch)?;
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
        let gate = scratch.gate.to_vec()?;
        let (_, in_proj) = of("ffm.ss2d.in_proj")?;
        let z = in_proj.narrow(1, SCAN_WIDTH, SCAN_WIDTH)?.contiguous()?;
        // Operands and results rounded to f16, 2^-12 each, over sums of 48 products.
        assert_near(
            "gate",
            &z.apply_op1_no_bwd(&Function::Silu)?,
            2e-3,
            |c, pixel| gate[(c / 8 * area + pixel) * 8 + c % 8].to_f32(),
        )?;
        let u = scratch.u.to_vec()?;
        let (_, conv2d) = of("ffm.ss2d.conv2d")?;
        let by_columns = |pixel: usize| pixel % size[1] * size[0] + pixel / size[1];
        assert_near("u", conv2d, 2e-3, |c, pixel| u[c * pitch + pixel].to_f32())?;
        assert_near("u by columns", conv2d, 2e-3, |c, pixel| {
            u[(SCAN_WIDTH + c) * pitch + by_columns(pixel)].to_f32()
        })?;
        for rows in [&u, &scratch.projected.to_vec()?] {
            let mut pads = rows.chunks_exact(pitch).flat_map(|row| &row[area..]);
            assert!(pads.all(|x| *x == f16::ZERO), "{size:?}: a row's end");
        }
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
fn blocks_that_find_a_multiprocessor_each_leave_room_for_no_second_one() -> anyhow::Result<()> {
    let gpu = Gpu::open(0, GpuLimits::default())?;
    let input = IntoScan::new(&gpu, "ffm_in", ["ffm_in", "ffm_in_spread"])?;
    let each = |blocks: u32| {
        let launch = Launch::new([blocks, 1, 1], THREADS, 0);
        input.of(&launch).resident_blocks(&launch)
    };
    assert_eq!(each(gpu.multiprocessors())?, 1);
    assert_eq!(each(gpu.multiprocessors() + 1)?, 2);
    Ok(())
}

#[test]
fn linear_layers_with_nothing_between_are_one() {
    // [2, 2] times [2, 1]
    assert_eq!(product(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0], 2), [17.0, 39.0]);
}

#[test]
#[ignore = "prints times instead of testing"]
fn microseconds_of_ffm() -> anyhow::Result<()> {
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
        let all = |stream: &Stream| {
            ffm.launch_scan(stream, &maps, &scratch)?;
            ffm.launch_out(stream, &maps, &scratch)
        };
        for skip in [0, 1] {
            ffm.launch_pool(&gpu.stream(), skip, &maps, &scratch)?;
        }
        all(&gpu.stream())?;
        let name = |part: &str| format!("{part} of {size:?}");
        print_times(&gpu, &name("ffm"), all)?;
        print_times(&gpu, &name("ffm_in"), |s| ffm.launch_in(s, &maps, &scratch))?;
        print_times(&gpu, &name("scan"), |s| ffm.scan_in(s, size, &scratch))?;
        print_times(&gpu, &name("ffm_out"), |s| {
            ffm.launch_out(s, &maps, &scratch)
        })?;
    }
    Ok(())
}
