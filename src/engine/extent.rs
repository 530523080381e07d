//! Map sizes as launches and kernels take them.

use super::driver::CudaError;

/// The longest side of a map: pixel counts of planes then fit in 32 bits.
pub(crate) const MAX_SIDE: usize = 1 << 14;

/// Returns `[h, w]` as kernels take it; errs unless both are 1 to [`MAX_SIDE`].
pub(crate) fn kernel_size(what: &'static str, size: [usize; 2]) -> Result<[i32; 2], CudaError> {
    for got in size {
        if !(1..=MAX_SIDE).contains(&got) {
            let limit = MAX_SIDE;
            return Err(CudaError::Limit { what, limit, got });
        }
    }
    Ok(size.map(|side| side as i32))
}

/// Returns the grid of tiles `[rows, columns]` that cover a map that [`kernel_size`] took.
pub(crate) fn grid_of_tiles(size: [usize; 2], tile: [usize; 2]) -> [u32; 3] {
    let tiles = |axis: usize| size[axis].div_ceil(tile[axis]) as u32;
    [tiles(1), tiles(0), 1]
}
