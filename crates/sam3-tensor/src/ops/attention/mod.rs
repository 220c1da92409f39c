//! Scaled dot-product attention.

mod few;
mod flash;
mod folded;
mod multihead;
#[cfg(test)]
mod plain;
mod rotary;
mod rows;
mod windows;

use std::sync::Arc;

use crate::{Result, Tensor};

use self::{
    few::Few,
    flash::Flash,
    rows::{Operand, Places, Rotation},
};
pub use self::{
    multihead::{Attention, Keys, Queries},
    rotary::{RotaryAttention, RotaryTable},
    windows::WindowAttention,
};
use super::{Compute, Linear, Rope, cuda, device, host};

/// What is added to the scores of queries and keys.
#[derive(Clone, Copy)]
pub enum Bias<'a> {
    /// Broadcasts to `[heads, queries, keys]`.
    Scores(&'a Tensor),
    /// The keys are a map's cells, row by row: what each row, `[heads, height, queries]`, and each column, `[heads,
    /// width, queries]`, adds.
    Cells {
        /// One value a row.
        rows: &'a Tensor,
        /// One value a column.
        columns: &'a Tensor,
    },
}

impl Bias<'_> {
    /// `[heads, queries, keys]`, or what broadcasts to it.
    pub(super) fn scores(self) -> Result<Tensor> {
        match self {
            Self::Scores(bias) => Ok(bias.clone()),
            Self::Cells { rows, columns } => {
                let (heads, height, queries) = rows.dims3()?;
                let width = columns.dim(1)?;
                let cells = (rows.unsqueeze(2)? + columns.unsqueeze(1)?)?;
                cells.reshape((heads, height * width, queries))?.permute([0, 2, 1])
            }
        }
    }
}

/// `softmax(q kᵀ / √head_dim + bias) v`, head by head.
///
/// `q` is `[batch, queries, heads × head_dim]`, `k` and `v` `[batch, keys, heads × head_dim]`. Returns `[batch,
/// queries, heads × head_dim]`, which goes into another product and nowhere else.
pub fn attention(
    compute: Compute,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    bias: Option<Bias<'_>>,
) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let keys = k.dim(1)?;
    if !host::is_host(q) {
        let [q, k, v] = [q, k, v].map(|x| device::operand(x, compute));
        let bias = bias.map(Bias::scores).transpose()?;
        return cuda::attention(&q?, &k?, &v?, heads, bias.as_ref());
    }
    let (q_values, k_values, v_values) = (q.values::<f32>()?, k.values::<f32>()?, v.values::<f32>()?);
    let few = Few {
        q: q_values,
        k: k_values,
        v: v_values,
        queries,
        keys,
        width,
        heads,
    };
    if bias.is_none() && compute == Compute::F32 && few.is_it() {
        let write = |out: &mut [_]| {
            few.run(out);
            Ok(())
        };
        // SAFETY: every query's row is written.
        let out = unsafe { host::written(batch * queries * width, write)? };
        return Tensor::from_vec(out, (batch, queries, width), q.device());
    }
    // Scores and rows, then columns.
    let biases = match bias {
        None => [None, None],
        Some(Bias::Scores(bias)) => [Some(bias), None],
        Some(Bias::Cells { rows, columns }) => [Some(rows), Some(columns)],
    };
    let [first, second] = biases.map(|bias| bias.map(Tensor::values::<f32>).transpose());
    let bias = match (biases, first?, second?) {
        ([Some(bias), None], Some(values), _) => {
            let (bias_heads, bias_queries, bias_keys) = bias.dims3()?;
            debug_assert_eq!(bias_keys, keys);
            Some(flash::Bias::Scores {
                values,
                head_stride: if bias_heads == 1 { 0 } else { bias_queries * keys },
                query_stride: if bias_queries == 1 { 0 } else { keys },
            })
        }
        ([Some(_), Some(bias)], Some(rows), Some(columns)) => {
            let (bias_heads, width, bias_queries) = bias.dims3()?;
            assert_eq!(
                [rows.len() * width, bias_heads],
                [keys * heads * queries, heads],
                "bias of cells"
            );
            assert_eq!(bias_queries, queries, "bias of cells");
            Some(flash::Bias::Cells {
                rows,
                columns,
                width,
                queries,
            })
        }
        _ => None,
    };
    let operand = |values| Operand {
        values,
        stride: width,
        offset: 0,
    };
    let flash = Flash {
        q: operand(q_values),
        k: operand(k_values),
        v: operand(v_values),
        heads,
        head_dim: width / heads,
        value_dim: width / heads,
        batch,
        query_places: Places::Sequence(queries),
        key_places: Places::Sequence(keys),
        rotation: None,
        bias,
        padding: &[],
    };
    let write = |out: &mut [_]| {
        flash.run(compute, out);
        Ok(())
    };
    // SAFETY: every query's row is written.
    let out = unsafe { host::written(batch * queries * width, write)? };
    Tensor::from_vec(out, (batch, queries, width), q.device())
}

