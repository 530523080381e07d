//! Convolutions one after the other as a Candle op, without whole maps between them.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape};

use super::conv::Conv;
use super::pipeline::{Source, out_size, run};
use super::resize::Bilinear;
use super::tensor::{Map, output};

/// Convolutions of a map `[1, c, h, w]`; as a [`CustomOp2`] the second tensor is the last one's residual.
#[derive(Debug, Clone)]
pub struct ConvChain {
    convs: Vec<Conv>,
}

impl ConvChain {
    /// Chains `convs`, at least one, each reading as many channels as the one before writes.
    ///
    /// # Panics
    /// If they do not fit each other.
    pub fn new(convs: Vec<Conv>) -> Self {
        assert!(!convs.is_empty());
        for pair in convs.windows(2) {
            assert_eq!(
                pair[0].geometry().out_channels,
                pair[1].geometry().in_channels
            );
        }
        Self { convs }
    }

    /// Returns the convolutions in order.
    pub fn convs(&self) -> &[Conv] {
        &self.convs
    }

    /// Returns the op that first resizes its map bilinearly to `[h, w]`.
    pub fn after_resize(&self, size: [usize; 2]) -> ResizedConvChain<'_> {
        ResizedConvChain { chain: self, size }
    }

    fn apply(
        &self,
        map: Map<'_>,
        source: &Source<'_>,
        size: [usize; 2],
        residual: Option<Map<'_>>,
    ) -> Result<(CpuStorage, Shape)> {
        let (first, last) = (
            self.convs[0].geometry(),
            self.convs[self.convs.len() - 1].geometry(),
        );
        let size = out_size(&self.convs, size);
        if map.channels != first.in_channels {
            candle_core::bail!(
                "the convolution takes {} channels, got {}",
                first.in_channels,
                map.channels
            );
        }
        if let Some(residual) = residual
            && (residual.channels != last.out_channels || residual.size != size)
        {
            candle_core::bail!(
                "the convolution makes {} channels of {size:?}, but what is added has {} of {:?}",
                last.out_channels,
                residual.channels,
                residual.size
            );
        }
        let residual = residual.map(|residual| residual.rows());
        Ok(output(
            run(source, &self.convs, residual.as_ref()),
            last.out_channels,
            size,
        ))
    }
}

impl CustomOp1 for ConvChain {
    fn name(&self) -> &'static str {
        "conv-chain"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let map = Map::of(CustomOp1::name(self), storage, layout)?;
        self.apply(map, &Source::Map(map.rows()), map.size, None)
    }
}

impl CustomOp2 for ConvChain {
    fn name(&self) -> &'static str {
        "conv-chain"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let map = Map::of(CustomOp1::name(self), storage, layout)?;
        let residual = Map::of(CustomOp1::name(self), residual, residual_layout)?;
        self.apply(map, &Source::Map(map.rows()), map.size, Some(residual))
    }
}

/// A [`ConvChain`] on a map that is resized on the way in. See [`ConvChain::after_resize`].
#[derive(Debug, Clone, Copy)]
pub struct ResizedConvChain<'a> {
    chain: &'a ConvChain,
    size: [usize; 2],
}

impl ResizedConvChain<'_> {
    fn apply(&self, map: Map<'_>, residual: Option<Map<'_>>) -> Result<(CpuStorage, Shape)> {
        let bilinear = Bilinear::new(map.size, self.size);
        let source = Source::Resized {
            map: map.rows(),
            bilinear,
        };
        self.chain.apply(map, &source, self.size, residual)
    }
}

impl CustomOp1 for ResizedConvChain<'_> {
    fn name(&self) -> &'static str {
        "resized-conv-chain"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.apply(Map::of(CustomOp1::name(self), storage, layout)?, None)
    }
}

