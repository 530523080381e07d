//! A network that takes another's place on the GPU: loaded, run and freed on threads of their own.
//!
//! A target of its own, since it asks whether the process holds anything of the GPU at all.

#![allow(unsafe_code, reason = "the driver is asked for its state")]

mod seeded;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, anyhow, ensure};
use cudarc::driver::sys::{self, CUresult};
use ecmnet_ros::{DeviceChoice, ImageView, NetworkSize, Segmenter, SegmenterOptions};
use tempfile::NamedTempFile;

/// How often a network is loaded beside the one that runs.
const SWAPS: usize = 5;

fn segmenter(classes: usize) -> Result<Arc<Segmenter>> {
    let file = NamedTempFile::new()?;
    std::fs::write(file.path(), seeded::seeded_weights("A", classes)?)?;
    let mut options = SegmenterOptions::new(file.path());
    options.device = DeviceChoice::Cuda(0);
    options.network_size = NetworkSize::Native;
    Ok(Arc::new(Segmenter::new(&options)?))
}

/// Returns whether the process has a context on GPU 0, without which it holds no memory there.
fn holds_gpu() -> Result<bool> {
    let (mut flags, mut active) = (0, 0);
    // SAFETY: the pointers outlive the calls.
    let result = unsafe {
        sys::cuInit(0);
        sys::cuDevicePrimaryCtxGetState(0, &mut flags, &mut active)
    };
    ensure!(result == CUresult::CUDA_SUCCESS, "{result:?}");
    Ok(active != 0)
}

fn joined<T>(thread: thread::JoinHandle<Result<T>>) -> Result<T> {
    thread.join().map_err(|panic| anyhow!("{panic:?}"))?
}

#[test]
fn a_network_loaded_beside_another_disturbs_none_of_its_frames_and_the_last_one_frees_the_gpu()
-> Result<()> {
    let bytes = seeded::image_bytes(256, 512);
    let image = ImageView::from_rgb8(512, 256, &bytes)?;
    let classes = |swap: usize| 5 + swap % 3;
    let mut expected = Vec::new();
    for swap in 0..3 {
        expected.push(segmenter(classes(swap))?.run(&image, false)?.mask);
    }
    ensure!(!holds_gpu()?, "a context of networks that are gone");
    let mut current = segmenter(classes(0))?;
    for swap in 0..SWAPS {
        let loaded = Arc::new(AtomicBool::new(false));
        let running = thread::spawn({
            let (current, loaded) = (Arc::clone(&current), Arc::clone(&loaded));
            let (bytes, expected) = (bytes.clone(), expected[swap % 3].clone());
            move || -> Result<usize> {
                let image = ImageView::from_rgb8(512, 256, &bytes)?;
                let mut frames = 0;
                while !loaded.load(Ordering::SeqCst) || frames < 10 {
                    ensure!(
                        current.run(&image, false)?.mask == expected,
                        "frame {frames}"
                    );
                    frames += 1;
                }
                Ok(frames)
            }
        });
        let loading = thread::spawn({
            let loaded = Arc::clone(&loaded);
            move || -> Result<_> {
                let next = segmenter(classes(swap + 1));
                loaded.store(true, Ordering::SeqCst);
                next
            }
        });
        let next = joined(loading)?;
        // The old one goes while its last frames run, and with the thread that runs them.
        current = next;
        joined(running)?;
        let mask = current.run(&image, false)?.mask;
        ensure!(mask == expected[(swap + 1) % 3], "after swap {swap}");
    }
    joined(thread::spawn(move || -> Result<()> {
        drop(current);
        Ok(())
    }))?;
    ensure!(!holds_gpu()?, "a context of networks that are gone");
    Ok(())
}
