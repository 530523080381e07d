//! The CUDA driver, as far as the engine needs it: one device, its kernels, memory, launches, graphs.
//!
//! The driver library is opened at run time, so a program with the engine starts on machines without
//! one. Everything here belongs to the thread that calls [`Gpu::open`] first on it; other threads call
//! [`Gpu::bind`] before they use it.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::Arc;
#[cfg(test)]
use std::sync::{Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys::{self, CUdevice_attribute, CUresult};

mod error;
mod graph;
mod launch;
mod memory;
mod staging;

pub use error::CudaError;
pub(crate) use graph::{Event, Graph};
pub(crate) use launch::{Kernel, Launch, MAX_GRID_ROWS, Stream};
pub(crate) use memory::{Buffer, Element, PinnedBuffer};
pub(crate) use staging::copy_past_caches;

use super::survey::GpuDescription;
use error::check;
use launch::Multiprocessors;

include!(concat!(env!("OUT_DIR"), "/fatbins.rs"));

/// What the engine may use of a device; the defaults are all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GpuLimits {
    /// Most bytes of shared memory that a block takes, below the card's own limit.
    pub shared_memory_bytes: Option<u32>,
    /// Most blocks of a cluster, below the card's own limit; 0 for no clusters.
    pub cluster_blocks: Option<u32>,
    /// Whether a kernel starts only when the one before it has ended, on one stream: slower, and the
    /// same bits.
    pub no_overlap: bool,
}

/// Streams for work beside the engine's own.
const SIDE_STREAMS: usize = 3;

/// An open CUDA device with this build's kernels.
#[derive(Clone)]
pub(crate) struct Gpu(Arc<Device>);

struct Device {
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    side_streams: [sys::CUstream; SIDE_STREAMS],
    modules: BTreeMap<&'static str, sys::CUmodule>,
    name: String,
    multiprocessors: Multiprocessors,
    shared_memory_bytes: u32,
    cluster_blocks: u32,
    has_overlap: bool,
    /// Addresses and bytes of buffers that were given no values, for [`Gpu::poison`].
    #[cfg(test)]
    unwritten: Mutex<BTreeMap<sys::CUdeviceptr, usize>>,
}

// SAFETY: the driver's handles may be used from any thread whose current context is theirs, which
// `Gpu::bind` sees to; nothing else here is shared mutably.
unsafe impl Send for Device {}
// SAFETY: as above; the driver serialises calls on one stream.
unsafe impl Sync for Device {}

