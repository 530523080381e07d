mod decoded;

use std::collections::btree_map::{BTreeMap, Entry};

use super::*;
use crate::engine::driver::{GpuLimits, Graph};
use crate::engine::timing::microseconds_each;
use crate::labels::{Logits, mask_from_logits};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const TEMPERATURE: f32 = 1.3;

/// What one test frame is.
#[derive(Clone, Copy, Debug)]
struct Frame {
    classes: usize,
    low: [usize; 2],
    fit: InputFit,
    size: [usize; 2],
}

fn frame(classes: usize, low: [usize; 2], network: [usize; 2], size: [usize; 2]) -> Frame {
    let fit = InputFit {
        network,
        image: network,
    };
    Frame {
        classes,
        low,
        fit,
        size,
    }
}

/// Offsets of either sign, in quarters, none for some; one class that never wins, where there are three.
fn made_offsets(classes: usize) -> Vec<f32> {
    let offset = |class: usize| (class * 7 % 13) as f32 * 0.25 - 1.5;
    let mut offsets: Vec<f32> = (0..classes).map(offset).collect();
    if classes > 2 {
        offsets[classes - 1] = -1000.0;
    }
    offsets
}

fn made(n: usize, seed: u32, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state as f32 / u32::MAX as f32 - 0.5) * scale
    };
    (0..n).map(|_| f16::from_f32(next()).to_f32()).collect()
}

/// Features `[h * w, 16]` of smooth hills and noise, so that classes have regions and borders.
fn made_features(low: [usize; 2]) -> Vec<f32> {
    let mut features = made(low[0] * low[1] * CHANNELS, 7, 1.0);
    for (i, value) in features.iter_mut().enumerate() {
        let (c, pixel) = (i % CHANNELS, i / CHANNELS);
        let (y, x) = ((pixel / low[1]) as f32, (pixel % low[1]) as f32);
        let hill = (y * 0.21 + c as f32).sin() + (x * 0.17 - 1.7 * c as f32).cos();
        *value = f16::from_f32(*value + 2.0 * hill).to_f32();
    }
    features
}

fn blocked(features: &[f32], low: [usize; 2]) -> Vec<f16> {
    let pixels = low[0] * low[1];
    (0..pixels * CHANNELS)
        .map(|i| {
            let (block, pixel, c) = (i / (8 * pixels), i / 8 % pixels, i % 8);
            f16::from_f32(features[pixel * CHANNELS + 8 * block + c])
        })
        .collect()
}

fn logits(features: &[f32], weights: &[f32], offsets: &[f32], frame: &Frame) -> Result<Logits> {
    let pixels = frame.low[0] * frame.low[1];
    let values = (0..frame.classes * pixels)
        .map(|i| {
            let (class, pixel) = (i / pixels, i % pixels);
            let row = &weights[class * CHANNELS..][..CHANNELS];
            let channels = &features[pixel * CHANNELS..][..CHANNELS];
            row.iter().zip(channels).map(|(w, x)| w * x).sum()
        })
        .collect();
    let mut logits = Logits {
        classes: frame.classes,
        height: frame.low[0],
        width: frame.low[1],
        values,
    };
    logits.add_offsets(offsets)?;
    Ok(logits)
}

/// Whether all logits are finite, the mask, and the confidence.
type Masked = (bool, Vec<u8>, Vec<u8>);

/// What the head gives of a frame.
fn on_the_device(
    gpu: &Gpu,
    frame: &Frame,
    features: &[f32],
    weights: &[f32],
    offsets: &[f32],
    with_confidence: bool,
) -> Result<Masked> {
    let head = Head::new(gpu, weights, offsets, TEMPERATURE)?;
    let plan = head.plan(gpu, frame.low, frame.fit, frame.size)?;
    let pixels = frame.size[0] * frame.size[1];
    let features = Buffer::from_slice(gpu, &blocked(features, frame.low))?;
    masked(gpu, pixels, |output| {
        head.launch(&gpu.stream(), &plan, &features, output, with_confidence)
    })
}

