//! The 3 × 3 neighbourhoods of pixels as rows, so that a convolution is one product: where it leaves pixels out, and
//! where Winograd's algorithm is tested.

use super::{Map, read_padded};
use crate::ops::product::Rows;
#[cfg(test)]
use crate::{
    Result,
    ops::{
        conv::Conv3x3,
        host,
        product::{self, Epilogue},
    },
};

/// `[height, width, output]`.
#[cfg(test)]
pub fn conv_3x3(conv: &Conv3x3, bias: &[f32], map: &impl Map) -> Result<Vec<f32>> {
    let [height, width, _] = map.extents();
    let epilogue = Epilogue {
        bias: Some(bias),
        ..Epilogue::default()
    };
    let patches = Patches { map, stride: 1 };
    let write = |out: &mut [_]| product::product(conv.compute, &patches, &conv.kernel.reader(), epilogue, out);
    // SAFETY: a product writes every element.
    unsafe { host::written(height * width * bias.len(), write) }
}

/// The 3 × 3 neighbourhood of every `stride`-th pixel as a row, `[3 × 3 × channels]`, zero outside the map; never all
/// in memory.
pub struct Patches<'a, M> {
    pub map: &'a M,
    pub stride: usize,
}

impl<M: Map> Rows for Patches<'_, M> {
    fn count(&self) -> usize {
        let [height, width, _] = self.map.extents();
        height.div_ceil(self.stride) * width.div_ceil(self.stride)
    }

    fn depth(&self) -> usize {
        9 * self.map.extents()[2]
    }

    #[inline(always)]
    fn read(&self, row: usize, mut start: usize, mut out: &mut [f32]) {
        let [_, width, channels] = self.map.extents();
        let columns = width.div_ceil(self.stride);
        let (y, x) = (row / columns * self.stride, row % columns * self.stride);
        while !out.is_empty() {
            let (tap, channel) = (start / channels, start % channels);
            let len = out.len().min(channels - channel);
            let (now, later) = out.split_at_mut(len);
            // One above and to the left of the pixel is tap 0.
            read_padded(self.map, y + tap / 3, x + tap % 3, channel, now);
            (out, start) = (later, start + len);
        }
    }
}
