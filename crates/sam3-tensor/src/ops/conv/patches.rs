//! The 3 × 3 convolution as one product of all patches: what Winograd's algorithm is tested against.

use super::{Conv3x3, Map, read_padded};
use crate::{
    Result,
    ops::{
        host,
        product::{self, Epilogue, Rows},
    },
};

/// `[height, width, output]`.
pub fn conv_3x3(conv: &Conv3x3, bias: &[f32], map: &impl Map) -> Result<Vec<f32>> {
    let [height, width, _] = map.extents();
    let epilogue = Epilogue {
        bias: Some(bias),
        ..Epilogue::default()
    };
    let write = |out: &mut [_]| product::product(conv.compute, &Patches(map), &conv.kernel.reader(), epilogue, out);
    // SAFETY: a product writes every element.
    unsafe { host::written(height * width * bias.len(), write) }
}

/// The 3 × 3 neighbourhood of each pixel as a row, `[3 × 3 × channels]`, zero outside the map; never all in memory.
struct Patches<'a, M>(&'a M);

impl<M: Map> Rows for Patches<'_, M> {
    fn count(&self) -> usize {
        let [height, width, _] = self.0.extents();
        height * width
    }

    fn depth(&self) -> usize {
        9 * self.0.extents()[2]
    }

    #[inline(always)]
    fn read(&self, row: usize, mut start: usize, mut out: &mut [f32]) {
        let [_, width, channels] = self.0.extents();
        let (y, x) = (row / width, row % width);
        while !out.is_empty() {
            let (tap, channel) = (start / channels, start % channels);
            let len = out.len().min(channels - channel);
            let (now, later) = out.split_at_mut(len);
            // One above and to the left of the pixel is tap 0.
            read_padded(self.0, y + tap / 3, x + tap % 3, channel, now);
            (out, start) = (later, start + len);
        }
    }
}
