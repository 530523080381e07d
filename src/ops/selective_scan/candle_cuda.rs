//! The scan on Candle's CUDA device: `kernels/scan.cu`, the engine's own kernel, in f32.

#![allow(
    unsafe_code,
    reason = "a kernel takes raw addresses; its launch says why they are sound"
)]

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::cuda_backend::cudarc::driver::sys::CUfunction_attribute as F;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, DevicePtr, DevicePtrMut, DeviceRepr, DriverError, LaunchConfig,
    PushKernelArg,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::op::Add;
use candle_core::{CudaDevice, CudaStorage, DType, Error, Layout, Result, Shape, bail};

use super::DIRECTIONS;
use super::kernel::{
    MAX_LENGTH, MAX_RANK, Params, ScanElement, ScanWeights, THREADS, Variant, grid, pitch,
};

static FATBIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/scan.fatbin"));

/// The scan's weights on a device of Candle's, and its kernel.
pub(super) struct CudaScan {
    channels: usize,
    rank: usize,
    states: usize,
    delta_weights: CudaSlice<f32>,
    delta_bias: CudaSlice<f32>,
    decay: CudaSlice<f32>,
    skip: CudaSlice<f32>,
    kernel: CudaFunction,
    shared_bytes: u32,
}

// SAFETY: the kernel's argument as `kernels/scan.cu` declares it, of plain numbers.
unsafe impl DeviceRepr for Params {}

impl CudaScan {
    /// Loads the kernel and puts the weights on the device.
    ///
    /// Errs if the device does not take them, they are of uneven lengths, or have a rank of more than 4.
    pub(super) fn new(device: &CudaDevice, weights: &ScanWeights) -> Result<Self> {
        if weights.rank > MAX_RANK {
            bail!(
                "the rank of the scan's delta is at most {MAX_RANK}, got {}",
                weights.rank
            );
        }
        for (what, got, expected) in weights.lengths() {
            if got != expected {
                bail!("{what} has {got} values, but {expected} are needed");
            }
        }
        let variant = <f32 as ScanElement>::VARIANTS.last();
        let variant = variant.ok_or_else(|| Error::msg("no kernel for f32"))?;
        let (kernel, shared_bytes) = loaded(device, variant).map_err(Error::wrap)?;
        Ok(Self {
            channels: weights.channels,
            rank: weights.rank,
            states: weights.states,
            delta_weights: device.clone_htod(&weights.delta_weights)?,
            delta_bias: device.clone_htod(&weights.delta_bias)?,
            decay: device.clone_htod(&weights.decay_base_2())?,
            skip: device.clone_htod(&weights.skip)?,
            kernel,
            shared_bytes,
        })
    }

    /// Returns y `[1, d, h, w]` for u of that shape and `projected` `[1, k (r + 2 n), h, w]`.
    ///
    /// Errs if a shape or dtype is another, or there are more than 65,536 pixels.
    pub(super) fn run(
        &self,
        (u, u_layout): (&CudaStorage, &Layout),
        (projected, projected_layout): (&CudaStorage, &Layout),
    ) -> Result<(CudaStorage, Shape)> {
        let (_, _, height, width) = u_layout.shape().dims4()?;
        let (d, size, length) = (self.channels, [height, width], height * width);
        let rows = self.rank + 2 * self.states;
        for (layout, channels) in [(u_layout, d), (projected_layout, DIRECTIONS * rows)] {
            let expected = [1, channels, height, width];
            if layout.dims() != expected || !layout.is_contiguous() {
                bail!("the scan takes a contiguous {expected:?}, got {layout:?}");
            }
        }
        if !(1..=MAX_LENGTH).contains(&length) {
            bail!("the scan takes 1 to {MAX_LENGTH} pixels, got {length}");
        }
        let (device, pitch) = (u.device(), pitch(length));
        let zeros = |rows: usize| device.zeros_impl(&Shape::from(rows * pitch), DType::F32);

        // Each direction's rows in the order of its way forwards; u serves two directions each way.
        let mut u_ways = zeros(2 * d)?;
        for way in 0..2 {
            let from = u_layout.start_offset();
            put_way((u, from), size, way, d, (&mut u_ways, way * d * pitch))?;
        }
        let mut projected_ways = zeros(DIRECTIONS * rows)?;
        for k in 0..DIRECTIONS {
            let from = projected_layout.start_offset() + k * rows * length;
            let to = (&mut projected_ways, k * rows * pitch);
            put_way((projected, from), size, k, rows, to)?;
        }
        let mut y = zeros(DIRECTIONS * d)?;
        self.launch(&u_ways, &projected_ways, &mut y, length)?;

        let of_direction = |k: usize| {
            let by_rows = k.is_multiple_of(2);
            let [down, right] = if by_rows { [width, 1] } else { [1, height] };
            Layout::new(
                (d, height, width).into(),
                vec![pitch, down, right],
                k * d * pitch,
            )
        };
        let sum = |a, b| y.binary_impl::<Add>(&y, &of_direction(a), &of_direction(b));
        let whole = Layout::contiguous((d, height, width));
        let y = sum(0, 2)?.binary_impl::<Add>(&sum(1, 3)?, &whole, &whole)?;
        Ok((y, u_layout.shape().clone()))
    }

