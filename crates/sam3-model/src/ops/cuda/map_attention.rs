//! Self-attention of a map's tokens with rotary positions, all together or window by window.

use candle_core::{Result, Tensor, bail};

use super::{attention, host};

/// As [`crate::ops::MapAttention::forward`]: `qkv` is `[height, width, 3 × channels]`; returns `[height, width, channels]` in its type.
///
/// The map is cut into `window × window` tokens, where there is a `window`, and padded to whole ones; `padding`, `[3 × channels]` in
/// `qkv`'s type, is what the tokens there hold, zeros without it. `cos` and `sin`, f32, are the turns of each of a window's tokens:
/// `[tokens, head_dim / 2]` values in any shape.
pub fn map_attention(
    qkv: &Tensor,
    padding: Option<&Tensor>,
    heads: usize,
    cos: &Tensor,
    sin: &Tensor,
    window: Option<usize>,
) -> Result<Tensor> {
    let map = Map::new(qkv, heads, window)?;
    let pairs = map.tokens() * (map.channels / heads) / 2;
    if cos.elem_count() != pairs || sin.elem_count() != pairs {
        bail!(
            "rotary tables of {:?} and {:?} values where {} tokens of {} pairs turn",
            cos.dims(),
            sin.dims(),
            map.tokens(),
            map.channels / heads / 2
        );
    }
    if let Some(padding) = padding
        && padding.dims() != [3 * map.channels]
    {
        bail!("padding {:?} where a token holds {}", padding.dims(), 3 * map.channels);
    }
    twin(qkv, padding, map, cos, sin)
}

/// How a map is cut.
#[derive(Clone, Copy)]
struct Map {
    height: usize,
    width: usize,
    channels: usize,
    heads: usize,
    window: Option<usize>,
}

impl Map {
    fn new(qkv: &Tensor, heads: usize, window: Option<usize>) -> Result<Self> {
        let (height, width, channels) = qkv.dims3()?;
        if channels % (3 * heads) != 0 || channels / 3 / heads % 2 != 0 || window == Some(0) {
            bail!("{channels} channels as q, k and v of {heads} heads with rotary pairs, window {window:?}");
        }
        Ok(Self {
            height,
            width,
            channels: channels / 3,
            heads,
            window,
        })
    }

    /// Windows in a row of windows.
    fn columns(self) -> usize {
        self.window.map_or(1, |window| self.width.div_ceil(window))
    }

    fn windows(self) -> usize {
        self.window
            .map_or(1, |window| self.height.div_ceil(window) * self.columns())
    }

    /// Tokens that see each other.
    fn tokens(self) -> usize {
        self.window.map_or(self.height * self.width, |window| window * window)
    }

    /// The row of `qkv` that is a window's token; none where it is padding.
    fn row(self, index: usize, token: usize) -> Option<usize> {
        let Some(window) = self.window else {
            return Some(token);
        };
        let y = index / self.columns() * window + token / window;
        let x = index % self.columns() * window + token % window;
        (y < self.height && x < self.width).then_some(y * self.width + x)
    }
}

fn twin(qkv: &Tensor, padding: Option<&Tensor>, map: Map, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (values, cos, sin) = (host::values(qkv)?, host::values(cos)?, host::values(sin)?);
    let channels = map.channels;
    let padding = match padding {
        Some(padding) => host::values(padding)?,
        None => vec![0.0; 3 * channels],
    };
    let (tokens, pairs) = (map.tokens(), channels / map.heads / 2);
    let mut out = vec![0f32; map.height * map.width * channels];
    for index in 0..map.windows() {
        let [mut q, mut k, mut v] = [const { Vec::new() }; 3];
        for token in 0..tokens {
            let row = match map.row(index, token) {
                Some(row) => &values[row * 3 * channels..][..3 * channels],
                None => &padding,
            };
            for (turned, row) in [(&mut q, &row[..channels]), (&mut k, &row[channels..2 * channels])] {
                for (i, pair) in row.chunks_exact(2).enumerate() {
                    let (cos, sin) = (cos[token * pairs + i % pairs], sin[token * pairs + i % pairs]);
                    turned.extend([pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos]);
                }
            }
            v.extend_from_slice(&row[2 * channels..]);
        }
        let mut y = vec![0f32; tokens * channels];
        attention::rows(&q, &k, &v, (map.heads, tokens, tokens), channels, None, &mut y);
        for (token, y) in y.chunks_exact(channels).enumerate() {
            if let Some(row) = map.row(index, token) {
                out[row * channels..][..channels].copy_from_slice(y);
            }
        }
    }
    host::tensor(out, &[map.height, map.width, channels], qkv.dtype(), qkv)
}
