//! One head of attention from the places of a map to those of maps, and to tokens that have no place.

use std::sync::OnceLock;

use super::{
    super::{Compute, Linear, Rope, cuda, device, host},
    flash::Flash,
    rows::{Operand, Places, Rotation},
};
use crate::{Result, Tensor, error::mismatch};

/// Queries whose scores an accelerator holds at once: with the memory of a video, 37 MB.
const QUERY_BLOCK: usize = if cfg!(test) { 5 } else { 256 };

/// How the places of a map are turned.
pub struct RotaryTable {
    rope: Rope,
    /// In main memory, once they are needed there.
    turns: OnceLock<(Vec<f32>, Vec<f32>)>,
}

impl RotaryTable {
    /// Of a map's places, and a head as wide as `rope` is made for.
    pub fn new(rope: Rope) -> Self {
        Self {
            rope,
            turns: OnceLock::new(),
        }
    }

    fn turns(&self) -> Result<(&[f32], &[f32])> {
        let (cos, sin) = match self.turns.get() {
            Some(turns) => turns,
            None => {
                let turns = self.rope.turns()?;
                self.turns.get_or_init(|| turns)
            }
        };
        Ok((cos, sin))
    }
}

/// Attention with one head, whose queries and keys are turned by their places.
pub struct RotaryAttention {
    q: Linear,
    k: Linear,
    /// `None` where values are taken as they are. Their projection is then part of `out`, which is exact, as a query's
    /// weights add up to 1.
    v: Option<Linear>,
    out: Linear,
}

impl RotaryAttention {
    /// Of the projections of queries, keys and values, and that of the result.
    pub fn new([q, k]: [Linear; 2], v: Option<Linear>, out: Linear) -> Self {
        Self {
            q,
            k,
            v: v.map(Linear::before_products),
            out,
        }
    }

    /// What `x`, `[places, width]`, asks for.
    ///
    /// # Errors
    /// When shapes do not fit, there is no room, or the device fails.
    pub fn queries(&self, x: &Tensor) -> Result<Tensor> {
        self.q.forward(x)
    }

    /// `residual` plus what `queries` find in `keys` and `values`, `[tokens, width]` each, of which the leading
    /// `places` are places of one map after the other.
    ///
    /// # Errors
    /// When shapes do not fit, there is no room, or the device fails.
    pub fn forward_add(
        &self,
        residual: &Tensor,
        queries: &Tensor,
        [keys, values]: [&Tensor; 2],
        places: usize,
        table: &RotaryTable,
    ) -> Result<Tensor> {
        let keys = self.k.forward(keys)?;
        let projected = self.v.as_ref().map(|v| v.forward(values)).transpose()?;
        let values = projected.as_ref().unwrap_or(values);
        let found = attention(self.q.compute(), [queries, &keys, values], places, table)?;
        self.out.forward_add(&found, residual)
    }
}

/// `softmax(R(q) R(k)ᵀ / √width) v` of one head: `q` is `[map's places, width]`, `k` `[tokens, width]` and `v`
/// `[tokens, value width]`.
fn attention(compute: Compute, [q, k, v]: [&Tensor; 3], places: usize, table: &RotaryTable) -> Result<Tensor> {
    let ((queries, width), (keys, k_width), (tokens, value_width)) = (q.dims2()?, k.dims2()?, v.dims2()?);
    let of_map = table.rope.tensors().0.dim(0)?;
    if k_width != width || tokens != keys || places > keys || queries != of_map || !places.is_multiple_of(of_map) {
        mismatch!("attention of a map of {of_map} places: q {q:?}, k {k:?}, v {v:?}, {places} places");
    }
    if !host::is_host(q) {
        return on_device(compute, [q, k, v], places, table);
    }
    let operand = |values, stride| Operand {
        values,
        stride,
        offset: 0,
    };
    let flash = Flash {
        q: operand(q.values()?, width),
        k: operand(k.values()?, width),
        v: operand(v.values()?, value_width),
        heads: 1,
        head_dim: width,
        value_dim: value_width,
        batch: 1,
        query_places: Places::Sequence(queries),
        key_places: Places::Sequence(keys),
        rotation: Some(Rotation {
            turns: table.turns()?,
            keys: places,
        }),
        bias: None,
        padding: &[],
    };
    let write = |out: &mut [_]| {
        flash.run(compute, out);
        Ok(())
    };
    // SAFETY: every query's row is written.
    let out = unsafe { host::written(queries * value_width, write)? };
    Tensor::from_vec(out, (queries, value_width), q.device())
}

