use anyhow::ensure;
use candle_core::Tensor;

use super::*;
use crate::engine::against_cpu::{
    SMALL_CARD, difference, made_map, poisoned, print_times, seeded, tensor_from_map,
};
use crate::engine::driver::GpuLimits;
use crate::network::stage::Stage;
use crate::network::trace::{Trace, in_natural_order};
use crate::ops::CpuPath;

/// f16 storage of three maps a block, each rounded to 2^-11 of its value, through up to 12 blocks.
const TOLERANCE: f64 = 4e-3;

/// Returns how far `map`, whose channels lie in `order`, is from the CPU's `want`, in their own order.
fn off(
    map: &Buffer<f16>,
    order: &ChannelOrder,
    size: [usize; 2],
    want: &Tensor,
) -> anyhow::Result<f64> {
    let got = in_natural_order(&tensor_from_map(map, size)?, order)?;
    let [got, want] = [&got, want].map(|tensor| tensor.flatten_all()?.to_vec1::<f32>());
    Ok(difference(&got?, &want?))
}

fn compare(name: &str, limits: GpuLimits, sizes: &[[usize; 2]]) -> anyhow::Result<()> {
    let gpu = Gpu::open(0, limits)?;
    let weights = seeded()?;
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
    // Stages that end sooner, for what follows each block.
    let shorter = (1..dilations.len())
        .map(|blocks| EdabStage::new(&gpu, &below, &order, &dilations[..blocks], |_| Ok(None)))
        .collect::<Result<Vec<_>>>()?;
    let cpu = Stage::new(&below, &order, dilations)?;
    let cpu = match activation(cpu.out_order())? {
        Some(act) => cpu.followed_by(act),
        None => cpu,
    };
    for &size in sizes {
        let (input, tensor) = made_map(&gpu, name, channels, size)?;
        let mut trace = Trace::on();
        let want = cpu.forward(tensor, (name, "act"), &mut trace)?;
        let want = in_natural_order(&want, &out_order)?;
        let traced = trace.into_tensors();
        let scratch = EdabScratch::new(&gpu, &[(channels, size)])?;
        let stream = gpu.stream();
        let run = |stage: &EdabStage| -> anyhow::Result<Buffer<f16>> {
            let ([u0, u1], [x0, x1]) = (&scratch.u, &scratch.x);
            let (rows, columns) = (&scratch.row_means, &scratch.column_means);
            for map in [u0, u1, &scratch.l, &scratch.g, x0, x1, rows, columns] {
                map.fill_bytes(0xFF, &stream)?;
            }
            for sums in &scratch.local_sums {
                sums.fill_bytes(0xFF, &stream)?;
            }
            let output = poisoned(&gpu, channels * size[0] * size[1])?;
            stage.launch(&stream, &input, &output, size, &scratch)?;
            Ok(output)
        };
        for ((stage, order), (name, want)) in shorter.iter().zip(&traced) {
            let off = off(&run(stage)?, order, size, want)?;
            eprintln!("{name} {size:?}: {off:.1e}");
            ensure!(off < TOLERANCE, "{name} {size:?}: {off}");
        }
        let output = run(&stage)?;
        let off = off(&output, &out_order, size, &want)?;
        eprintln!("{name} {size:?}: {off:.1e}");
        ensure!(off < TOLERANCE, "{name} {size:?}: {off}");
        ensure!(
            output.to_vec()? == run(&stage)?.to_vec()?,
            "{name} {size:?}: not the same bits again"
        );
    }
    Ok(())
}

/// The last has more tiles than fit on any card together.
const UGLY: [[usize; 2]; 11] = [
    [64, 128],
    [1, 1],
    [1, 7],
    [5, 3],
    [9, 8],
    [23, 30],
    [17, 33],
    [64, 64],
    [45, 60],
    [33, 257],
    [136, 520],
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
    for name in ["enc1", "enc2", "enc3"] {
        compare(name, SMALL_CARD, &[[5, 3], [45, 60], [64, 128]])?;
    }
    Ok(())
}

/// Sizes that a cluster of 8 blocks takes, with less rows than blocks, one row each, and several.
const OF_ONE_CLUSTER: [[usize; 2]; 6] = [[1, 1], [1, 170], [5, 3], [8, 33], [23, 30], [32, 64]];

fn compare_in_clusters(cluster_blocks: u32) -> anyhow::Result<()> {
    let limits = GpuLimits {
        cluster_blocks: Some(cluster_blocks),
        ..GpuLimits::default()
    };
    for name in ["enc3", "dec1"] {
        compare(name, limits, &OF_ONE_CLUSTER)?;
    }
    Ok(())
}

#[test]
fn stages_equal_the_cpus_in_clusters_of_eight() -> anyhow::Result<()> {
    compare_in_clusters(8)
}

#[test]
fn stages_equal_the_cpus_without_clusters() -> anyhow::Result<()> {
    compare_in_clusters(0)
}

#[test]
#[ignore = "prints times instead of testing"]
fn microseconds_of_each_stage() -> anyhow::Result<()> {
    let gpu = Gpu::open(0, GpuLimits::default())?;
    let weights = seeded()?;
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
        ("dec1", 16, shallow, [23, 30]),
        ("dec2", 16, shallow, [45, 60]),
        ("dec3", 16, shallow, [90, 120]),
        ("enc1", 64, shallow, [256, 256]),
        ("enc2", 128, deep, [128, 128]),
        ("enc3", 16, deep, [64, 64]),
        ("dec2", 16, shallow, [128, 128]),
        ("dec3", 16, shallow, [256, 256]),
    ];
    for (name, channels, dilations, size) in stages {
        let order = ChannelOrder::natural(channels);
        let (stage, _) = EdabStage::new(&gpu, &layers.pp(name), &order, dilations, |_| Ok(None))?;
        let (input, _) = made_map(&gpu, name, channels, size)?;
        let output = poisoned(&gpu, channels * size[0] * size[1])?;
        let scratch = EdabScratch::new(&gpu, &[(channels, size)])?;
        let what = format!("{name} {size:?}, {} blocks", dilations.len());
        print_times(&gpu, &what, |stream| {
            stage.launch(stream, &input, &output, size, &scratch)
        })?;
    }
    Ok(())
}