impl CustomOp2 for ResizedConvChain<'_> {
    fn name(&self) -> &'static str {
        "resized-conv-chain"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let map = Map::of(CustomOp1::name(self), storage, layout)?;
        self.apply(
            map,
            Some(Map::of(CustomOp1::name(self), residual, residual_layout)?),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::activation::ChannelActivation;
    use crate::ops::conv::{Epilogue, Geometry};
    use crate::ops::simd::CpuPath;

    fn values(seed: usize, n: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * 7 + seed * 131) as f32 * 0.613).sin())
            .collect()
    }

    fn activation(seed: usize, channels: usize) -> ChannelActivation {
        ChannelActivation {
            scale: values(seed, channels),
            shift: values(seed + 1, channels),
            slope: values(seed + 2, channels),
        }
    }

    fn conv(geometry: Geometry, path: CpuPath, everything: bool) -> Conv {
        let Geometry {
            in_channels,
            out_channels,
            kernel,
            ..
        } = geometry;
        let weights = values(3, out_channels * in_channels * kernel[0] * kernel[1]);
        let prologue = everything.then(|| activation(5, in_channels));
        let epilogue = if everything {
            Epilogue {
                bias: values(8, out_channels),
                slope: values(9, out_channels),
                post: Some(activation(11, out_channels)),
            }
        } else {
            Epilogue::default()
        };
        Conv::new(geometry, weights, prologue, epilogue, path)
    }

    #[test]
    fn a_convolution_equals_its_reference_on_every_path_and_size() {
        let geometry = |kernel, stride, dilation, channels: [usize; 2]| Geometry {
            in_channels: channels[0],
            out_channels: channels[1],
            kernel,
            stride,
            dilation,
        };
        let geometries = [
            geometry([1, 1], 1, [1, 1], [5, 3]),
            geometry([1, 1], 1, [1, 1], [16, 19]),
            geometry([3, 3], 1, [1, 1], [3, 32]),
            geometry([3, 3], 2, [1, 1], [4, 9]),
            geometry([3, 1], 1, [1, 1], [8, 8]),
            geometry([1, 3], 1, [1, 1], [8, 8]),
            geometry([3, 3], 1, [3, 2], [2, 5]),
            geometry([3, 3], 2, [3, 3], [2, 5]),
            geometry([1, 7], 1, [1, 1], [8, 8]),
        ];
        let sizes = [
            [1, 1],
            [1, 2],
            [2, 1],
            [3, 15],
            [4, 16],
            [2, 17],
            [3, 50],
            [9, 65],
            [2, 131],
        ];
        for (geometry, size) in geometries.iter().flat_map(|g| sizes.map(|s| (*g, s))) {
            let area = size[0] * size[1];
            let input = values(1, geometry.in_channels * area);
            let out = geometry.out_size(size);
            let residual = values(2, geometry.out_channels * out[0] * out[1]);
            for (path, everything) in CpuPath::available()
                .into_iter()
                .flat_map(|p| [(p, false), (p, true)])
            {
                let conv = conv(geometry, path, everything);
                let residual = everything.then_some(residual.as_slice());
                let exact = conv.reference(&input, size, residual);
                let rows = crate::ops::rows::Rows::of_map(&input, size[0], size[1]);
                let residual_rows =
                    residual.map(|r| crate::ops::rows::Rows::of_map(r, out[0], out[1]));
                let fast = run(&Source::Map(rows), &[conv], residual_rows.as_ref());
                assert_eq!(fast.len(), exact.len());
                for (fast, exact) in fast.iter().zip(&exact) {
                    // At most 150 products of values below 2, each sum rounded once or twice.
                    assert!(
                        (f64::from(*fast) - exact).abs() < 2e-5,
                        "{path:?} {geometry:?} {size:?}: {fast} is not {exact}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_chain_equals_its_convolutions_one_by_one_bit_for_bit() {
        for path in CpuPath::available() {
            let convs = [
                conv(Geometry::square(3, 8, 3, 2), path, true),
                conv(Geometry::strip(8, 4, [3, 1]), path, false),
                conv(Geometry::square(4, 6, 3, 2), path, true),
            ];
            for size in [[1, 1], [2, 9], [37, 21], [64, 40]] {
                let input = values(4, 3 * size[0] * size[1]);
                let (mut map, mut map_size) = (input.clone(), size);
                for conv in &convs {
                    let rows = crate::ops::rows::Rows::of_map(&map, map_size[0], map_size[1]);
                    map = run(&Source::Map(rows), std::slice::from_ref(conv), None);
                    map_size = conv.geometry().out_size(map_size);
                }
                let rows = crate::ops::rows::Rows::of_map(&input, size[0], size[1]);
                assert_eq!(
                    run(&Source::Map(rows), &convs, None),
                    map,
                    "{path:?} {size:?}"
                );
            }
        }
    }

    #[test]
    fn a_resized_source_equals_interpolation_per_pixel() {
        // A 1x1 convolution with weight 1 shows the resized map itself.
        let show = |path| {
            let epilogue = Epilogue::default();
            Conv::new(
                Geometry::square(1, 1, 1, 1),
                vec![1.0],
                None,
                epilogue,
                path,
            )
        };
        for (from, to) in [
            ([1, 1], [3, 4]),
            ([2, 3], [4, 6]),
            ([23, 30], [45, 60]),
            ([5, 7], [3, 2]),
        ] {
            let input = values(1, from[0] * from[1]);
            let rows = crate::ops::rows::Rows::of_map(&input, from[0], from[1]);
            let source = Source::Resized {
                map: rows,
                bilinear: Bilinear::new(from, to),
            };
            let out = run(&source, &[show(CpuPath::best())], None);
            for (i, &value) in out.iter().enumerate() {
                let place = [i / to[1], i % to[1]];
                let [(y0, y1, wy), (x0, x1, wx)] = [0, 1].map(|axis| {
                    let at = (place[axis] as f64 + 0.5) * from[axis] as f64 / to[axis] as f64 - 0.5;
                    let low = at.max(0.0).floor();
                    let high = (low as usize + 1).min(from[axis] - 1);
                    (low as usize, high, at.max(0.0) - low)
                });
                let at = |y: usize, x: usize| f64::from(input[y * from[1] + x]);
                let upper = at(y0, x0) * (1.0 - wx) + at(y0, x1) * wx;
                let lower = at(y1, x0) * (1.0 - wx) + at(y1, x1) * wx;
                let exact = upper * (1.0 - wy) + lower * wy;
                // Four roundings of values below 1.
                assert!(
                    (f64::from(value) - exact).abs() < 1e-6,
                    "{from:?} -> {to:?} at {place:?}"
                );
            }
        }
    }
}
