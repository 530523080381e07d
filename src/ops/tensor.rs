//! Candle tensors as the `[c, h, w]` maps that the operations read and write.

use candle_core::{CpuStorage, Layout, Result, Shape, bail};

/// A contiguous f32 tensor `[1, c, h, w]` on the CPU.
#[derive(Clone, Copy)]
pub(crate) struct Map<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) channels: usize,
    pub(crate) size: [usize; 2],
}

impl<'a> Map<'a> {
    /// Reads the tensor that `op` got; errs with what it needs where that is something else.
    pub(crate) fn of(op: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        if batch != 1 {
            bail!("{op} takes one image at a time, got a batch of {batch}");
        }
        if channels * height * width == 0 {
            bail!("{op} got an empty tensor {:?}", layout.shape());
        }
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("{op} takes contiguous tensors");
        };
        let data = &storage.as_slice::<f32>()?[start..end];
        Ok(Self {
            data,
            channels,
            size: [height, width],
        })
    }

    /// As [`Map::of`], and errs where the map has not so many channels.
    pub(crate) fn with_channels(
        op: &str,
        storage: &'a CpuStorage,
        layout: &Layout,
        channels: usize,
    ) -> Result<Self> {
        let map = Self::of(op, storage, layout)?;
        if map.channels != channels {
            bail!("{op} takes {channels} channels, got {}", map.channels);
        }
        Ok(map)
    }

    pub(crate) fn rows(&self) -> super::rows::Rows<'a> {
        super::rows::Rows::of_map(self.data, self.size[0], self.size[1])
    }

    /// Elements of one channel.
    pub(crate) fn area(&self) -> usize {
        self.size[0] * self.size[1]
    }
}

/// Returns what a custom op returns for the map `data` `[channels, h, w]`.
pub(crate) fn output(
    data: Vec<f32>,
    channels: usize,
    [height, width]: [usize; 2],
) -> (CpuStorage, Shape) {
    (
        CpuStorage::F32(data),
        Shape::from((1, channels, height, width)),
    )
}
