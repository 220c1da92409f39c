//! Self-attention of a map's tokens with rotary positions, all together or window by window.

use crate::{
    DType, Result, Tensor,
    error::mismatch,
    launch::{self, Address, Args, Launch, Module, module, type_name},
};

use super::{
    attention::{self, AttentionArgs, Places},
    host,
};

/// As [`crate::ops::MapAttention::forward`]: `qkv` is `[height, width, 3 × channels]`; returns `[height, width,
/// channels]` in its type.
///
/// The map is cut into `window × window` tokens, where there is a `window`, and padded to whole ones; `padding`, `[3 ×
/// channels]` in `qkv`'s type, is what the tokens there hold, zeros without it. `cos` and `sin`, f32, are the turns of
/// each of a window's tokens: `[tokens, head_dim / 2]` values in any shape.
pub fn map_attention(
    qkv: &Tensor,
    padding: Option<&Tensor>,
    heads: usize,
    cos: &Tensor,
    sin: &Tensor,
    window: Option<usize>,
) -> Result<Tensor> {
    let rest = padding.map_or(Rest::Zeros, Rest::Padding);
    run(qkv, rest, heads, (cos, sin), window)
}

/// The same of a product whose `bias`, f32 `[3 × channels]`, is yet to be added: to every token, and tokens that are
/// padding hold nothing else. It saves the pass over memory that would add it.
pub fn map_attention_biased(
    product: &Tensor,
    bias: &Tensor,
    heads: usize,
    cos: &Tensor,
    sin: &Tensor,
    window: Option<usize>,
) -> Result<Tensor> {
    run(product, Rest::Bias(bias), heads, (cos, sin), window)
}

