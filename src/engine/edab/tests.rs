use anyhow::ensure;
use candle_core::{Device, Tensor};

use super::*;
use crate::engine::against_cpu::difference;
use crate::engine::driver::GpuLimits;
use crate::engine::map::{blocked_from_planes, planes_from_blocked};
use crate::network::Weights;
use crate::network::stage::Stage;
use crate::network::trace::{Trace, in_natural_order};
use crate::ops::CpuPath;
use crate::seeded::{bits, seeded_weights};

/// f16 storage of three maps a block, each rounded to 2^-11 of its value, through up to 12 blocks.
const TOLERANCE: f64 = 4e-3;

fn values(n: usize, seed: &str) -> Vec<f32> {
    (0..n as u64)
        .map(|i| (bits(seed, i) >> 40) as f32 / 8_388_608.0 - 1.0)
        .collect()
}

fn compare(name: &str, limits: GpuLimits, sizes: &[[usize; 2]]) -> anyhow::Result<()> {
    let gpu = Gpu::open(0, limits)?;
    let weights = Weights::from_bytes(&seeded_weights("A", 11)?)?;
    let layers = Layers::new(&weights, CpuPath::best());
    let (channels, dilations): (usize, &[usize]) = match name {
        "enc1" => (64, &[2, 2, 2]),
        "enc2" => (128, &[1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32]),
        "enc3" => (16, &[1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32]),
        _ => (16, &[2, 2, 2]),
    };
    let act = name.strip_prefix("enc").map(|n| format!("act{n}"));
    let order = match name {
        "enc2" => ChannelOrder::natural(64).shuffled().after(64),
        _ => ChannelOrder::natural(channels),
    };
    let below = layers.pp(name);
    let activation = |order: &ChannelOrder| {
        let act = act.as_ref().map(|act| layers.activation(act, order));
        Ok(act.transpose()?)
    };
    let (stage, out_order) = EdabStage::new(&gpu, &below, &order, dilations, activation)?;
    let cpu = Stage::new(&below, &order, dilations)?;
    let cpu = match activation(cpu.out_order())? {
        Some(act) => cpu.followed_by(act),
        None => cpu,
    };
    for &size in sizes {
        let area = size[0] * size[1];
        let input = values(channels * area, name);
        let map = blocked_from_planes(&input, area);
        let rounded = planes_from_blocked(&map, area);
        let mut trace = Trace::on();
        let tensor = Tensor::from_vec(rounded, (1, channels, size[0], size[1]), &Device::Cpu)?;
        let want = cpu.forward(tensor, (name, "act"), &mut trace)?;
        let want = in_natural_order(&want, &out_order)?;
        let traced = trace.into_tensors();
        let scratch = EdabScratch::new(&gpu, &[(channels, size)])?;
        let stream = gpu.stream();
        let ([u0, u1], [x0, x1]) = (&scratch.u, &scratch.x);
        let poisoned = [u0, u1, &scratch.l, &scratch.g, x0, x1];
        for map in poisoned {
            map.fill_bytes(0xFF, &stream)?;
        }
        for means in [&scratch.row_means, &scratch.column_means] {
            means.fill_bytes(0xFF, &stream)?;
        }
        scratch.local_sums.fill_bytes(0xFF, &stream)?;
        let input = Buffer::from_slice(&gpu, &map)?;
        let output = Buffer::<f16>::new(&gpu, channels * area)?;
        output.fill_bytes(0xFF, &stream)?;
        let mut orders = vec![order.shuffled()];
        stage.launch(&stream, &input, &output, size, &scratch, |i, map| {
            let got = planes_from_blocked(&map.to_vec()?, map.len() / channels);
            let shape = (1, channels, size[0], size[1]);
            let got = Tensor::from_vec(got, shape, &Device::Cpu)?;
            let got = in_natural_order(&got, &orders[i])?
                .flatten_all()?
                .to_vec1()?;
            orders.push(orders[i].shuffled());
            let want: Vec<f32> = traced[i].1.flatten_all()?.to_vec1()?;
            let off = difference(&got, &want);
            eprintln!("{} {size:?}: {off:.1e}", traced[i].0);
            assert!(off < TOLERANCE, "{} {size:?}: {off}", traced[i].0);
            Ok(())
        })?;
        let got = planes_from_blocked(&output.to_vec()?, area);
        let got = Tensor::from_vec(got, (1, channels, size[0], size[1]), &Device::Cpu)?;
        let got = in_natural_order(&got, &out_order)?
            .flatten_all()?
            .to_vec1()?;
        let off = difference(&got, &want.flatten_all()?.to_vec1()?);
        eprintln!("{name} {size:?}: {off:.1e}");
        ensure!(off < TOLERANCE, "{name} {size:?}: {off}");
        let first = output.to_vec()?;
        stage.launch(&stream, &input, &output, size, &scratch, |_, _| Ok(()))?;
        ensure!(
            first == output.to_vec()?,
            "{name} {size:?}: not the same bits again"
        );
    }
    Ok(())
}

