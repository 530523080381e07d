//! The scan as a Candle op, on the CPU and on Candle's CUDA device.

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, bail};
#[cfg(feature = "candle-cuda")]
use candle_core::{CudaStorage, Error};

#[cfg(feature = "candle-cuda")]
use super::candle_cuda::CudaScan;
use super::{DIRECTIONS, STATES, SelectiveScan};
use crate::ops::simd::CpuPath;
use crate::ops::tensor::{Map, output};

/// [`SelectiveScan`] of a map u `[1, d, h, w]` and its projections `[1, k (r + 2 n), h, w]`, each direction's
/// dt, B and C one after the other; returns y `[1, d, h, w]`.
pub struct ScanOp {
    scan: SelectiveScan,
    #[cfg(feature = "candle-cuda")]
    cuda: Option<CudaScan>,
}

impl ScanOp {
    /// Puts the weights on `device`; errs if that is neither the CPU nor, with the feature `candle-cuda`,
    /// a CUDA device.
    pub fn new(scan: SelectiveScan, device: &Device) -> Result<Self> {
        Ok(Self {
            #[cfg(feature = "candle-cuda")]
            cuda: match device {
                Device::Cuda(device) => Some(CudaScan::new(device, &(&scan).into())?),
                _ => None,
            },
            scan: match device {
                Device::Cpu => scan,
                #[cfg(feature = "candle-cuda")]
                Device::Cuda(_) => scan,
                _ => bail!("this build's scan has no kernel for {device:?}"),
            },
        })
    }
}

impl CustomOp2 for ScanOp {
    fn name(&self) -> &'static str {
        "selective-scan"
    }

    fn cpu_fwd(
        &self,
        u: &CpuStorage,
        u_layout: &Layout,
        projected: &CpuStorage,
        projected_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let rows = DIRECTIONS * (self.scan.rank + 2 * STATES);
        let u = Map::with_channels(self.name(), u, u_layout, self.scan.channels)?;
        let projected = Map::with_channels(self.name(), projected, projected_layout, rows)?;
        if u.size != projected.size {
            bail!(
                "the scan's maps are of {:?} and {:?}",
                u.size,
                projected.size
            );
        }
        let y = on_maps(&self.scan, u.data, projected.data, u.size, CpuPath::best());
        Ok(output(y, u.channels, u.size))
    }

    #[cfg(feature = "candle-cuda")]
    fn cuda_fwd(
        &self,
        u: &CudaStorage,
        u_layout: &Layout,
        projected: &CudaStorage,
        projected_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let cuda = self.cuda.as_ref();
        let cuda = cuda.ok_or_else(|| Error::msg("the scan's weights are on the CPU"))?;
        cuda.run((u, u_layout), (projected, projected_layout))
    }
}

/// Returns y `[d, h w]` for u `[d, h w]` and `projected` `[k (r + 2 n), h w]`.
pub(crate) fn on_maps(
    scan: &SelectiveScan,
    u: &[f32],
    projected: &[f32],
    size: [usize; 2],
    path: CpuPath,
) -> Vec<f32> {
    // The scan reads all channels of a pixel at once: pixels first, channels side by side.
    let area = size[0] * size[1];
    let (u, projected) = rayon::join(|| transposed(u, area), || transposed(projected, area));
    transposed(&scan.run(&u, &projected, size, path), scan.channels)
}