impl Gpu {
    /// Opens the device of this number and loads the kernels.
    ///
    /// Errs if there is no driver, no such device, or no kernel for its architecture.
    pub(crate) fn open(index: usize, limits: GpuLimits) -> Result<Self, CudaError> {
        let device = device_at(index)?;
        let mut context = std::ptr::null_mut();
        // SAFETY: `device` is a device of the driver and `context` outlives the call.
        check("cuDevicePrimaryCtxRetain", unsafe {
            sys::cuDevicePrimaryCtxRetain(&mut context, device)
        })?;
        let attribute = |attribute| attribute_of(device, attribute);
        use CUdevice_attribute as A;
        let compute_capability = [
            attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ];
        let optin = attribute(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let mut open = Device {
            device,
            context,
            stream: std::ptr::null_mut(),
            side_streams: [std::ptr::null_mut(); SIDE_STREAMS],
            modules: BTreeMap::new(),
            name: device_name(device)?,
            multiprocessors: Multiprocessors {
                count: attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
                shared_bytes: attribute(
                    A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR,
                )?,
            },
            shared_memory_bytes: limits.shared_memory_bytes.map_or(optin, |l| l.min(optin)),
            cluster_blocks: if compute_capability[0] < 9 {
                0
            } else {
                limits.cluster_blocks.unwrap_or(u32::MAX)
            },
            has_overlap: !limits.no_overlap,
            #[cfg(test)]
            unwritten: Mutex::default(),
        };
        // SAFETY: the context was retained above.
        check("cuCtxSetCurrent", unsafe {
            sys::cuCtxSetCurrent(open.context)
        })?;
        open.stream = launch::new_stream()?;
        for stream in &mut open.side_streams {
            *stream = launch::new_stream()?;
        }
        for &(name, fatbin) in FATBINS {
            let mut module = std::ptr::null_mut();
            // SAFETY: the bytes are a fatbin that nvcc made, and `module` outlives the call.
            let result = unsafe { sys::cuModuleLoadData(&mut module, fatbin.as_ptr().cast()) };
            if result == CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU {
                let [major, minor] = compute_capability;
                return Err(CudaError::Architecture { major, minor });
            }
            check("cuModuleLoadData", result)?;
            open.modules.insert(name, module);
        }
        Ok(Self(Arc::new(open)))
    }

    /// Makes the device current on the calling thread.
    pub(crate) fn bind(&self) -> Result<(), CudaError> {
        // SAFETY: the context lives as long as `self`.
        check("cuCtxSetCurrent", unsafe {
            sys::cuCtxSetCurrent(self.0.context)
        })
    }

    /// Returns the kernel `name` of `kernels/<file>.cu`; errs if there is none.
    pub(crate) fn kernel(&self, file: &'static str, name: &str) -> Result<Kernel, CudaError> {
        let missing = || CudaError::NoKernel {
            file,
            name: name.to_owned(),
        };
        let module = *self.0.modules.get(file).ok_or_else(missing)?;
        let name = CString::new(name).map_err(|_nul| missing())?;
        let Device {
            shared_memory_bytes,
            multiprocessors,
            ..
        } = *self.0;
        let kernel = Kernel::new(module, &name, shared_memory_bytes, multiprocessors);
        kernel.map_err(|error| match error {
            CudaError::Call {
                code: CUresult::CUDA_ERROR_NOT_FOUND,
                ..
            } => missing(),
            error => error,
        })
    }

    /// Returns the stream that the engine works on.
    pub(crate) fn stream(&self) -> Stream {
        Stream::borrowed(self.0.stream, self.0.has_overlap)
    }

    /// Returns stream `i` of those for work beside the engine's own, which it is where nothing overlaps.
    ///
    /// # Panics
    /// If there are no more than `i`.
    pub(crate) fn side_stream(&self, i: usize) -> Stream {
        match self.0.has_overlap {
            true => Stream::borrowed(self.0.side_streams[i], true),
            false => self.stream(),
        }
    }

    /// Returns the device's name, as `NVIDIA H100 80GB HBM3`.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the number of multiprocessors.
    pub(crate) fn multiprocessors(&self) -> u32 {
        self.0.multiprocessors.count
    }

    /// Returns the most bytes of dynamic shared memory that a block may take.
    pub(crate) fn shared_memory_bytes(&self) -> u32 {
        self.0.shared_memory_bytes
    }

    /// Returns the most blocks that a cluster may have, 0 on a card without clusters; of what the card allows
    /// besides, [`Kernel::resident_clusters`] tells.
    pub(crate) fn cluster_blocks(&self) -> u32 {
        self.0.cluster_blocks
    }

    /// Returns the device's free and total memory in bytes.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> Result<[usize; 2], CudaError> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: both outlive the call.
        check("cuMemGetInfo", unsafe {
            sys::cuMemGetInfo_v2(&mut free, &mut total)
        })?;
        Ok([free, total])
    }

    /// Sets every byte of the buffers that were allocated without values, in the order of `stream`: what
    /// a kernel reads of them before another has written it is NaN.
    #[cfg(test)]
    pub(crate) fn poison(&self, stream: &Stream) -> Result<(), CudaError> {
        let unwritten = self.unwritten();
        for (pointer, bytes) in unwritten.iter() {
            // SAFETY: a buffer's drop takes it off the list before it frees that many bytes.
            check("cuMemsetD8Async", unsafe {
                sys::cuMemsetD8Async(*pointer, 0xFF, *bytes, stream.handle())
            })?;
        }
        Ok(())
    }

    #[cfg(test)]
    fn unwritten(&self) -> MutexGuard<'_, BTreeMap<sys::CUdeviceptr, usize>> {
        let unwritten = self.0.unwritten.lock();
        unwritten.unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the kernels' variable `name` in every file of them that has it.
    #[cfg(all(test, feature = "inject-faults"))]
    pub(crate) fn set_variable(&self, name: &std::ffi::CStr, value: u32) -> Result<(), CudaError> {
        for module in self.0.modules.values() {
            let (mut pointer, mut bytes) = (0, 0);
            // SAFETY: the module is loaded; all three outlive the call.
            match unsafe {
                sys::cuModuleGetGlobal_v2(&mut pointer, &mut bytes, *module, name.as_ptr())
            } {
                CUresult::CUDA_ERROR_NOT_FOUND => continue,
                result => check("cuModuleGetGlobal", result)?,
            }
            // SAFETY: the variable is a word, as the kernels declare it.
            check("cuMemsetD32Async", unsafe {
                let words = bytes / size_of::<u32>();
                sys::cuMemsetD32Async(pointer, value, words, self.0.stream)
            })?;
        }
        self.stream().synchronise()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: every buffer, graph and kernel holds the `Gpu` or is dropped with its owner before
        // it; what the driver says no longer matters here.
        unsafe {
            let _ = sys::cuCtxSetCurrent(self.context);
            let _ = sys::cuStreamSynchronize(self.stream);
            for module in self.modules.values() {
                let _ = sys::cuModuleUnload(*module);
            }
            for stream in self.side_streams.into_iter().chain([self.stream]) {
                let _ = sys::cuStreamDestroy_v2(stream);
            }
            let _ = sys::cuDevicePrimaryCtxRelease_v2(self.device);
        }
    }
}