const UGLY: [[usize; 2]; 8] = [
    [64, 128],
    [1, 1],
    [1, 7],
    [5, 3],
    [9, 8],
    [23, 30],
    [45, 60],
    [33, 257],
];

#[test]
fn stages_of_each_width_equal_the_cpus() -> anyhow::Result<()> {
    for name in ["enc1", "enc2", "enc3", "dec1"] {
        compare(name, GpuLimits::default(), &UGLY)?;
    }
    Ok(())
}

#[test]
fn stages_equal_the_cpus_with_the_shared_memory_of_small_cards() -> anyhow::Result<()> {
    let limits = GpuLimits {
        shared_memory_bytes: Some(99 << 10),
        no_cluster: true,
    };
    for name in ["enc1", "enc2", "enc3"] {
        compare(name, limits, &[[5, 3], [45, 60], [64, 128]])?;
    }
    Ok(())
}

#[test]
#[ignore = "prints times instead of testing"]
fn microseconds_of_each_stage() -> anyhow::Result<()> {
    use crate::engine::driver::Graph;
    use crate::engine::timing::microseconds_each;
    let gpu = Gpu::open(0, GpuLimits::default())?;
    let weights = Weights::from_bytes(&seeded_weights("A", 11)?)?;
    let layers = Layers::new(&weights, CpuPath::best());
    let deep: &[usize] = &[1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32];
    let shallow: &[usize] = &[2, 2, 2];
    let stages = [
        ("enc1", 64, shallow, [128, 256]),
        ("enc2", 128, deep, [64, 128]),
        ("enc3", 16, deep, [32, 64]),
        ("dec1", 16, shallow, [32, 64]),
        ("dec2", 16, shallow, [64, 128]),
        ("dec3", 16, shallow, [128, 256]),
        ("enc1", 64, shallow, [90, 120]),
        ("enc2", 128, deep, [45, 60]),
        ("enc3", 16, deep, [23, 30]),
    ];
    for (name, channels, dilations, size) in stages {
        let order = ChannelOrder::natural(channels);
        let (stage, _) = EdabStage::new(&gpu, &layers.pp(name), &order, dilations, |_| Ok(None))?;
        let area = size[0] * size[1];
        let map = blocked_from_planes(&values(channels * area, name), area);
        let (input, output) = (
            Buffer::from_slice(&gpu, &map)?,
            Buffer::<f16>::new(&gpu, channels * area)?,
        );
        let scratch = EdabScratch::new(&gpu, &[(channels, size)])?;
        let graph = Graph::record(&gpu, |stream| {
            (0..20).try_for_each(|_| {
                stage.launch(stream, &input, &output, size, &scratch, |_, _| Ok(()))
            })
        })?;
        let time = microseconds_each(&gpu, &graph, 20)?;
        let blocks = dilations.len() as f32;
        eprintln!(
            "{name} {size:?}: {time:.1} us, {:.2} a block",
            time / blocks
        );
    }
    Ok(())
}
