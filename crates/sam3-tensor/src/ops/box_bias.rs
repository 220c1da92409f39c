//! The decoder's box relative position bias (`boxRPB`): what a box's query adds to its attention to each cell of the
//! map.

use crate::{DType, Result, Tensor};

use super::{Activation, Axis, Bias, EdgeDistance, Linear, cuda, host};

/// Two small networks of the signed distances to a box's edges, one along x and one along y.
pub struct BoxBias {
    networks: [[Linear; 2]; 2],
    /// The same for a kernel that has both axes in one; none in main memory, and where they are larger than it takes.
    fused: Option<[cuda::Network; 2]>,
}

/// The bias of some boxes.
pub enum BoxBiases {
    /// `[heads, 1 + queries, side²]`.
    Scores(Tensor),
    /// What each row and each column of cells adds, `[heads, side, 1 + queries]` both.
    Cells { rows: Tensor, columns: Tensor },
}

impl BoxBiases {
    /// The same for attention.
    pub fn as_bias(&self) -> Bias<'_> {
        match self {
            Self::Scores(scores) => Bias::Scores(scores),
            Self::Cells { rows, columns } => Bias::Cells { rows, columns },
        }
    }
}

impl BoxBias {
    /// The networks of distances along x and along y, each of two layers with ReLU between them: `[hidden, 2]` and
    /// `[heads, hidden]`.
    ///
    /// # Errors
    /// When the device has no room for what its kernel takes.
    pub fn new(networks: [[Linear; 2]; 2]) -> Result<Self> {
        let weight = networks[0][1].weight();
        let (device, heads, hidden) = (weight.device(), weight.shape()[0], weight.shape()[1]);
        let fits = heads <= cuda::MOST_HEADS && hidden <= cuda::MOST_HIDDEN;
        let fused = if host::is_main_memory(device) || !fits {
            None
        } else {
            let [x, y] = &networks;
            Some([fuse(x)?, fuse(y)?])
        };
        Ok(Self { networks, fused })
    }

    /// `boxes` is `[queries, 4]`: `center x, center y, width, height`, as shares of the map that `cells` is of. There
    /// is no bias for the presence token, which comes before the queries.
    ///
    /// # Errors
    /// When there is no room, or the device fails.
    pub fn forward(&self, boxes: &Tensor, cells: &EdgeDistance) -> Result<BoxBiases> {
        if let Some(networks) = &self.fused {
            return Ok(BoxBiases::Scores(cuda::box_bias(boxes, cells.side(), networks)?));
        }
        let edges = |axis: Axis| -> Result<Tensor> {
            let [first, second] = &self.networks[axis as usize];
            let distance = cells.forward(boxes, axis)?;
            let biases = second.forward(&first.forward_then(&distance, Activation::Relu)?)?;
            biases.permute([2, 1, 0])?.pad_with_zeros(2, 1, 0)
        };
        Ok(BoxBiases::Cells {
            rows: edges(Axis::Y)?,
            columns: edges(Axis::X)?,
        })
    }
}

/// Both layers' weights and biases where they are computed with.
fn fuse(network: &[Linear; 2]) -> Result<cuda::Network> {
    let layer = |layer: &Linear| -> Result<[Tensor; 2]> {
        let weight = layer.weight().matrix(DType::F32)?;
        let bias = match layer.bias() {
            Some(bias) => bias.clone(),
            None => Tensor::zeros(weight.dim(0)?, DType::F32, weight.device())?,
        };
        Ok([weight, bias])
    };
    let ([weight1, bias1], [weight2, bias2]) = (layer(&network[0])?, layer(&network[1])?);
    Ok([weight1, bias1, weight2, bias2])
}

#[cfg(test)]
mod tests {
    use crate::Device;

    use super::BoxBias;
    use crate::{
        ops::{
            EdgeDistance, Linear,
            host::as_accelerator,
            simd::at_every_level,
            testing::{assert_close, assert_no_number, tensor, with_value},
        },
        weight::Weight,
    };

    fn linear(input: usize, output: usize, seed: u64) -> Linear {
        let weight = Weight::from_tensor(&tensor(&[output, input], seed)).unwrap();
        Linear::new(weight, Some(tensor(&[output], seed + 1)))
    }

    #[test]
    fn an_accelerator_has_the_same() {
        for (queries, side, hidden, heads) in [(1, 1, 1, 1), (7, 5, 31, 8), (20, 12, 64, 4), (3, 4, 300, 9)] {
            let networks = || [1, 5].map(|seed| [linear(2, hidden, seed), linear(hidden, heads, seed + 2)]);
            let boxes = tensor(&[queries, 4], 9);
            let run = || {
                let biases = BoxBias::new(networks())?.forward(&boxes, &EdgeDistance::new(side, &Device::Cpu)?)?;
                biases.as_bias().scores()
            };
            let (expected, found) = (run(), as_accelerator(run));
            let what = format!("{queries} queries, {side}², {hidden} hidden, {heads} heads");
            assert_close(&found.unwrap(), &expected.unwrap(), 1e-4, &what);
        }
    }

    #[test]
    fn a_box_that_is_no_number_has_no_bias() {
        // The second has more units than the kernel takes.
        for hidden in [31, 300] {
            let networks = || [1, 5].map(|seed| [linear(2, hidden, seed), linear(hidden, 3, seed + 2)]);
            let boxes = with_value(&[7, 4], 9, 2 * 4, f32::NAN);
            let run = || {
                let cells = EdgeDistance::new(5, &Device::Cpu).unwrap();
                let biases = BoxBias::new(networks()).unwrap().forward(&boxes, &cells).unwrap();
                // The presence token is query 0.
                biases.as_bias().scores().unwrap().narrow(1, 3, 1).unwrap()
            };
            at_every_level(|| assert_no_number(&run(), "on the CPU"));
            assert_no_number(&as_accelerator(run), "on an accelerator");
        }
    }
}