/// What else is known of tokens than their rows.
#[derive(Clone, Copy)]
enum Rest<'a> {
    /// Padding is zeros.
    Zeros,
    /// What padding is.
    Padding(&'a Tensor),
    /// What is added to all, padding's zeros included.
    Bias(&'a Tensor),
}

fn run(
    qkv: &Tensor,
    rest: Rest,
    heads: usize,
    (cos, sin): (&Tensor, &Tensor),
    window: Option<usize>,
) -> Result<Tensor> {
    let map = Map::new(qkv, heads, window)?;
    let (dtype, channels) = (qkv.dtype(), map.channels);
    let pairs = channels / heads / 2;
    if [cos, sin]
        .iter()
        .any(|table| table.elem_count() != map.tokens() * pairs)
    {
        mismatch!(
            "turns of {:?} and {:?} values where {} tokens have {pairs} pairs a head",
            cos.dims(),
            sin.dims(),
            map.tokens()
        );
    }
    if let Rest::Padding(token) | Rest::Bias(token) = rest
        && token.dims() != [3 * channels]
    {
        mismatch!(
            "padding or bias {:?} where a token holds {}",
            token.dims(),
            3 * channels
        );
    }
    if !launch::runs_on(qkv.device()) {
        return twin(qkv, rest, map, cos, sin);
    }
    let keys = rotated_keys(qkv, rest, map, cos, sin)?;
    let out = launch::uninitialised((map.height, map.width, channels), dtype, qkv.device())?;
    let mut launch = Launch::on(qkv.device());
    let rows = launch.input(qkv, dtype)?;
    let (padding, bias) = rest.addresses(&mut launch, dtype)?;
    let args = AttentionArgs {
        q: rows,
        k: launch.input(&keys, dtype)?,
        v: part(rows, 2, channels, dtype),
        padding,
        q_bias: bias,
        v_bias: part(bias, 2, channels, DType::F32),
        cos: launch.input(cos, DType::F32)?,
        sin: launch.input(sin, DType::F32)?,
        out: launch.output(&out)?,
        q_stride: 3 * channels as u32,
        k_stride: channels as u32,
        v_stride: 3 * channels as u32,
        out_stride: channels as u32,
        v_padding: 2 * channels as u32,
        queries: map.places(),
        keys: Places::sequence(map.tokens()),
        values: map.places(),
        ..AttentionArgs::new(channels / heads)
    };
    // SAFETY: shapes were checked above, and strides and places are those of the tensors.
    unsafe { args.run(launch, &out, heads, map.windows())? };
    Ok(out)
}

impl<'a> Rest<'a> {
    /// Of padding's row and of the bias.
    fn addresses(self, launch: &mut Launch<'a>, dtype: DType) -> Result<(Address, Address)> {
        Ok(match self {
            Self::Zeros => (0, 0),
            Self::Padding(token) => (launch.input(token, dtype)?, 0),
            Self::Bias(bias) => (0, launch.input(bias, DType::F32)?),
        })
    }
}

/// Where the queries, keys or values of a row begin, 0 to 2; a null pointer stays one.
fn part(row: Address, index: usize, channels: usize, dtype: DType) -> Address {
    if row == 0 {
        0
    } else {
        row + (index * channels * dtype.size_in_bytes()) as Address
    }
}

/// Each window's keys, turned, `[windows, tokens, channels]`: every block of queries reads them, so they are turned
/// only once.
fn rotated_keys(qkv: &Tensor, rest: Rest, map: Map, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    const MODULE: Module = module!("rotate");
    const THREADS: usize = 256;
    let (dtype, channels) = (qkv.dtype(), map.channels);
    let keys = launch::uninitialised((map.windows(), map.tokens(), channels), dtype, qkv.device())?;
    let mut launch = Launch::on(qkv.device());
    let (padding, bias) = rest.addresses(&mut launch, dtype)?;
    let mut args = RotateArgs {
        rows: part(launch.input(qkv, dtype)?, 1, channels, dtype),
        padding: part(padding, 1, channels, dtype),
        bias: part(bias, 1, channels, DType::F32),
        cos: launch.input(cos, DType::F32)?,
        sin: launch.input(sin, DType::F32)?,
        out: launch.output(&keys)?,
        stride: 3 * channels as u32,
        pairs: (channels / map.heads / 2) as u32,
        channels: channels as u32,
        total: 0,
        places: map.places(),
    };
    // Sixteen bytes a thread where that is whole pairs of one head.
    let most = 8 / dtype.size_in_bytes();
    let addresses = [(args.rows, dtype), (args.padding, dtype), (args.out, dtype)];
    let tables = [(args.cos, DType::F32), (args.sin, DType::F32)];
    let vectors = args.pairs.is_multiple_of(most as u32)
        && launch::aligned(&addresses, 2 * most)
        && launch::aligned(&tables, most);
    let (kernel, pairs) = if vectors {
        ("rotate_vectors", most)
    } else {
        ("rotate", 1)
    };
    let threads = keys.elem_count() / (2 * pairs);
    args.total = threads as u32;
    let kernel = format!("{kernel}_{}", type_name(dtype)?);
    // SAFETY: a thread for each `pairs` of the output, and places are the map's.
    unsafe { launch.run(MODULE, &kernel, [threads.div_ceil(THREADS), 1, 1], THREADS, args)? };
    Ok(keys)
}

/// `RotateArgs` of `kernels/rotate.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RotateArgs {
    rows: Address,
    padding: Address,
    bias: Address,
    cos: Address,
    sin: Address,
    out: Address,
    stride: u32,
    pairs: u32,
    channels: u32,
    total: u32,
    places: Places,
}

// SAFETY: as its source has it; 88 bytes.
unsafe impl Args for RotateArgs {}

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
        if !channels.is_multiple_of(6 * heads) || window == Some(0) {
            mismatch!("{channels} channels as q, k and v of {heads} heads with rotary pairs, window {window:?}");
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

    /// The same for kernels.
    fn places(self) -> Places {
        let window = self.window.unwrap_or(0) as u64;
        Places {
            tokens: self.tokens() as u32,
            window: window as u32,
            // ⌈2³² / window⌉; a window of 1 is a case of its own there.
            inverse: (1u64 << 32).div_ceil(window.max(2)) as u32,
            columns: self.columns() as u32,
            height: self.height as u32,
            width: self.width as u32,
        }
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

fn twin(qkv: &Tensor, rest: Rest, map: Map, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (values, cos, sin) = (host::values(qkv)?, host::values(cos)?, host::values(sin)?);
    let channels = map.channels;
    let (padding, bias) = match rest {
        Rest::Zeros => (vec![0.0; 3 * channels], vec![0.0; 3 * channels]),
        Rest::Padding(token) => (host::values(token)?, vec![0.0; 3 * channels]),
        Rest::Bias(bias) => (vec![0.0; 3 * channels], host::values(bias)?),
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
            let row: Vec<f32> = row.iter().zip(&bias).map(|(x, bias)| x + bias).collect();
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
