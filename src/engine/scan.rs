//! The selective scan of SS2D on the device (`kernels/scan.cu`), for f16 and f32 maps.

use super::driver::{Buffer, CudaError, Element, Gpu, Kernel, Launch, Stream};
use crate::ops::DIRECTIONS;
use crate::ops::scan_kernel::{MAX_LENGTH, MAX_RANK, MAX_STATES, Params, THREADS, Variant, grid};
pub(crate) use crate::ops::scan_kernel::{ScanElement, ScanWeights, pitch};

/// The scan of one layer: weights on the device, and its kernels.
pub(crate) struct Scan<T> {
    channels: usize,
    rank: usize,
    states: usize,
    delta_weights: Buffer<f32>,
    delta_bias: Buffer<f32>,
    decay: Buffer<f32>,
    skip: Buffer<f32>,
    kernels: Vec<(Variant, Kernel)>,
    shared_limit: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: ScanElement + Element> Scan<T> {
    /// Puts the weights on the device.
    ///
    /// Errs if they have more than 64 states or a rank of more than 4, or are of uneven lengths.
    pub(crate) fn new(gpu: &Gpu, weights: &ScanWeights) -> Result<Self, CudaError> {
        let &ScanWeights {
            channels: d,
            rank,
            states,
            ..
        } = weights;
        within("the scan's channels", 1 << 16, d)?;
        within("the rank of the scan's delta", MAX_RANK, rank)?;
        within("the scan's states", MAX_STATES, states)?;
        for (what, got, expected) in weights.lengths() {
            if got != expected {
                return Err(CudaError::Size {
                    what,
                    expected,
                    got,
                });
            }
        }
        let kernels = T::VARIANTS
            .iter()
            .map(|variant| Ok((*variant, gpu.kernel("scan", variant.name)?)))
            .collect::<Result<_, CudaError>>()?;
        Ok(Self {
            channels: d,
            rank,
            states,
            delta_weights: Buffer::from_slice(gpu, &weights.delta_weights)?,
            delta_bias: Buffer::from_slice(gpu, &weights.delta_bias)?,
            decay: Buffer::from_slice(gpu, &weights.decay_base_2())?,
            skip: Buffer::from_slice(gpu, &weights.skip)?,
            kernels,
            shared_limit: gpu.shared_memory_bytes() as usize,
            element: std::marker::PhantomData,
        })
    }

    /// Returns the rows of `projected`: dt, B and C of the four directions.
    pub(crate) fn projected_rows(&self) -> usize {
        DIRECTIONS * (self.rank + 2 * self.states)
    }

    /// Scans u `[2, d, pitch]`, by rows and by columns, as `projected` `[4 (r + 2 n), pitch]` steers it, into
    /// y `[4, d, pitch]`: all in the directions' own orders, see `kernels/scan.cu`.
    ///
    /// Errs if a buffer is too small for `length` pixels, or these are none or more than 65,536.
    pub(crate) fn launch(
        &self,
        stream: &Stream,
        [u, projected, y]: [&Buffer<T>; 3],
        length: usize,
    ) -> Result<(), CudaError> {
        let pitch = pitch(length);
        within("the scan's length", MAX_LENGTH, length)?;
        u.check_len("the scan's u", 2 * self.channels * pitch)?;
        projected.check_len("the scan's projections", self.projected_rows() * pitch)?;
        y.check_len("the scan's y", DIRECTIONS * self.channels * pitch)?;
        let (kernel, shared_bytes) = self.plan(length)?;
        let parameters = Params {
            u: u.address(),
            projected: projected.address(),
            delta_weights: self.delta_weights.address(),
            delta_bias: self.delta_bias.address(),
            decay: self.decay.address(),
            skip: self.skip.address(),
            y: y.address(),
            length: length as i32,
            pitch: pitch as i32,
            channels: self.channels as i32,
            rank: self.rank as i32,
            states: self.states as i32,
        };
        let grid = grid(self.channels);
        let launch = Launch::new(grid, THREADS as u32, shared_bytes as u32);
        // SAFETY: Params is the kernel's; every buffer has the length that the kernel reads or writes.
        unsafe { kernel.launch(stream, &launch, &parameters) }
    }

    /// Returns the kernel for maps of `length` and its shared memory: the first variant that fits both.
    fn plan(&self, length: usize) -> Result<(Kernel, usize), CudaError> {
        let mut kernels = self.kernels.iter();
        let chosen = kernels.find(|(variant, _)| variant.suits(length, self.shared_limit));
        chosen
            .map(|(variant, kernel)| (*kernel, variant.shared_bytes()))
            .ok_or_else(|| CudaError::Limit {
                what: "the scan's shared memory in bytes",
                limit: self.shared_limit,
                got: T::VARIANTS
                    .iter()
                    .map(Variant::shared_bytes)
                    .min()
                    .unwrap_or(0),
            })
    }
}

/// Errs unless `got` is at least 1 and at most `limit`.
fn within(what: &'static str, limit: usize, got: usize) -> Result<(), CudaError> {
    match got {
        0 => Err(CudaError::Size {
            what,
            expected: 1,
            got,
        }),
        _ if got > limit => Err(CudaError::Limit { what, limit, got }),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests;
