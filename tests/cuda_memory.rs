//! A GPU whose memory is taken by others. A target of its own, since it takes all that there is.

#![allow(unsafe_code, reason = "the driver is called to take memory away")]

mod seeded;

use std::ptr::null_mut;

use anyhow::{Result, ensure};
use cudarc::driver::sys::{self, CUresult};
use ecmnet_ros::engine::CudaError;
use ecmnet_ros::segmenter::DeviceChoice;
use ecmnet_ros::{Error, ImageView, NetworkSize, Segmenter, SegmenterOptions};
use tempfile::NamedTempFile;

/// All memory of GPU 0 that nobody else has, until it is dropped.
struct Hog(Vec<sys::CUdeviceptr>);

impl Hog {
    fn new() -> Result<Self> {
        let mut context = null_mut();
        // SAFETY: the pointer outlives the calls; device 0 is there, since a segmenter is on it.
        let result = unsafe {
            sys::cuInit(0);
            sys::cuDevicePrimaryCtxRetain(&mut context, 0);
            sys::cuCtxSetCurrent(context)
        };
        ensure!(result == CUresult::CUDA_SUCCESS, "{result:?}");
        let mut taken = Vec::new();
        let mut bytes = 8_usize << 30;
        while bytes >= 1 << 20 {
            let mut pointer = 0;
            // SAFETY: the pointer outlives the call.
            match unsafe { sys::cuMemAlloc_v2(&mut pointer, bytes) } {
                CUresult::CUDA_SUCCESS => taken.push(pointer),
                _ => bytes /= 2,
            }
        }
        Ok(Self(taken))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        for pointer in &self.0 {
            // SAFETY: the pointer came from cuMemAlloc.
            unsafe {
                sys::cuMemFree_v2(*pointer);
            }
        }
    }
}

fn segmenter() -> Result<Segmenter> {
    let file = NamedTempFile::new()?;
    std::fs::write(file.path(), seeded::seeded_weights("A", 11)?)?;
    let mut options = SegmenterOptions::new(file.path());
    options.device = DeviceChoice::Cuda(0);
    options.network_size = NetworkSize::Native;
    Ok(Segmenter::new(&options)?)
}

#[test]
fn the_engine_gives_its_own_memory_back_once_and_the_second_time_only_a_new_one_goes_on()
-> Result<()> {
    let bytes = seeded::image_bytes(1024, 1024);
    let large = ImageView::from_rgb8(1024, 1024, &bytes)?;
    let small = ImageView::from_rgb8(512, 256, &bytes)?;
    let other = ImageView::from_rgb8(256, 512, &bytes)?;
    let want = segmenter()?.run(&small, false)?.mask;
    let segmenter = segmenter()?;
    segmenter.run(&large, false)?;
    let hog = Hog::new()?;
    // The large image's buffers must go for this one's.
    assert_eq!(segmenter.run(&small, false)?.mask, want);
    drop(hog);
    segmenter.run(&large, false)?;
    let hog = Hog::new()?;
    // They would do once more.
    match segmenter.run(&other, false) {
        Err(error @ Error::Cuda(CudaError::Exhausted)) => assert!(error.is_device_lost()),
        other => panic!("{:?}", other.map(|_| "a mask")),
    }
    // What has its buffers still gets a mask of its own.
    assert_eq!(segmenter.run(&small, false)?.mask, want);
    drop((hog, segmenter));
    let segmenter = self::segmenter()?;
    segmenter.run(&other, false)?;
    assert_eq!(segmenter.run(&small, false)?.mask, want);
    Ok(())
}
