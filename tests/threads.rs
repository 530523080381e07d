//! A segmenter works on its own threads alone, so that `threads` bounds what the network takes.
//!
//! A target of its own: it holds up the threads that the whole process shares.

mod seeded;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use ecmnet_ros::{ImageView, NetworkSize, Segmenter, SegmenterOptions};

/// Far above what a small image takes, far below what a person waits for.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn masks_and_overlays_need_no_thread_of_the_shared_pool() -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()?;
    let (release, held) = mpsc::channel::<()>();
    rayon::spawn(move || {
        let _ = held.recv();
    });

    let (done, finished) = mpsc::channel();
    thread::spawn(move || done.send(mask_and_overlay()));
    let [ids, overlay] = finished
        .recv_timeout(PATIENCE)
        .context("the segmenter waits for the shared pool")??;
    assert_eq!([ids, overlay], [120 * 90, 3 * 120 * 90]);
    drop(release);
    Ok(())
}

/// Returns how many bytes the mask and the overlay of one image have.
fn mask_and_overlay() -> Result<[usize; 2]> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), seeded::seeded_weights("A", 11)?)?;
    let segmenter = Segmenter::new(&SegmenterOptions {
        threads: Some(1),
        network_size: NetworkSize::Native,
        ..SegmenterOptions::new(file.path())
    })?;
    let bytes = seeded::image_bytes(90, 120);
    let view = ImageView::from_rgb8(120, 90, &bytes)?;
    let mask = segmenter.run(&view, true)?.mask;
    let overlay = segmenter.overlay(&view, &mask, 0.5);
    Ok([mask.ids.len(), overlay.len()])
}