/// What `launch` gives of so many pixels; the mask poisoned before, the flag 0.
fn masked(
    gpu: &Gpu,
    pixels: usize,
    launch: impl FnOnce(&MaskBuffer) -> std::result::Result<(), CudaError>,
) -> Result<Masked> {
    let output = MaskBuffer::new(gpu, pixels)?;
    let mut host = PinnedBuffer::new(gpu, output.bytes(true))?;
    masked_into(gpu, &output, &mut host, launch)
}

/// The same with the memory given: `host` is as long as `output` or longer.
fn masked_into(
    gpu: &Gpu,
    output: &MaskBuffer,
    host: &mut PinnedBuffer<u8>,
    launch: impl FnOnce(&MaskBuffer) -> std::result::Result<(), CudaError>,
) -> Result<Masked> {
    let (stream, bytes) = (gpu.stream(), output.bytes(true));
    host.as_mut_slice()[..FLAG_BYTES].fill(0);
    host.as_mut_slice()[FLAG_BYTES..bytes].fill(0xff);
    output.device.copy_from(host, bytes, &stream)?;
    launch(output)?;
    output.device.copy_to(host, bytes, &stream)?;
    stream.synchronise()?;
    let (is_finite, mask, confidence) = output.split(host);
    Ok((is_finite, mask.to_vec(), confidence.to_vec()))
}

/// A logit of 16 products of values up to 10: sums in another order differ by less.
const LOGIT_TOLERANCE: f32 = 2e-4;

/// Heads, maps and plans are made once: nearly all time is the driver's, above all beside other programs or
/// under a sanitizer. What a kernel reads or writes has its own length all the same.
fn assert_all_are_the_cpus(gpu: &Gpu, made_offsets: fn(usize) -> Vec<f32>) -> Result {
    let frames = frames();
    let mut heads = BTreeMap::new();
    for classes in frames.iter().map(|frame| frame.classes) {
        if let Entry::Vacant(entry) = heads.entry(classes) {
            let weights = made(classes * CHANNELS, 3, 2.0);
            let offsets = made_offsets(classes);
            let head = Head::new(gpu, &weights, &offsets, TEMPERATURE)?;
            entry.insert((head, weights, offsets));
        }
    }
    let most_pixels = frames.iter().map(|frame| frame.size[0] * frame.size[1]);
    let bytes = MaskBuffer::bytes_of(most_pixels.max().unwrap_or(0), true);
    let mut host = PinnedBuffer::new(gpu, bytes)?;
    for frames in frames.chunk_by(|a, b| a.low == b.low) {
        let low = frames[0].low;
        let features = made_features(low);
        let map = Buffer::from_slice(gpu, &blocked(&features, low))?;
        for frame in frames {
            let (head, weights, offsets) = &heads[&frame.classes];
            let plan = head.plan(gpu, low, frame.fit, frame.size)?;
            let output = MaskBuffer::new(gpu, frame.size[0] * frame.size[1])?;
            let mut run = |with_confidence| {
                masked_into(gpu, &output, &mut host, |output| {
                    head.launch(&gpu.stream(), &plan, &map, output, with_confidence)
                })
            };
            let logits = logits(&features, weights, offsets, frame)?;
            assert_is_the_cpus(frame, &logits, run(true)?, run(false)?)?;
        }
    }
    Ok(())
}

fn assert_is_the_cpus(
    frame: &Frame,
    logits: &Logits,
    with_confidence: Masked,
    without: Masked,
) -> Result {
    let (mask, confidence) = mask_from_logits(logits, frame.fit, frame.size, Some(TEMPERATURE))?;
    let confidence = confidence.map(|c| c.values).unwrap_or_default();
    let (is_finite, ids, values) = with_confidence;
    assert!(is_finite, "{frame:?}");
    let mut near_ties = 0;
    for (i, (&id, &want)) in ids.iter().zip(&mask.ids).enumerate() {
        if id != want {
            // Only where the two best are equal up to rounding may it go either way.
            near_ties += 1;
            let pair = [usize::from(id), usize::from(want)];
            assert!(pair[0] < frame.classes, "{frame:?} pixel {i}: id {id}");
            let [a, b] = pair.map(|class| resized_logit(logits, frame, class, i));
            assert!(
                (a - b).abs() < LOGIT_TOLERANCE,
                "{frame:?} pixel {i}: {a} of {id}, {b} of {want}"
            );
        }
    }
    assert!(near_ties <= ids.len() / 1000 + 1, "{frame:?}: {near_ties}");
    for (i, (&value, &want)) in values.iter().zip(&confidence).enumerate() {
        // Rounding at a half may go either way.
        assert!(
            value.abs_diff(want) <= 1,
            "{frame:?} pixel {i}: {value} {want}"
        );
    }
    let (is_finite, alone, unasked) = without;
    assert!(is_finite && alone == ids && unasked.iter().all(|value| *value == 0xff));
    Ok(())
}

