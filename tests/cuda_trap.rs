//! A kernel that fails. A target of its own, since no call on the GPU works after it in a process.

mod seeded;

use std::process::Command;

use anyhow::Result;
use ecmnet_ros::segmenter::DeviceChoice;
use ecmnet_ros::{ImageView, Segmenter, SegmenterOptions};
use tempfile::NamedTempFile;

/// Set for the second process of the test, which loses its GPU at frame 2.
const FAULT: &str = "ECMNET_FAULT";

#[test]
fn a_trap_is_told_at_its_frame_and_every_later_one_and_a_new_process_goes_on() -> Result<()> {
    let bytes = seeded::image_bytes(96, 160);
    let view = ImageView::from_rgb8(160, 96, &bytes)?;
    let file = NamedTempFile::new()?;
    std::fs::write(file.path(), seeded::seeded_weights("A", 11)?)?;
    let mut options = SegmenterOptions::new(file.path());
    options.device = DeviceChoice::Cuda(0);
    let segmenter = Segmenter::new(&options)?;
    if std::env::var_os(FAULT).is_some() {
        for frame in 0..4 {
            match (frame, segmenter.run(&view, false)) {
                (0 | 1, Ok(_)) => {}
                (2 | 3, Err(error)) if error.is_device_lost() => {}
                (_, result) => panic!("frame {frame}: {:?}", result.map(|_| "a mask")),
            }
        }
        return Ok(());
    }
    let want = segmenter.run(&view, false)?.mask;
    let second = Command::new(std::env::current_exe()?)
        .env(FAULT, "trap@2")
        .output()?;
    let said = String::from_utf8_lossy(&second.stdout);
    assert!(second.status.success(), "{said}");
    assert_eq!(Segmenter::new(&options)?.run(&view, false)?.mask, want);
    Ok(())
}