    fn launch(
        &self,
        u: &CudaStorage,
        projected: &CudaStorage,
        y: &mut CudaStorage,
        length: usize,
    ) -> Result<()> {
        let stream = u.device().cuda_stream();
        let (u, _read_u) = u.as_cuda_slice::<f32>()?.device_ptr(&stream);
        let (projected, _read_projected) = projected.as_cuda_slice::<f32>()?.device_ptr(&stream);
        let (y, _write_y) = y.as_cuda_slice_mut::<f32>()?.device_ptr_mut(&stream);
        let parameters = Params {
            u,
            projected,
            delta_weights: self.delta_weights.device_ptr(&stream).0,
            delta_bias: self.delta_bias.device_ptr(&stream).0,
            decay: self.decay.device_ptr(&stream).0,
            skip: self.skip.device_ptr(&stream).0,
            y,
            length: length as i32,
            pitch: pitch(length) as i32,
            channels: self.channels as i32,
            rank: self.rank as i32,
            states: self.states as i32,
        };
        let config = LaunchConfig {
            grid_dim: grid(self.channels).into(),
            block_dim: (THREADS as u32, 1, 1),
            shared_mem_bytes: self.shared_bytes,
        };
        let mut launch = stream.launch_builder(&self.kernel);
        launch.arg(&parameters);
        // SAFETY: Params is the kernel's; u, projected and y have the rows of `pitch` that `run` gave
        // them, the weights those of `ScanWeights`.
        unsafe { launch.launch(config) }.map_err(Error::wrap)?;
        Ok(())
    }
}

fn loaded(
    device: &CudaDevice,
    variant: &Variant,
) -> std::result::Result<(CudaFunction, u32), DriverError> {
    let stream = device.cuda_stream();
    let module = stream
        .context()
        .load_module(Ptx::from_binary(FATBIN.to_vec()))?;
    let kernel = module.load_function(variant.name)?;
    let bytes = variant.shared_bytes() as i32;
    kernel.set_attribute(F::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes)?;
    Ok((kernel, variant.shared_bytes() as u32))
}

/// Copies `rows` channels of a map to rows of the scan's pitch, row by row of the map for an even `way`,
/// column by column for an odd one. Each storage comes with the place that its first element has in it.
fn put_way(
    (map, from): (&CudaStorage, usize),
    [height, width]: [usize; 2],
    way: usize,
    rows: usize,
    (to, at): (&mut CudaStorage, usize),
) -> Result<()> {
    let (length, pitch) = (height * width, pitch(height * width));
    if way.is_multiple_of(2) {
        return map.copy2d(to, rows, length, length, pitch, from, at);
    }
    let shape = Shape::from((rows, width, height));
    let mut columns = map.device().zeros_impl(&shape, DType::F32)?;
    let turned = Layout::new(shape, vec![length, 1, width], from);
    map.copy_strided_src(&mut columns, 0, &turned)?;
    columns.copy2d(to, rows, length, length, pitch, 0, at)
}