/// The same where tensors live on an accelerator: scores of some queries at a time.
fn on_device(compute: Compute, [q, k, v]: [&Tensor; 3], places: usize, table: &RotaryTable) -> Result<Tensor> {
    let (queries, width) = q.dims2()?;
    let scale = 1.0 / (width as f64).sqrt();
    let q = device::operand(&(turn(q, &table.rope)? * scale)?, compute)?;
    let turned = turn(&k.rows(0, places)?, &table.rope)?;
    let k = Tensor::cat(&[turned, k.rows(places, k.dim(0)? - places)?], 0)?;
    let (k, v) = (device::operand(&k, compute)?, device::operand(v, compute)?.t()?);
    let mut found = Vec::with_capacity(queries.div_ceil(QUERY_BLOCK));
    for start in (0..queries).step_by(QUERY_BLOCK) {
        let block = q.rows(start, QUERY_BLOCK.min(queries - start))?;
        let scores = cuda::product_add(&block, &k, None, None)?;
        let shares = cuda::softmax(&scores, compute.dtype())?;
        found.push(cuda::product_add(&shares, &v, None, None)?);
    }
    Tensor::cat(&found, 0)
}

/// Turns rows, f32 `[maps × places, width]`.
fn turn(x: &Tensor, rope: &Rope) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let (cos, sin) = rope.tensors();
    let of_map = cos.dim(0)?;
    let [cos, sin] = [cos, sin].map(|table| table.reshape((of_map, width / 2, 1)));
    let pairs = x.reshape((rows / of_map, of_map, width / 2, 2))?;
    let (re, im) = (pairs.narrow(3, 0, 1)?, pairs.narrow(3, 1, 1)?);
    let (cos, sin) = (cos?, sin?);
    let turned_re = ((&re * &cos)? - (&im * &sin)?)?;
    let turned_im = ((&re * &sin)? + (&im * &cos)?)?;
    Tensor::cat(&[turned_re, turned_im], 3)?.reshape((rows, width))
}

#[cfg(test)]
mod tests {
    use super::{RotaryTable, attention};
    use crate::{
        Device, Tensor,
        ops::{
            Compute, Rope,
            attention::plain,
            host::as_accelerator,
            simd::at_every_level,
            testing::{assert_close, tensor},
        },
    };

    /// Loops: every map turned for itself, then plain attention, of values that are padded to the keys' width.
    fn expected(q: &Tensor, k: &Tensor, v: &Tensor, rope: &Rope, maps: usize) -> Tensor {
        let ((places, width), (tokens, value_width)) = (q.dims2().unwrap(), v.dims2().unwrap());
        let turn = |x: Tensor| rope.forward(&x.unsqueeze(0).unwrap(), 1).unwrap().squeeze(0).unwrap();
        let mut turned: Vec<Tensor> = (0..maps)
            .map(|map| turn(k.rows(map * places, places).unwrap()))
            .collect();
        turned.push(k.rows(maps * places, tokens - maps * places).unwrap());
        let k = Tensor::cat(&turned, 0).unwrap().unsqueeze(0).unwrap();
        let q = turn(q.clone()).unsqueeze(0).unwrap();
        let parts = (0..value_width).step_by(width).map(|start| {
            let len = width.min(value_width - start);
            let part = v
                .narrow(1, start, len)
                .unwrap()
                .pad_with_zeros(1, 0, width - len)
                .unwrap();
            let found = plain::attention(&q, &k, &part.unsqueeze(0).unwrap(), 1, None).unwrap();
            found.squeeze(0).unwrap().narrow(1, 0, len).unwrap()
        });
        Tensor::cat(&parts.collect::<Vec<_>>(), 1).unwrap()
    }

    #[test]
    fn equals_its_plain_twin_with_maps_and_tokens_without_a_place() {
        for (side, width, value_width, maps, others) in [
            (1, 4, 1, 1, 0),
            (3, 12, 5, 2, 4),
            (4, 8, 8, 0, 7),
            (5, 32, 40, 13, 8),
            // Several spans of keys.
            (9, 64, 16, 11, 28),
        ] {
            let (places, tokens) = (side * side, maps * side * side + others);
            let rope = || Rope::new(side, width, 1.0, &Device::Cpu).unwrap();
            let (q, k) = (tensor(&[places, width], 1), tensor(&[tokens, width], 2));
            let (q, v) = ((q * 2.0).unwrap(), tensor(&[tokens, value_width], 3));
            let expected = expected(&q, &k, &v, &rope(), maps);
            let run = |compute| attention(compute, [&q, &k, &v], maps * places, &RotaryTable::new(rope())).unwrap();
            let what = format!("{maps} maps of {side}², {others} others, {width} to {value_width}");
            at_every_level(|| {
                assert_close(&run(Compute::F32), &expected, 2e-6, &what);
                assert_close(&run(Compute::Bf16), &expected, 3e-2, &what);
            });
            as_accelerator(|| {
                assert_close(
                    &run(Compute::F32),
                    &expected,
                    3e-6,
                    &format!("{what} on an accelerator"),
                );
                assert_close(
                    &run(Compute::F16),
                    &expected,
                    5e-3,
                    &format!("{what} on an accelerator"),
                );
            });
        }
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let table = RotaryTable::new(Rope::new(3, 8, 1.0, &Device::Cpu).unwrap());
        let x = tensor(&[9, 8], 1);
        assert!(attention(Compute::F32, [&x, &x, &x], 5, &table).is_err());
        assert!(attention(Compute::F32, [&x, &x, &tensor(&[8, 8], 1)], 0, &table).is_err());
    }
}
