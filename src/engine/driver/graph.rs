//! Work recorded once and replayed as one: a CUDA graph; and events, which order streams and take times.

use cudarc::driver::sys;

use super::error::check;
use super::{CudaError, Gpu, Stream};

/// A recorded sequence of device work.
pub(crate) struct Graph {
    executable: sys::CUgraphExec,
    gpu: Gpu,
}

// SAFETY: a graph's handle may be used from any thread whose context is current.
unsafe impl Send for Graph {}

impl Graph {
    /// Records what `work` puts on the engine's stream, and on streams that wait for it, without
    /// running it. No memory may be allocated meanwhile.
    pub(crate) fn record<E: From<CudaError>>(
        gpu: &Gpu,
        work: impl FnOnce(&Stream) -> Result<(), E>,
    ) -> Result<Self, E> {
        let stream = gpu.stream();
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives and records nothing yet.
        check("cuStreamBeginCapture", unsafe {
            sys::cuStreamBeginCapture_v2(stream.handle(), mode)
        })?;
        let worked = work(&stream);
        let mut graph = std::ptr::null_mut();
        // SAFETY: the recording began above; it must end whatever `work` gave.
        let ended = check("cuStreamEndCapture", unsafe {
            sys::cuStreamEndCapture(stream.handle(), &mut graph)
        });
        worked?;
        ended?;
        let mut executable = std::ptr::null_mut();
        // SAFETY: the graph was recorded above; it is not needed once instantiated.
        let instantiated = check("cuGraphInstantiate", unsafe {
            let result = sys::cuGraphInstantiateWithFlags(&mut executable, graph, 0);
            let _ = sys::cuGraphDestroy(graph);
            result
        });
        instantiated?;
        let graph = Self {
            executable,
            gpu: gpu.clone(),
        };
        // SAFETY: the graph is instantiated. Its memory goes to the device now, not at first use.
        check("cuGraphUpload", unsafe {
            sys::cuGraphUpload(graph.executable, stream.handle())
        })?;
        Ok(graph)
    }

    /// Puts the recorded work on the engine's stream.
    pub(crate) fn launch(&self) -> Result<(), CudaError> {
        // SAFETY: the graph is instantiated, and the buffers that it uses are its owner's.
        check("cuGraphLaunch", unsafe {
            sys::cuGraphLaunch(self.executable, self.gpu.stream().handle())
        })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.gpu.bind().is_ok() {
            // SAFETY: the graph is instantiated; the driver waits for its last launch.
            unsafe {
                let _ = sys::cuGraphExecDestroy(self.executable);
            }
        }
    }
}

/// A point in a stream's work.
pub(crate) struct Event {
    event: sys::CUevent,
    gpu: Gpu,
}

// SAFETY: an event's handle may be used from any thread whose context is current.
unsafe impl Send for Event {}

impl Event {
    /// Makes an event that takes times.
    pub(crate) fn timed(gpu: &Gpu) -> Result<Self, CudaError> {
        Self::with_flags(gpu, 0)
    }

    /// Makes an event that only orders streams.
    pub(crate) fn ordering(gpu: &Gpu) -> Result<Self, CudaError> {
        Self::with_flags(gpu, sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32)
    }

    fn with_flags(gpu: &Gpu, flags: u32) -> Result<Self, CudaError> {
        let mut event = std::ptr::null_mut();
        // SAFETY: `event` outlives the call.
        check("cuEventCreate", unsafe {
            sys::cuEventCreate(&mut event, flags)
        })?;
        Ok(Self {
            event,
            gpu: gpu.clone(),
        })
    }

    /// Marks the point that `stream` has reached.
    pub(crate) fn record(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: both live.
        check("cuEventRecord", unsafe {
            sys::cuEventRecord(self.event, stream.handle())
        })
    }

    /// Lets `stream` go on only once this point is reached.
    pub(crate) fn hold(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: both live.
        check("cuStreamWaitEvent", unsafe {
            sys::cuStreamWaitEvent(stream.handle(), self.event, 0)
        })
    }

    /// Returns the milliseconds from `start` to this point, both reached.
    pub(crate) fn milliseconds_since(&self, start: &Self) -> Result<f32, CudaError> {
        let mut milliseconds = 0.0;
        // SAFETY: both live, and `milliseconds` outlives the call.
        check("cuEventElapsedTime", unsafe {
            sys::cuEventElapsedTime_v2(&mut milliseconds, start.event, self.event)
        })?;
        Ok(milliseconds)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.gpu.bind().is_ok() {
            // SAFETY: the event was created above.
            unsafe {
                let _ = sys::cuEventDestroy_v2(self.event);
            }
        }
    }
}