/// Returns the matrix `[rows, columns]` as `[columns, rows]`.
pub(crate) fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    /// Columns that are gathered together: what one cache line of each row holds.
    const TOGETHER: usize = 16;
    let rows = matrix.len() / columns;
    let mut out = vec![0.0; matrix.len()];
    for (block, out) in out.chunks_mut(TOGETHER * rows).enumerate() {
        for (y, row) in matrix.chunks_exact(columns).enumerate() {
            for (out, value) in out.chunks_exact_mut(rows).zip(&row[block * TOGETHER..]) {
                out[y] = *value;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use super::*;

    /// Returns `n` numbers from `low` to `high`, others for another seed.
    fn values(seed: usize, n: usize, [low, high]: [f32; 2]) -> Vec<f32> {
        let unit = |i: usize| ((i * 7 + seed * 131) as f32 * 0.613).sin() * 0.5 + 0.5;
        (0..n).map(|i| low + (high - low) * unit(i)).collect()
    }

    fn equals_its_reference_on(device: &Device) -> anyhow::Result<()> {
        for (channels, rank) in [(1, 1), (37, 2), (96, 3)] {
            let scan = SelectiveScan {
                channels,
                rank,
                delta_weights: values(1, DIRECTIONS * rank * channels, [-0.6, 0.6]),
                delta_bias: values(2, DIRECTIONS * channels, [-5.0, -1.0]),
                decay: values(3, DIRECTIONS * STATES * channels, [-15.0, -0.5]),
                skip: values(4, channels, [2.0, 6.0]),
            };
            let op = ScanOp::new(scan.clone(), device)?;
            let rows = DIRECTIONS * (rank + 2 * STATES);
            for size in [[1, 1], [1, 9], [9, 1], [5, 7], [23, 30], [45, 60]] {
                let [height, width] = size;
                let area = height * width;
                let u = values(5, channels * area, [-2.0, 2.0]);
                let projected = values(6, rows * area, [-2.0, 2.0]);
                let exact =
                    scan.reference(&transposed(&u, area), &transposed(&projected, area), size);
                // As a part of a larger tensor, whose first element is not the map's.
                let two = |map: Vec<f32>, channels| {
                    let shape = (2, channels, height, width);
                    Tensor::from_vec([map.as_slice(), &map].concat(), shape, device)
                };
                let u = two(u, channels)?.narrow(0, 1, 1)?;
                let projected = two(projected, rows)?.narrow(0, 1, 1)?;
                let y = u.apply_op2_no_bwd(&projected, &op)?;
                assert_eq!(y.dims(), [1, channels, height, width]);
                let y: Vec<f32> = y.flatten_all()?.to_vec1()?;
                for (i, y) in y.into_iter().enumerate() {
                    let exact = exact[i % area * channels + i / area];
                    // States are sums of at most a few dozen live terms; |y| stays below 100. The GPU's
                    // powers of 2 are off by 2^-22 a factor.
                    let error = (f64::from(y) - exact).abs();
                    assert!(error < 2e-4, "{channels} {size:?}: {y} is not {exact}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_op_equals_its_reference_at_every_size() -> anyhow::Result<()> {
        equals_its_reference_on(&Device::Cpu)
    }

    #[cfg(feature = "candle-cuda")]
    #[test]
    fn the_op_equals_its_reference_on_candles_cuda_device() -> anyhow::Result<()> {
        equals_its_reference_on(&Device::new_cuda(0)?)
    }

    #[test]
    fn maps_of_two_sizes_and_other_channels_are_refused() -> anyhow::Result<()> {
        let scan = SelectiveScan {
            channels: 1,
            rank: 1,
            delta_weights: vec![0.0; DIRECTIONS],
            delta_bias: vec![0.0; DIRECTIONS],
            decay: vec![-1.0; DIRECTIONS * STATES],
            skip: vec![0.0],
        };
        let op = ScanOp::new(scan, &Device::Cpu)?;
        let map = |channels, height| {
            Tensor::zeros(
                (1, channels, height, 3),
                candle_core::DType::F32,
                &Device::Cpu,
            )
        };
        let rows = DIRECTIONS * (1 + 2 * STATES);
        for (u, projected) in [(map(1, 2)?, map(rows, 3)?), (map(2, 2)?, map(rows, 2)?)] {
            assert!(u.apply_op2_no_bwd(&projected, &op).is_err());
        }
        assert!(map(1, 2)?.apply_op2_no_bwd(&map(rows, 2)?, &op).is_ok());
        Ok(())
    }
}
