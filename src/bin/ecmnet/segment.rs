//! `ecmnet segment`: masks and overlays of image files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use ecmnet_ros::decode::DecodedImage;
use ecmnet_ros::segmenter::{NetworkSize, Segmenter};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::network::NetworkArguments;
use crate::output::{sentence, write_whole};
use crate::progress;

/// Largest image that is decoded.
const MAX_PIXELS: usize = 64_000_000;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// JPEG or PNG files
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Folder for the masks and overlays
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The colours' share in the overlays, 0 to 1
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    alpha: f32,
    #[command(flatten)]
    network: NetworkArguments,
}

/// Segments every file that can be; errs at the end if any could not.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let stems = stems(&arguments.images)?;
    let segmenter = arguments.network.segmenter(NetworkSize::Train)?;
    let bar = progress::bar(arguments.images.len(), "segmenting");
    let mut failed = 0;
    for (image, stem) in arguments.images.iter().zip(&stems) {
        if let Err(error) = segment(image, stem, arguments, &segmenter) {
            failed += 1;
            bar.suspend(|| eprintln!("error: {}: {}", image.display(), sentence(&error)));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let done = arguments.images.len() - failed;
    let out = arguments.out.display();
    if failed > 0 {
        bail!(
            "{failed} of {} images failed; {done} masks are in {out}",
            arguments.images.len()
        );
    }
    eprintln!("{done} masks are in {out}");
    Ok(())
}

/// Returns the files' names without ending; errs if two files would write the same masks.
fn stems(images: &[PathBuf]) -> Result<Vec<String>> {
    let mut first_with: BTreeMap<String, &Path> = BTreeMap::new();
    let mut stems = Vec::new();
    for image in images {
        let Some(stem) = image.file_stem() else {
            bail!("{} is not the name of a file", image.display());
        };
        let stem = stem.to_string_lossy().into_owned();
        if let Some(other) = first_with.insert(stem.clone(), image) {
            bail!(
                "{} and {} would both write {stem}_labels.png; segment them into different folders",
                other.display(),
                image.display()
            );
        }
        stems.push(stem);
    }
    Ok(stems)
}

fn segment(path: &Path, stem: &str, arguments: &Arguments, segmenter: &Segmenter) -> Result<()> {
    let image = DecodedImage::from_file_bytes(&fs::read(path)?, MAX_PIXELS)?;
    let view = image.view()?;
    let mask = segmenter.run(&view, false)?.mask;
    let overlay = segmenter.overlay(&view, &mask, arguments.alpha);
    for (kind, bytes, colour) in [
        ("labels", &mask.ids, ExtendedColorType::L8),
        ("overlay", &overlay, ExtendedColorType::Rgb8),
    ] {
        let mut png = Cursor::new(Vec::new());
        PngEncoder::new(&mut png)
            .write_image(bytes, mask.width as u32, mask.height as u32, colour)
            .context("the PNG cannot be made")?;
        let file = arguments.out.join(format!("{stem}_{kind}.png"));
        write_whole(&file, png.get_ref())?;
    }
    Ok(())
}
