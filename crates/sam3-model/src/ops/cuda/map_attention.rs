//! Self-attention of a map's tokens with rotary positions, all together or window by window.

use candle_core::{DType, Result, Tensor, bail};

use super::{
    attention::{self, AttentionArgs, Places, type_name},
    host,
    launch::{self, Address, Args, Launch, Module, module},
};

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
    if !launch::runs_on(qkv.device()) {
        return twin(qkv, padding, map, cos, sin);
    }
    let (qkv, cos, sin) = (qkv.contiguous()?, cos.contiguous()?, sin.contiguous()?);
    let padding = padding.map(Tensor::contiguous).transpose()?;
    let keys = rotated_keys(&qkv, padding.as_ref(), map, &cos, &sin)?;
    let (dtype, channels) = (qkv.dtype(), map.channels);
    let size = dtype.size_in_bytes() as u64;
    let out = launch::uninitialised((map.height, map.width, channels), dtype, qkv.device())?;
    let mut launch = Launch::on(qkv.device());
    let rows = launch.input(&qkv, dtype)?;
    let args = AttentionArgs {
        q: rows,
        k: launch.input(&keys, dtype)?,
        v: rows + 2 * channels as u64 * size,
        padding: launch.optional(padding.as_ref(), dtype)?,
        cos: launch.input(&cos, DType::F32)?,
        sin: launch.input(&sin, DType::F32)?,
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
    unsafe { args.run(launch, dtype, heads, map.windows())? };
    Ok(out)
}

/// Each window's keys, turned, `[windows, tokens, channels]`: every block of queries reads them, so they are turned only once.
fn rotated_keys(qkv: &Tensor, padding: Option<&Tensor>, map: Map, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    const MODULE: Module = module!("rotate");
    const THREADS: usize = 256;
    let (dtype, channels) = (qkv.dtype(), map.channels);
    let size = dtype.size_in_bytes() as u64;
    let keys = launch::uninitialised((map.windows(), map.tokens(), channels), dtype, qkv.device())?;
    let total = keys.elem_count() / 2;
    let mut launch = Launch::on(qkv.device());
    let offset = channels as u64 * size;
    let padding = launch.optional(padding, dtype)?;
    let args = RotateArgs {
        rows: launch.input(qkv, dtype)? + offset,
        padding: if padding == 0 { 0 } else { padding + offset },
        cos: launch.input(cos, DType::F32)?,
        sin: launch.input(sin, DType::F32)?,
        out: launch.output(&keys)?,
        stride: 3 * channels as u32,
        pairs: (channels / map.heads / 2) as u32,
        channels: channels as u32,
        total: total as u32,
        places: map.places(),
    };
    let kernel = format!("rotate_{}", type_name(dtype)?);
    // SAFETY: one thread for each pair of the output, and places are the map's.
    unsafe { launch.run(MODULE, &kernel, [total.div_ceil(THREADS), 1, 1], THREADS, args)? };
    Ok(keys)
}

/// `RotateArgs` of `kernels/rotate.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RotateArgs {
    rows: Address,
    padding: Address,
    cos: Address,
    sin: Address,
    out: Address,
    stride: u32,
    pairs: u32,
    channels: u32,
    total: u32,
    places: Places,
}

// SAFETY: as its source has it; 80 bytes.
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
