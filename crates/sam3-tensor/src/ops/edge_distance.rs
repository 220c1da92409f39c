//! How far the rows and columns of a map are from the edges of boxes, as the decoder's box bias (`boxRPB`) has it.

use crate::{Device, Result, Tensor};

use super::host;

/// The rows and columns of maps of one size.
pub struct EdgeDistance {
    side: usize,
    /// Where each row, or column, begins: `[1, side, 1]`, as shares of the map.
    cells: Tensor,
}

/// Which pair of a box's edges.
#[derive(Clone, Copy, Debug)]
pub enum Axis {
    /// Left and right.
    X,
    /// Top and bottom.
    Y,
}

impl EdgeDistance {
    /// For a map of `side` × `side` cells.
    pub fn new(side: usize, device: &Device) -> Result<Self> {
        let cells: Vec<f32> = (0..side).map(|cell| cell as f32 / side as f32).collect();
        Ok(Self {
            side,
            cells: Tensor::from_vec(cells, (1, side, 1), device)?,
        })
    }

    /// Rows, and columns, of the map.
    pub fn side(&self) -> usize {
        self.side
    }

    /// `boxes` is `[boxes, 4]`: `center x, center y, width, height`, as shares of the map. Returns `[boxes, side, 2]`:
    /// the signed distance `d` of each cell to both edges as `± log2(1 + |8 d|) / 3`.
    pub fn forward(&self, boxes: &Tensor, axis: Axis) -> Result<Tensor> {
        let axis = axis as usize;
        if !host::is_host(boxes) {
            let (center, half) = (boxes.narrow(1, axis, 1)?, (boxes.narrow(1, axis + 2, 1)? * 0.5)?);
            let edges = Tensor::cat(&[(&center - &half)?, (&center + &half)?], 1)?.unsqueeze(1)?;
            let delta = ((&self.cells - edges)? * 8.0)?;
            let log2 = ((delta.abs()? + 1.0)?.log()? * std::f64::consts::LOG2_E)?;
            return (log2 * delta.sign()?)? / 3.0;
        }
        let rows = boxes.values::<f32>()?;
        let cells = self.cells.values::<f32>()?;
        let mut deltas = Vec::with_capacity(rows.len() / 4 * self.side * 2);
        for row in rows.chunks_exact(4) {
            let half = 0.5 * row[axis + 2];
            for cell in cells.iter() {
                for edge in [row[axis] - half, row[axis] + half] {
                    let delta = (cell - edge) * 8.0;
                    deltas.push((delta.abs() + 1.0).log2().copysign(delta) / 3.0);
                }
            }
        }
        Tensor::from_vec(deltas, (rows.len() / 4, self.side, 2), boxes.device())
    }
}

#[cfg(test)]
mod tests {
    use crate::Device;

    use super::{Axis, EdgeDistance};
    use crate::ops::{
        host::as_accelerator,
        testing::{assert_close, tensor},
    };

    #[test]
    fn an_accelerator_has_the_same() {
        for (boxes, side) in [(1, 1), (7, 31), (200, 12)] {
            let (x, op) = (tensor(&[boxes, 4], 1), EdgeDistance::new(side, &Device::Cpu).unwrap());
            for axis in [Axis::X, Axis::Y] {
                let found = as_accelerator(|| op.forward(&x, axis)).unwrap();
                assert_close(
                    &found,
                    &op.forward(&x, axis).unwrap(),
                    1e-6,
                    &format!("{boxes} {side} {axis:?}"),
                );
            }
        }
    }
}
