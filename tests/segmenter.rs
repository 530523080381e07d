//! The whole way from an image's bytes to its mask, with made weights.

mod seeded;

use anyhow::Result;
use ecmnet_ros::labels::{Logits, mask_from_logits};
use ecmnet_ros::network::{ECMNet, Weights};
use ecmnet_ros::preprocess::{InputFit, input_from_image};
use ecmnet_ros::{
    DeviceChoice, Error, ImageView, NetworkSize, PixelFormat, Segmenter, SegmenterOptions,
};
use tempfile::NamedTempFile;

fn weights_file(plan: &str, classes: usize) -> Result<NamedTempFile> {
    let file = NamedTempFile::new()?;
    std::fs::write(file.path(), seeded::seeded_weights(plan, classes)?)?;
    Ok(file)
}

/// Height and width of [`picture`].
const PICTURE: [usize; 2] = [90, 120];

const SMALL: NetworkSize = NetworkSize::Fixed {
    height: 56,
    width: 72,
};

const SMALL_FIT: InputFit = InputFit {
    network: [56, 72],
    image: [56, 72],
};

fn picture() -> Vec<u8> {
    seeded::image_bytes(PICTURE[0], PICTURE[1])
}

fn view(picture: &[u8]) -> Result<ImageView<'_>> {
    Ok(ImageView::from_rgb8(PICTURE[1], PICTURE[0], picture)?)
}

/// Returns what the network makes of the picture at the size [`SMALL`], stage by stage.
fn small_logits(weights: &[u8], picture: &[u8]) -> Result<Logits> {
    let weights = Weights::from_bytes(weights)?;
    let normalisation = weights.metadata().normalisation();
    let input = input_from_image(&view(picture)?, SMALL_FIT, &normalisation);
    let device = candle_core::Device::Cpu;
    let input = candle_core::Tensor::from_vec(input, (1, 3, 56, 72), &device)?;
    let logits = ECMNet::new(&weights, &device)?.forward_low(&input)?;
    let (_, classes, height, width) = logits.dims4()?;
    Ok(Logits {
        classes,
        height,
        width,
        values: logits.flatten_all()?.to_vec1()?,
    })
}

fn segmenter(options: impl FnOnce(&mut SegmenterOptions)) -> Result<Segmenter> {
    let file = weights_file("A", 11)?;
    let mut chosen = SegmenterOptions::new(file.path());
    options(&mut chosen);
    Ok(Segmenter::new(&chosen)?)
}

#[test]
fn masks_have_the_images_size_at_every_network_size() -> Result<()> {
    for network_size in [
        NetworkSize::Train,
        NetworkSize::Native,
        NetworkSize::Fixed {
            height: 97,
            width: 61,
        },
    ] {
        let segmenter = segmenter(|options| options.network_size = network_size)?;
        for (width, height) in [(1, 1), (7, 3), (161, 119), (320, 200)] {
            let bytes = seeded::image_bytes(height, width);
            let view = ImageView::from_rgb8(width, height, &bytes)?;
            let result = segmenter.run(&view, true)?;
            assert_eq!((result.mask.width, result.mask.height), (width, height));
            assert_eq!(result.mask.ids.len(), width * height);
            assert!(result.mask.ids.iter().all(|id| *id < 11));
            let confidence = result.confidence.map(|c| c.values).unwrap_or_default();
            // The largest of 11 softmax values is never below 1/11, which is 23 of 255.
            assert!(confidence.len() == width * height && confidence.iter().all(|c| *c >= 23));
        }
    }
    Ok(())
}

#[test]
fn the_segmenter_is_its_three_stages() -> Result<()> {
    let segmenter = segmenter(|options| options.network_size = SMALL)?;
    let (bytes, weights) = (picture(), seeded::seeded_weights("A", 11)?);
    let logits = small_logits(&weights, &bytes)?;
    let (mask, _) = mask_from_logits(&logits, SMALL_FIT, PICTURE, None)?;
    assert_eq!(segmenter.run(&view(&bytes)?, false)?.mask, mask);
    Ok(())
}

