//! Device time of recorded work, for the kernels' own benches.

use super::driver::{CudaError, Event, Gpu, Graph};

/// Replays before the measured ones.
const WARM_UP: usize = 20;

/// Measured replays.
const REPLAYS: usize = 101;

/// Returns the median microseconds of one of the `count` like pieces that `graph` holds.
pub(crate) fn microseconds_each(gpu: &Gpu, graph: &Graph, count: usize) -> Result<f32, CudaError> {
    let stream = gpu.stream();
    let [start, end] = [Event::timed(gpu)?, Event::timed(gpu)?];
    let mut times = Vec::with_capacity(REPLAYS);
    for replay in 0..WARM_UP + REPLAYS {
        start.record(&stream)?;
        graph.launch()?;
        end.record(&stream)?;
        stream.synchronise()?;
        if replay >= WARM_UP {
            times.push(end.milliseconds_since(&start)? * 1e3 / count as f32);
        }
    }
    times.sort_by(f32::total_cmp);
    Ok(times[REPLAYS / 2])
}
