//! Device memory, and host memory that the device reads and writes at full speed.

use std::marker::PhantomData;
use std::ops::Range;

use cudarc::driver::sys::{self, CUresult};
use half::f16;

use super::error::check;
use super::{CudaError, Gpu, Stream};

/// A number type that may be copied to the device and back: any bytes are a value of it.
pub(crate) trait Element: Copy + Default + 'static {}
impl Element for u8 {}
impl Element for i32 {}
impl Element for u32 {}
impl Element for u64 {}
impl Element for f16 {}
impl Element for f32 {}

/// Elements in device memory, freed on drop.
pub(crate) struct Buffer<T> {
    pointer: sys::CUdeviceptr,
    len: usize,
    gpu: Gpu,
    element: PhantomData<T>,
}

impl<T: Element> Buffer<T> {
    /// Allocates `len` elements of no particular value.
    pub(crate) fn new(gpu: &Gpu, len: usize) -> Result<Self, CudaError> {
        let bytes = len * size_of::<T>();
        let mut pointer = 0;
        // The driver refuses empty allocations.
        // SAFETY: `pointer` outlives the call.
        match unsafe { sys::cuMemAlloc_v2(&mut pointer, bytes.max(1)) } {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => return Err(CudaError::OutOfMemory { bytes }),
            result => check("cuMemAlloc", result)?,
        }
        #[cfg(test)]
        gpu.unwritten().insert(pointer, bytes);
        Ok(Self {
            pointer,
            len,
            gpu: gpu.clone(),
            element: PhantomData,
        })
    }

    /// Allocates a copy of `values`; it is there when this returns.
    pub(crate) fn from_slice(gpu: &Gpu, values: &[T]) -> Result<Self, CudaError> {
        let buffer = Self::new(gpu, values.len())?;
        // A plain copy from pageable memory may return before the device has it.
        // SAFETY: `values` has as many bytes as the buffer, and outlives the copy, which is waited for.
        check("cuMemcpyHtoDAsync", unsafe {
            sys::cuMemcpyHtoDAsync_v2(
                buffer.pointer,
                values.as_ptr().cast(),
                size_of_val(values),
                gpu.stream().handle(),
            )
        })?;
        gpu.stream().synchronise()?;
        #[cfg(test)]
        gpu.unwritten().remove(&buffer.pointer);
        Ok(buffer)
    }

    /// Returns the elements once all work on the engine's stream is done.
    #[cfg(test)]
    pub(crate) fn to_vec(&self) -> Result<Vec<T>, CudaError> {
        self.gpu.stream().synchronise()?;
        let mut values = vec![T::default(); self.len];
        // SAFETY: `values` has as many bytes as the buffer, and any bytes are a value of T.
        check("cuMemcpyDtoH", unsafe {
            sys::cuMemcpyDtoH_v2(
                values.as_mut_ptr().cast(),
                self.pointer,
                self.len * size_of::<T>(),
            )
        })?;
        Ok(values)
    }

    /// Sets every byte, in the order of `stream`.
    #[cfg(test)]
    pub(crate) fn fill_bytes(&self, byte: u8, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: the buffer has that many bytes.
        check("cuMemsetD8Async", unsafe {
            sys::cuMemsetD8Async(
                self.pointer,
                byte,
                self.len * size_of::<T>(),
                stream.handle(),
            )
        })
    }

    /// Copies `host`'s first `len` elements here, in the order of `stream`.
    #[cfg(test)]
    pub(crate) fn copy_from(
        &self,
        host: &PinnedBuffer<T>,
        len: usize,
        stream: &Stream,
    ) -> Result<(), CudaError> {
        self.copy_range_from(host, 0..len, stream)
    }

