//! What a long run costs: no more than its first frames, however many follow and whatever their sizes.

#![allow(unsafe_code, reason = "the driver is asked for its free memory")]

mod seeded;

use std::fs;
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use cudarc::driver::sys::{self, CUresult};
use ecmnet_ros::{
    DeviceChoice, ImageView, LabelMask, NetworkSize, PixelFormat, Segmenter, SegmenterOptions,
};
use tempfile::NamedTempFile;

/// The tests take turns: the GPU's free memory is everybody's.
static TURN: Mutex<()> = Mutex::new(());

/// What use of the device may differ by from round to round: the driver hands memory out in blocks of 2 MiB,
/// and which layouts share one changes with their order. A layout that kept 4 KB would take four.
const GPU_SLACK_BYTES: usize = 2 << 20;

/// What the process may grow by on the host: a thread's arena of the allocator, or a few of its pages.
const HOST_SLACK_BYTES: usize = 2 << 20;

/// A camera with pictures of its own.
struct Camera {
    format: PixelFormat,
    width: usize,
    height: usize,
    pictures: Vec<Vec<u8>>,
}

impl Camera {
    fn new(format: PixelFormat, width: usize, height: usize, pictures: usize) -> Self {
        let first = seeded::image_bytes(height, width);
        let changed = |i: usize| {
            first
                .iter()
                .map(move |byte| byte.wrapping_add(31 * i as u8))
        };
        Self {
            format,
            width,
            height,
            pictures: (0..pictures).map(|i| changed(i).collect()).collect(),
        }
    }

    fn mask(&self, segmenter: &Segmenter, picture: usize, confidence: bool) -> Result<LabelMask> {
        let pixels = &self.pictures[picture % self.pictures.len()];
        let step = 3 * self.width;
        let view = ImageView::new(self.format, self.width, self.height, step, pixels)?;
        let result = segmenter.run(&view, confidence)?;
        ensure!(result.confidence.is_some() == confidence);
        Ok(result.mask)
    }

    /// Returns the masks of all pictures, by a segmenter that has seen no other camera's.
    fn masks(&self) -> Result<Vec<LabelMask>> {
        let segmenter = segmenter()?;
        let pictures = 0..self.pictures.len();
        pictures.map(|i| self.mask(&segmenter, i, false)).collect()
    }
}

fn segmenter() -> Result<Segmenter> {
    let file = NamedTempFile::new()?;
    fs::write(file.path(), seeded::seeded_weights("A", 11)?)?;
    let mut options = SegmenterOptions::new(file.path());
    options.device = DeviceChoice::Cuda(0);
    options.network_size = NetworkSize::Native;
    Ok(Segmenter::new(&options)?)
}

/// Memory in use: on GPU 0, by anyone, and on the host, by this process.
#[derive(Clone, Copy, Debug)]
struct Used {
    gpu_bytes: usize,
    host_bytes: usize,
}

impl Used {
    fn now() -> Result<Self> {
        let (mut context, mut free, mut total) = (null_mut(), 0, 0);
        // SAFETY: the pointers outlive the calls; device 0 is there, since a segmenter is on it.
        let result = unsafe {
            sys::cuDevicePrimaryCtxRetain(&mut context, 0);
            sys::cuCtxSetCurrent(context);
            let result = sys::cuMemGetInfo_v2(&mut free, &mut total);
            sys::cuDevicePrimaryCtxRelease_v2(0);
            result
        };
        ensure!(result == CUresult::CUDA_SUCCESS, "{result:?}");
        let status = fs::read_to_string("/proc/self/status")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = resident.and_then(|text| text.trim().strip_suffix(" kB"));
        Ok(Self {
            gpu_bytes: total - free,
            host_bytes: kilobytes.context("no VmRSS")?.parse::<usize>()? << 10,
        })
    }

