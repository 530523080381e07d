use super::*;
use crate::engine::against_cpu::seeded;
use crate::engine::up::{Resized, Up};
use crate::network::layers::{ChannelOrder, Layers};
use crate::ops::CpuPath;

/// The last upsampling, with made weights.
fn last_up(gpu: &Gpu) -> Result<Up> {
    let layer_weights = seeded()?;
    let order = ChannelOrder::natural(CHANNELS).shuffled();
    let layers = Layers::new(&layer_weights, CpuPath::best());
    Ok(Up::new(gpu, &layers, 3, &order)?)
}

/// Flag, mask and confidence of a frame made of the decoder's last map by one kernel, and of the same by two.
fn decoded_and_in_two_steps(
    gpu: &Gpu,
    up: &Up,
    classes: usize,
    low: [usize; 2],
    bad: Option<(usize, f16)>,
) -> Result<[Masked; 2]> {
    let size = low.map(|side| side.div_ceil(2));
    let mut map = blocked(&made_features(size), size);
    if let Some((place, value)) = bad {
        map[place] = value;
    }
    let map = Buffer::from_slice(gpu, &map)?;
    let image = low.map(|side| 2 * side);
    let frame = frame(classes, low, image, image);
    let weights = made(classes * CHANNELS, 3, 2.0);
    let head = Head::new(gpu, &weights, &made_offsets(classes), TEMPERATURE)?;
    let plan = head.plan(gpu, frame.low, frame.fit, frame.size)?;
    assert!(head.takes_decoded(&plan));
    let pixels = frame.size[0] * frame.size[1];
    let stream = gpu.stream();
    let decoded = Decoded {
        map: &map,
        size,
        up: up.weights(),
    };
    let features = Buffer::new(gpu, CHANNELS * low[0] * low[1])?;
    Ok([
        masked(gpu, pixels, |output| {
            head.launch_decoded(&stream, &plan, &decoded, output, true)
        })?,
        masked(gpu, pixels, |output| {
            let resized = Resized {
                map: &map,
                size,
                skip: None,
                out: &features,
                out_size: low,
            };
            up.launch(&stream, &resized)?;
            head.launch(&stream, &plan, &features, output, true)
        })?,
    ])
}

#[test]
fn a_mask_of_the_decoders_last_map_has_the_bits_of_that_of_the_features() -> Result {
    let gpu = Gpu::open(0, GpuLimits::default())?;
    let up = last_up(&gpu)?;
    for low in [
        [1, 1],
        [1, 7],
        [9, 1],
        [3, 5],
        [6, 31],
        [7, 32],
        [8, 30],
        [17, 70],
        [180, 240],
    ] {
        for classes in [1, 2, 11, 19, 32] {
            let [got, want] = decoded_and_in_two_steps(&gpu, &up, classes, low, None)?;
            assert!(got == want, "{low:?}, {classes} classes");
            assert!(got.0 && got.1.iter().all(|id| usize::from(*id) < classes));
        }
    }
    Ok(())
}

#[test]
fn one_value_of_the_decoders_last_map_that_is_not_finite_raises_the_flag() -> Result {
    let gpu = Gpu::open(0, GpuLimits::default())?;
    let up = last_up(&gpu)?;
    let low = [19_usize, 37];
    let values = CHANNELS * low[0].div_ceil(2) * low[1].div_ceil(2);
    for place in [0, values / 2 + 5, values - 1] {
        for bad in [f16::NAN, f16::INFINITY] {
            let [got, want] = decoded_and_in_two_steps(&gpu, &up, 11, low, Some((place, bad)))?;
            assert!(!got.0 && !want.0, "{bad} at {place}");
        }
    }
    Ok(())
}