    /// Copies the elements of `host` in `range` to the same places here, in the order of `stream`.
    pub(crate) fn copy_range_from(
        &self,
        host: &PinnedBuffer<T>,
        range: Range<usize>,
        stream: &Stream,
    ) -> Result<(), CudaError> {
        self.check_len("a copy to the device", range.end)?;
        host.check_len(range.end)?;
        let (from, len) = (range.start * size_of::<T>(), range.len() * size_of::<T>());
        // SAFETY: both have at least `range.end` elements; the host's is pinned and outlives the
        // stream's work, since its owner waits for the stream before it drops it.
        check("cuMemcpyHtoDAsync", unsafe {
            sys::cuMemcpyHtoDAsync_v2(
                self.pointer + from as u64,
                host.pointer.cast::<u8>().add(from).cast(),
                len,
                stream.handle(),
            )
        })
    }

    /// Copies the first `len` elements to `host`, in the order of `stream`.
    pub(crate) fn copy_to(
        &self,
        host: &PinnedBuffer<T>,
        len: usize,
        stream: &Stream,
    ) -> Result<(), CudaError> {
        self.check_len("a copy from the device", len)?;
        host.check_len(len)?;
        // SAFETY: as for `copy_from`.
        check("cuMemcpyDtoHAsync", unsafe {
            sys::cuMemcpyDtoHAsync_v2(
                host.pointer.cast(),
                self.pointer,
                len * size_of::<T>(),
                stream.handle(),
            )
        })
    }

    /// Errs unless the buffer has at least `needed` elements.
    pub(crate) fn check_len(&self, what: &'static str, needed: usize) -> Result<(), CudaError> {
        if self.len < needed {
            return Err(CudaError::Size {
                what,
                expected: needed,
                got: self.len,
            });
        }
        Ok(())
    }

    /// Returns the device address, for a kernel's parameters.
    pub(crate) fn address(&self) -> u64 {
        self.pointer
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        #[cfg(test)]
        self.gpu.unwritten().remove(&self.pointer);
        if self.gpu.bind().is_ok() {
            // SAFETY: the pointer came from cuMemAlloc; the driver waits for work that uses it.
            unsafe {
                let _ = sys::cuMemFree_v2(self.pointer);
            }
        }
    }
}

/// Elements in host memory that the device reaches directly; cached, so the CPU reads it fast too.
pub(crate) struct PinnedBuffer<T> {
    pointer: *mut T,
    len: usize,
    gpu: Gpu,
}

// SAFETY: the memory is owned alone, and `T` is plain numbers.
unsafe impl<T: Element> Send for PinnedBuffer<T> {}

impl<T: Element> PinnedBuffer<T> {
    /// Allocates `len` zeros.
    pub(crate) fn new(gpu: &Gpu, len: usize) -> Result<Self, CudaError> {
        let bytes = (len * size_of::<T>()).max(1);
        let mut pointer = std::ptr::null_mut();
        // SAFETY: `pointer` outlives the call. No flags: write-combined memory is slow to read.
        check("cuMemHostAlloc", unsafe {
            sys::cuMemHostAlloc(&mut pointer, bytes, 0)
        })?;
        // SAFETY: the driver allocated `bytes` bytes.
        unsafe { std::ptr::write_bytes(pointer.cast::<u8>(), 0, bytes) };
        Ok(Self {
            pointer: pointer.cast(),
            len,
            gpu: gpu.clone(),
        })
    }

    /// Returns the elements. The caller has waited for copies to them.
    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: `len` initialised elements, any bytes being a value of T.
        unsafe { std::slice::from_raw_parts(self.pointer, self.len) }
    }

    /// Returns the elements to write. The caller has waited for copies from them.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.len) }
    }

    fn check_len(&self, needed: usize) -> Result<(), CudaError> {
        if self.len < needed {
            return Err(CudaError::Size {
                what: "a pinned buffer",
                expected: needed,
                got: self.len,
            });
        }
        Ok(())
    }
}

impl<T> Drop for PinnedBuffer<T> {
    fn drop(&mut self) {
        if self.gpu.bind().is_ok() {
            // SAFETY: the pointer came from cuMemHostAlloc.
            unsafe {
                let _ = sys::cuMemFreeHost(self.pointer.cast());
            }
        }
    }
}