fn resized_logit(logits: &Logits, frame: &Frame, class: usize, pixel: usize) -> f32 {
    let axis = |i: usize, at: usize| {
        let (fit, size) = (frame.fit, frame.size);
        axis_taps(frame.low[i], fit.network[i], fit.image[i], size[i])[at]
    };
    let [rows, columns] = [
        axis(0, pixel / frame.size[1]),
        axis(1, pixel % frame.size[1]),
    ];
    let mut sum = 0.0;
    for (dy, row_share) in rows.share.iter().enumerate() {
        for (dx, column_share) in columns.share.iter().enumerate() {
            let y = (rows.first + dy).min(frame.low[0] - 1);
            let x = (columns.first + dx).min(frame.low[1] - 1);
            let at = (class * frame.low[0] + y) * frame.low[1] + x;
            sum += row_share * column_share * logits.values[at];
        }
    }
    sum
}

fn frames() -> Vec<Frame> {
    let mut frames = Vec::new();
    for low in [
        [1, 1],
        [1, 7],
        [9, 1],
        [3, 5],
        [8, 32],
        [9, 33],
        [17, 70],
        [40, 64],
    ] {
        let doubled = low.map(|side| 2 * side);
        for classes in [1, 2, 4, 11, 19, 31, 32] {
            frames.push(frame(classes, low, doubled, doubled));
        }
        for classes in [1, 11, 19, 33, 64, 150, 255] {
            let odd = low.map(|side| 2 * side - 1);
            frames.push(frame(classes, low, odd, odd));
            frames.push(frame(classes, low, doubled, [50, 77]));
            frames.push(frame(classes, low, low.map(|side| 4 * side - 3), [7, 3]));
            let mut cropped = frame(classes, low, doubled, low);
            cropped.fit.image = low;
            frames.push(cropped);
            cropped.size = [1, 130];
            frames.push(cropped);
        }
    }
    frames
}

#[test]
fn masks_and_confidence_are_the_cpus_at_any_size_and_number_of_classes() -> Result {
    assert_all_are_the_cpus(&Gpu::open(0, GpuLimits::default())?, |classes| {
        vec![0.0; classes]
    })
}

#[test]
fn little_shared_memory_gives_the_same() -> Result {
    let limits = GpuLimits {
        shared_memory_bytes: Some(8 << 10),
        ..GpuLimits::default()
    };
    assert_all_are_the_cpus(&Gpu::open(0, limits)?, made_offsets)
}

#[test]
fn offsets_move_masks_and_confidence_as_on_the_cpu_at_any_size_and_number_of_classes() -> Result {
    assert_all_are_the_cpus(&Gpu::open(0, GpuLimits::default())?, made_offsets)
}