    /// Returns the least that was in use of each, of several times.
    fn least(times: &[Self]) -> Result<Self> {
        let gpu_bytes = times.iter().map(|used| used.gpu_bytes).min();
        let host_bytes = times.iter().map(|used| used.host_bytes).min();
        Ok(Self {
            gpu_bytes: gpu_bytes.context("no time")?,
            host_bytes: host_bytes.context("no time")?,
        })
    }

    fn ensure_no_more_than(self, before: Self, gpu_slack: usize, frames: usize) -> Result<()> {
        ensure!(
            self.gpu_bytes <= before.gpu_bytes + gpu_slack
                && self.host_bytes <= before.host_bytes + HOST_SLACK_BYTES,
            "{before:?} became {self:?} in {frames} frames"
        );
        Ok(())
    }
}

#[test]
fn ten_thousand_frames_of_two_cameras_take_no_memory_and_mix_no_masks() -> Result<()> {
    const FRAMES: usize = 10_000;
    const WARM_UP: usize = 200;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let cameras = [
        Camera::new(PixelFormat::Rgb8, 480, 360, 4),
        Camera::new(PixelFormat::Bgr8, 322, 241, 5),
    ];
    let want = [cameras[0].masks()?, cameras[1].masks()?];
    let segmenter = segmenter()?;
    let mut used = None;
    for frame in 0..WARM_UP + FRAMES {
        if frame == WARM_UP {
            used = Some(Used::now()?);
        }
        let (camera, picture) = (frame % 2, frame / 2);
        let got = cameras[camera].mask(&segmenter, picture, frame % 6 < 2)?;
        let want = &want[camera];
        ensure!(
            got == want[picture % want.len()],
            "frame {frame} has another mask than camera {camera} alone gives"
        );
    }
    let used = used.context("not measured")?;
    Used::now()?.ensure_no_more_than(used, 0, FRAMES)
}

#[test]
fn sizes_that_never_stop_changing_take_no_memory_and_get_their_masks() -> Result<()> {
    // More than the engine keeps, so that each is made anew in each round.
    const SIZES: [[usize; 2]; 7] = [
        [64, 48],
        [480, 360],
        [1, 1],
        [333, 77],
        [640, 352],
        [31, 200],
        [1024, 512],
    ];
    const ROUNDS: usize = 300;
    const WARM_UP: usize = 10;
    const WINDOW: usize = 30;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let cameras = SIZES.map(|[width, height]| Camera::new(PixelFormat::Rgb8, width, height, 1));
    let want = (cameras.iter().map(Camera::masks)).collect::<Result<Vec<_>>>()?;
    let segmenter = segmenter()?;
    let mut used = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        for (camera, want) in cameras.iter().zip(&want) {
            let got = camera.mask(&segmenter, 0, false)?;
            ensure!(
                got == want[0],
                "round {round}: {}x{}",
                camera.width,
                camera.height
            );
        }
        used.push(Used::now()?);
    }
    let first = Used::least(&used[WARM_UP..WARM_UP + WINDOW])?;
    let last = Used::least(&used[ROUNDS - WINDOW..])?;
    last.ensure_no_more_than(first, GPU_SLACK_BYTES, ROUNDS * SIZES.len())
}

#[test]
fn two_threads_with_a_camera_each_get_their_own_masks_from_one_engine() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let cameras = [
        Camera::new(PixelFormat::Rgb8, 480, 360, 3),
        Camera::new(PixelFormat::Rgb8, 200, 120, 3),
    ];
    let segmenter = segmenter()?;
    let watch = |camera: &Camera| -> Result<()> {
        let want = camera.masks()?;
        for frame in 0..300 {
            let got = camera.mask(&segmenter, frame, false)?;
            ensure!(got == want[frame % want.len()], "frame {frame}");
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads = cameras
            .each_ref()
            .map(|camera| scope.spawn(|| watch(camera)));
        threads.into_iter().try_for_each(|thread| {
            let watched = thread.join();
            watched.map_err(|_panic| anyhow!("a camera's thread panicked"))?
        })
    })
}