#[test]
fn offsets_of_zero_change_no_byte_and_a_class_far_below_the_others_is_as_if_not_there() -> Result<()>
{
    let bytes = picture();
    let masked = |more: &[(&str, &str)]| -> Result<_> {
        let file = NamedTempFile::new()?;
        std::fs::write(file.path(), seeded::seeded_weights_with("A", 11, more)?)?;
        let mut options = SegmenterOptions::new(file.path());
        options.network_size = SMALL;
        let result = Segmenter::new(&options)?.run(&view(&bytes)?, true)?;
        Ok((
            result.mask.ids,
            result.confidence.map(|c| c.values).unwrap_or_default(),
        ))
    };
    let (ids, confidence) = masked(&[])?;
    let zeros = masked(&[("logit_offsets", r#"{"class 0": 0, "class 7": 0.0}"#)])?;
    assert_eq!(zeros, (ids.clone(), confidence));

    let pixels = |class: u8| ids.iter().filter(|id| **id == class).count();
    let commonest = (0..11).max_by_key(|class| pixels(*class)).unwrap_or(0);
    assert!(pixels(commonest) > ids.len() / 11);
    let offsets = format!(r#"{{"class {commonest}": -1e3}}"#);
    let without = masked(&[("logit_offsets", &offsets)])?;
    let mut logits = small_logits(&seeded::seeded_weights("A", 11)?, &bytes)?;
    let plane = logits.height * logits.width;
    logits
        .values
        .drain(usize::from(commonest) * plane..usize::from(commonest + 1) * plane);
    logits.classes -= 1;
    let (mask, confidence) = mask_from_logits(&logits, SMALL_FIT, PICTURE, Some(1.0))?;
    let second: Vec<u8> = (mask.ids.iter().map(|id| id + u8::from(*id >= commonest))).collect();
    assert_eq!(
        without,
        (second, confidence.map(|c| c.values).unwrap_or_default())
    );
    Ok(())
}

#[test]
fn the_same_image_gives_the_same_bytes_for_any_number_of_threads() -> Result<()> {
    let bytes = seeded::image_bytes(150, 201);
    let view = ImageView::from_rgb8(201, 150, &bytes)?;
    let mut first = None;
    for threads in [1, 2, 3] {
        let segmenter = segmenter(|options| options.threads = Some(threads))?;
        let result = segmenter.run(&view, true)?;
        let again = segmenter.run(&view, true)?;
        assert_eq!(
            (&result.mask, &result.confidence),
            (&again.mask, &again.confidence)
        );
        let first = first.get_or_insert((result.mask.clone(), result.confidence.clone()));
        assert_eq!(
            (&result.mask, &result.confidence),
            (&first.0, &first.1),
            "{threads} threads"
        );
    }
    Ok(())
}

#[test]
fn one_picture_gives_one_mask_in_every_packed_encoding() -> Result<()> {
    let segmenter = segmenter(|_| {})?;
    let rgb = seeded::image_bytes(40, 64);
    let masked = |format, step, data: &[u8]| -> Result<_> {
        Ok(segmenter
            .run(&ImageView::new(format, 64, 40, step, data)?, false)?
            .mask)
    };
    let want = masked(PixelFormat::Rgb8, 192, &rgb)?;
    let bgr: Vec<u8> = rgb.chunks(3).flat_map(|p| [p[2], p[1], p[0]]).collect();
    assert_eq!(masked(PixelFormat::Bgr8, 192, &bgr)?, want);
    let rgba: Vec<u8> = rgb.chunks(3).flat_map(|p| [p[0], p[1], p[2], 77]).collect();
    assert_eq!(masked(PixelFormat::Rgba8, 256, &rgba)?, want);
    let padded: Vec<u8> = rgb
        .chunks(192)
        .flat_map(|row| [row, &[99; 8]].concat())
        .collect();
    assert_eq!(masked(PixelFormat::Rgb8, 200, &padded)?, want);
    Ok(())
}

#[test]
fn any_number_of_classes_works_up_to_what_a_byte_holds() -> Result<()> {
    for classes in [1, 2, 19, 255] {
        let file = weights_file("B", classes);
        if classes == 255 {
            // The made metadata has ignore_id 255, so 255 classes are ids 0 to 254.
            assert!(file.is_ok());
        }
        let segmenter = Segmenter::new(&SegmenterOptions::new(file?.path()))?;
        let bytes = seeded::image_bytes(33, 47);
        let result = segmenter.run(&ImageView::from_rgb8(47, 33, &bytes)?, true)?;
        assert!(result.mask.ids.iter().all(|id| usize::from(*id) < classes));
        assert_eq!(segmenter.classes().len(), classes);
    }
    Ok(())
}

#[test]
fn auto_says_why_it_runs_on_the_cpu_and_cuda_is_an_error() -> Result<()> {
    let auto = segmenter(|options| options.device = DeviceChoice::Auto)?;
    assert!(auto.device_note().is_some_and(|note| note.contains("CUDA")));
    assert!(auto.device_name().starts_with("cpu"));
    let file = weights_file("A", 11)?;
    let options = SegmenterOptions {
        device: DeviceChoice::Cuda(0),
        ..SegmenterOptions::new(file.path())
    };
    assert!(matches!(
        Segmenter::new(&options),
        Err(Error::Device { .. })
    ));
    Ok(())
}