#[test]
fn equal_logits_give_the_lowest_id() -> Result {
    let gpu = Gpu::open(0, GpuLimits::default())?;
    let row: Vec<f32> = (0..CHANNELS).map(|c| c as f32 - 5.0).collect();
    for size in [[18, 66], [23, 71]] {
        for classes in [3, 32, 255] {
            let frame = frame(classes, [9, 33], [18, 66], size);
            let features = made_features(frame.low);
            let weights = row.repeat(classes);
            // All offsets alike change nothing; class 0's copies beyond the last class must not win.
            for offset in [0.0, -2.5] {
                let offsets = vec![offset; classes];
                let (_, mask, confidence) =
                    on_the_device(&gpu, &frame, &features, &weights, &offsets, true)?;
                assert!(mask.iter().all(|id| *id == 0), "{frame:?}");
                let even = (255.0 / classes as f32).round() as u8;
                assert!(confidence.iter().all(|value| *value == even), "{frame:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn one_feature_that_is_not_finite_raises_the_flag_wherever_it_lies() -> Result {
    let gpu = Gpu::open(0, GpuLimits::default())?;
    let low = [19, 37];
    let weights = made(5 * CHANNELS, 3, 2.0);
    let mut cropped = frame(5, low, [38, 74], [27, 60]);
    cropped.fit.image = [27, 60];
    let frames = [
        frame(5, low, [38, 74], [38, 74]),
        frame(5, low, [37, 73], [100, 200]),
        frame(5, low, [37, 73], [2, 3]),
        cropped,
    ];
    for frame in frames {
        for (bad, place) in [
            (f32::NAN, 0),
            (f32::INFINITY, low[0] * low[1] * CHANNELS - 1),
            (f32::NEG_INFINITY, (18 * low[1] + 1) * CHANNELS + 3),
            (f32::NAN, (9 * low[1] + 36) * CHANNELS + 12),
            (f32::NAN, (10 * low[1] + 17) * CHANNELS + 7),
        ] {
            let mut features = made_features(low);
            features[place] = bad;
            let (is_finite, ..) =
                on_the_device(&gpu, &frame, &features, &weights, &[0.0; 5], false)?;
            assert!(!is_finite, "{frame:?}: {bad} at {place}");
        }
    }
    Ok(())
}

#[test]
fn weights_beyond_f16_raise_the_flag() -> Result {
    let gpu = Gpu::open(0, GpuLimits::default())?;
    for (classes, size) in [(3, [8, 8]), (3, [9, 9]), (70, [8, 8])] {
        let frame = frame(classes, [4, 4], [8, 8], size);
        let mut weights = made(classes * CHANNELS, 3, 2.0);
        weights[classes * CHANNELS - 1] = 1e6;
        let features = made_features(frame.low);
        let (is_finite, ..) = on_the_device(
            &gpu,
            &frame,
            &features,
            &weights,
            &vec![0.0; classes],
            false,
        )?;
        assert!(!is_finite, "{frame:?}");
    }
    Ok(())
}

#[test]
fn composed_taps_stay_within_three_places_and_share_all() {
    for (low, network, cropped, image) in [
        (1, 1, 1, 9),
        (5, 9, 9, 9),
        (5, 10, 7, 31),
        (64, 255, 250, 3),
        (180, 360, 360, 720),
        (3, 12, 12, 12),
    ] {
        for tap in axis_taps(low, network, cropped, image) {
            assert!(tap.first < low);
            // Two roundings of numbers up to 1.
            assert!((tap.share.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }
}

#[test]
#[ignore = "prints times"]
fn times() -> Result {
    let gpu = Gpu::open(0, GpuLimits::default())?;
    for frame in [
        frame(11, [256, 512], [512, 1024], [512, 1024]),
        frame(19, [256, 512], [512, 1024], [512, 1024]),
        frame(11, [180, 240], [360, 480], [360, 480]),
        frame(11, [180, 240], [360, 480], [720, 960]),
        frame(11, [512, 512], [1024, 1024], [1024, 1024]),
        frame(11, [256, 256], [1024, 1024], [1024, 1024]),
        frame(11, [256, 512], [511, 1023], [511, 1023]),
        frame(150, [256, 512], [512, 1024], [512, 1024]),
    ] {
        let weights = made(frame.classes * CHANNELS, 3, 2.0);
        let head = Head::new(&gpu, &weights, &made_offsets(frame.classes), TEMPERATURE)?;
        let plan = head.plan(&gpu, frame.low, frame.fit, frame.size)?;
        let features = Buffer::from_slice(&gpu, &blocked(&made_features(frame.low), frame.low))?;
        let output = MaskBuffer::new(&gpu, frame.size[0] * frame.size[1])?;
        for with_confidence in [false, true] {
            let graph = Graph::record(&gpu, |stream| {
                (0..20).try_for_each(|_| {
                    head.launch(stream, &plan, &features, &output, with_confidence)
                })
            })?;
            let us = microseconds_each(&gpu, &graph, 20)?;
            eprintln!("head {frame:?} confidence {with_confidence}: {us:.2} us");
        }
    }
    Ok(())
}