/// Returns the number of CUDA devices; errs if there is no driver.
pub(crate) fn device_count() -> Result<usize, CudaError> {
    load_driver()?;
    let mut count = 0;
    // SAFETY: the driver is initialised and `count` outlives the call.
    check("cuDeviceGetCount", unsafe {
        sys::cuDeviceGetCount(&mut count)
    })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The CUDA version whose driver functions and machine code this build uses.
const NEEDED_CUDA: u32 = 13_000;

/// Returns what the driver tells of the device of this number, which is below [`device_count`].
pub(crate) fn describe(index: usize) -> Result<GpuDescription, CudaError> {
    use CUdevice_attribute as A;
    let device = device_at(index)?;
    let mut memory_bytes = 0;
    // SAFETY: `device` is a device of the driver and `memory_bytes` outlives the call.
    check("cuDeviceTotalMem", unsafe {
        sys::cuDeviceTotalMem_v2(&mut memory_bytes, device)
    })?;
    Ok(GpuDescription {
        name: device_name(device)?,
        compute_capability: [
            attribute_of(device, A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute_of(device, A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ],
        memory_bytes,
    })
}

/// Returns the driver's handle of a device whose number is below [`device_count`].
fn device_at(index: usize) -> Result<sys::CUdevice, CudaError> {
    let count = device_count()?;
    let ordinal = i32::try_from(index).ok().filter(|_| index < count);
    let ordinal = ordinal.ok_or(CudaError::NoDevice { index, count })?;
    let mut device = 0;
    // SAFETY: the driver is initialised and `device` outlives the call.
    check("cuDeviceGet", unsafe {
        sys::cuDeviceGet(&mut device, ordinal)
    })?;
    Ok(device)
}

fn load_driver() -> Result<(), CudaError> {
    // Candle links the driver, so that a program with it has not started without one.
    // SAFETY: opening the driver's library runs its initialisers, which is what it is for.
    #[cfg(not(feature = "candle-cuda"))]
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver);
    }
    let served = driver_version()?;
    if served < NEEDED_CUDA {
        return Err(CudaError::DriverTooOld {
            served,
            needed: NEEDED_CUDA,
        });
    }
    // SAFETY: the library is there.
    match unsafe { sys::cuInit(0) } {
        CUresult::CUDA_ERROR_NO_DEVICE => Err(CudaError::NoDevice { index: 0, count: 0 }),
        result => check("cuInit", result),
    }
}

fn driver_version() -> Result<u32, CudaError> {
    let mut version = 0;
    // SAFETY: the library is there, and this call needs no initialisation; `version` outlives it.
    check("cuDriverGetVersion", unsafe {
        sys::cuDriverGetVersion(&mut version)
    })?;
    Ok(u32::try_from(version).unwrap_or(0))
}

fn attribute_of(device: sys::CUdevice, attribute: CUdevice_attribute) -> Result<u32, CudaError> {
    let mut value = 0;
    // SAFETY: `device` is a device of the driver and `value` outlives the call.
    check("cuDeviceGetAttribute", unsafe {
        sys::cuDeviceGetAttribute(&mut value, attribute, device)
    })?;
    Ok(u32::try_from(value).unwrap_or(0))
}

fn device_name(device: sys::CUdevice) -> Result<String, CudaError> {
    let mut name = [0_u8; 256];
    // SAFETY: the driver writes at most 256 bytes, the last a zero.
    check("cuDeviceGetName", unsafe {
        sys::cuDeviceGetName(name.as_mut_ptr().cast(), 256, device)
    })?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    Ok(String::from_utf8_lossy(&name[..end]).into_owned())
}