/// Self-attention of a square map's tokens, all together or window by window, with rotary positions.
pub struct MapAttention {
    heads: usize,
    rope: Arc<Rope>,
    /// Side of a window; `None` is the whole map.
    window: Option<usize>,
    compute: Compute,
}

impl MapAttention {
    /// `rope` is for `window²` tokens, or for the whole map.
    pub fn new(heads: usize, rope: Arc<Rope>, window: Option<usize>, compute: Compute) -> Self {
        Self {
            heads,
            rope,
            window,
            compute,
        }
    }

    /// [`forward`](Self::forward) of what the layer `qkv` makes of `x`, `[height, width, input]`; tokens that fill a
    /// window up are zero before the layer.
    pub fn forward_through(&self, qkv: &Linear, x: &Tensor) -> Result<Tensor> {
        if let Some(bias) = qkv.bias()
            && !host::is_host(x)
        {
            let product = device::operand(&qkv.product(x)?, self.compute)?;
            let (cos, sin) = self.rope.tensors();
            return cuda::map_attention_biased(&product, bias, self.heads, cos, sin, self.window);
        }
        // Behind the layer, zeros are its bias.
        self.forward(&qkv.forward(x)?, qkv.bias())
    }

    /// `qkv` is `[height, width, 3 × channels]`; returns `[height, width, channels]`, which goes into another product
    /// and nowhere else.
    ///
    /// The map is padded to whole windows; `padding`, `[3 × channels]`, is what the tokens there hold.
    pub fn forward(&self, qkv: &Tensor, padding: Option<&Tensor>) -> Result<Tensor> {
        let (height, width, channels) = qkv.dims3()?;
        let channels = channels / 3;
        if !host::is_host(qkv) {
            let qkv = device::operand(qkv, self.compute)?;
            let padding = padding.map(|token| device::operand(token, self.compute)).transpose()?;
            let (cos, sin) = self.rope.tensors();
            return cuda::map_attention(&qkv, padding.as_ref(), self.heads, cos, sin, self.window);
        }
        let values = qkv.values::<f32>()?;
        let padding = match padding {
            Some(padding) => padding.values::<f32>()?.to_vec(),
            None => vec![0.0; 3 * channels],
        };
        let (batch, places) = match self.window {
            None => (1, Places::Sequence(height * width)),
            Some(window) => {
                let columns = width.div_ceil(window);
                let places = Places::Windows {
                    window,
                    columns,
                    height,
                    width,
                };
                (height.div_ceil(window) * columns, places)
            }
        };
        let operand = |index: usize| Operand {
            values,
            stride: 3 * channels,
            offset: index * channels,
        };
        let (cos, sin) = self.rope.turns()?;
        let flash = Flash {
            q: operand(0),
            k: operand(1),
            v: operand(2),
            heads: self.heads,
            head_dim: channels / self.heads,
            value_dim: channels / self.heads,
            batch,
            query_places: places,
            key_places: places,
            rotation: Some(Rotation {
                turns: (&cos, &sin),
                keys: places.tokens(),
            }),
            bias: None,
            padding: &padding,
        };
        let write = |out: &mut [_]| {
            flash.run(self.compute, out);
            Ok(())
        };
        // SAFETY: every token of the map is a query of one window.
        let out = unsafe { host::written(height * width * channels, write)? };
        Tensor::from_vec(out, (height, width, channels), qkv.device())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{Device, Tensor};

    use super::{Bias, MapAttention, attention, plain};
    use crate::ops::{
        Compute, Rope,
        host::as_accelerator,
        simd::at_every_level,
        testing::{assert_close, tensor},
    };

    fn check(sizes: (usize, usize, usize, usize, usize), bias: Option<&Tensor>, what: &str) {
        let (batch, queries, keys, heads, head_dim) = sizes;
        let q = tensor(&[batch, queries, heads * head_dim], 1);
        let k = tensor(&[batch, keys, heads * head_dim], 2);
        let v = tensor(&[batch, keys, heads * head_dim], 3);
        let expected = plain::attention(&q, &k, &v, heads, bias).unwrap();
        let what = format!("{what} {sizes:?}");
        assert_close(
            &attention(Compute::F32, &q, &k, &v, heads, bias.map(Bias::Scores)).unwrap(),
            &expected,
            1e-6,
            &what,
        );
        assert_close(
            &attention(Compute::Bf16, &q, &k, &v, heads, bias.map(Bias::Scores)).unwrap(),
            &expected,
            2e-2,
            &what,
        );
    }

    #[test]
    fn equals_its_plain_twin_on_awkward_sizes() {
        at_every_level(|| {
            for sizes in [
                (1, 1, 1, 1, 1),
                (2, 7, 31, 3, 10),
                (1, 33, 33, 5, 8),
                (3, 65, 289, 1, 64),
                (1, 31, 600, 2, 33),
                // A few tokens on one side.
                (2, 9, 201, 3, 10),
                (1, 8, 300, 2, 16),
                (2, 70, 9, 3, 10),
                (1, 130, 16, 2, 16),
            ] {
                check(sizes, None, "no bias");
            }
        });
    }

    #[test]
    fn equals_its_plain_twin_with_each_bias() {
        at_every_level(|| {
            let hidden = |i: usize| if i % 3 == 1 { f32::NEG_INFINITY } else { 0.0 };
            let padding = Tensor::from_vec((0..33).map(hidden).collect(), (1, 1, 33), &Device::Cpu).unwrap();
            check((1, 7, 33, 3, 8), Some(&padding), "padding");
            let later = |i: usize| if i % 33 > i / 33 { f32::NEG_INFINITY } else { 0.0 };
            let causal = Tensor::from_vec((0..33 * 33).map(later).collect(), (1, 33, 33), &Device::Cpu).unwrap();
            check((1, 33, 33, 3, 8), Some(&causal), "causal");
            check((1, 67, 301, 3, 32), Some(&tensor(&[3, 67, 301], 9)), "box");
        });
    }

    #[test]
    fn a_bias_of_cells_is_that_of_their_rows_and_columns() {
        for (height, width, queries, heads, head_dim) in [(1, 1, 1, 1, 1), (3, 5, 7, 2, 8), (20, 15, 67, 3, 32)] {
            let keys = height * width;
            let q = tensor(&[1, queries, heads * head_dim], 1);
            let (k, v) = (
                tensor(&[1, keys, heads * head_dim], 2),
                tensor(&[1, keys, heads * head_dim], 3),
            );
            let (rows, columns) = (
                tensor(&[heads, height, queries], 4),
                tensor(&[heads, width, queries], 5),
            );
            let bias = Bias::Cells {
                rows: &rows,
                columns: &columns,
            };
            let expected = plain::attention(&q, &k, &v, heads, Some(&bias.scores().unwrap())).unwrap();
            let run = || attention(Compute::F32, &q, &k, &v, heads, Some(bias)).unwrap();
            let what = format!("{height}×{width}, {queries} queries");
            at_every_level(|| assert_close(&run(), &expected, 1e-6, &what));
            assert_close(&as_accelerator(run), &expected, 1e-5, &what);
        }
    }

    #[test]
    fn map_attention_equals_its_plain_twin_in_whole_and_padded_windows() {
        at_every_level(|| {
            for (side, window, heads, head_dim) in [
                (6, Some(3), 2, 8),
                (7, Some(3), 3, 4),
                (5, None, 1, 12),
                (8, Some(8), 1, 64),
            ] {
                let channels = heads * head_dim;
                let rope = Arc::new(Rope::new(window.unwrap_or(side), head_dim, 1.0, &Device::Cpu).unwrap());
                let (qkv, padding) = (tensor(&[side, side, 3 * channels], 1), tensor(&[3 * channels], 2));
                let expected = plain::map_attention(&qkv, Some(&padding), heads, &rope, window).unwrap();
                let op = MapAttention::new(heads, rope, window, Compute::F32);
                let found = op.forward(&qkv, Some(&padding)).unwrap();
                assert_close(
                    &found,
                    &expected,
                    1e-6,
                    &format!("{side} {window:?} {heads}×{head_dim}"),
                );
            }
        });
    }
}
