//! Scaled dot-product attention.

use crate::{
    DType, Result, Tensor,
    error::mismatch,
    launch::{self, Address, Args, Launch, Module, module, type_name},
};

use super::host;

/// `softmax(q kᵀ / √head_dim + bias) v`, head by head, as [`crate::ops::attention`].
///
/// `q` is `[batch, queries, heads × head_dim]`, `k` and `v` `[batch, keys, heads × head_dim]`, all of one type; `bias`,
/// f32, broadcasts to `[heads, queries, keys]`. Returns `[batch, queries, heads × head_dim]` in `q`'s type. A query to
/// which every key is hidden gives NaN. `head_dim` is 64 at most; f16 and bf16 of a multiple of 8 run on tensor cores.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, bias: Option<&Tensor>) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let keys = k.dim(1)?;
    if k.dims() != [batch, keys, width] || v.dims() != k.dims() || !width.is_multiple_of(heads) {
        mismatch!(
            "attention of {heads} heads: q {:?}, k {:?}, v {:?}",
            q.dims(),
            k.dims(),
            v.dims()
        );
    }
    if let Some(bias) = bias {
        bias.broadcast_as((heads, queries, keys))?;
    }
    if !launch::runs_on(q.device()) {
        return twin(q, k, v, heads, bias);
    }
    let (dtype, device) = (q.dtype(), q.device());
    let out = launch::uninitialised((batch, queries, width), dtype, device)?;
    let mut launch = Launch::on(device);
    let mut args = AttentionArgs {
        q: launch.input(q, dtype)?,
        k: launch.input(k, dtype)?,
        v: launch.input(v, dtype)?,
        bias: launch.optional(bias, DType::F32)?,
        out: launch.output(&out)?,
        q_stride: width as u32,
        k_stride: width as u32,
        v_stride: width as u32,
        out_stride: width as u32,
        queries: Places::sequence(queries),
        keys: Places::sequence(keys),
        values: Places::sequence(keys),
        ..AttentionArgs::new(width / heads)
    };
    if let Some(bias) = bias {
        // Axes that the bias lacks, or has once, stay where they are.
        let mut dims = [1; 3];
        dims[3 - bias.dims().len()..].copy_from_slice(bias.dims());
        let stride = |axis: usize| {
            if dims[axis] == 1 {
                0
            } else {
                dims[axis + 1..].iter().product::<usize>() as u32
            }
        };
        (args.bias_head, args.bias_query, args.bias_key) = (stride(0), stride(1), stride(2));
    }
    // SAFETY: shapes were checked above, and strides and places are those of the tensors.
    unsafe { args.run(launch, &out, heads, batch)? };
    Ok(out)
}

/// `Places` of `kernels/places.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Places {
    pub tokens: u32,
    pub window: u32,
    pub inverse: u32,
    pub columns: u32,
    pub height: u32,
    pub width: u32,
}

impl Places {
    pub fn sequence(tokens: usize) -> Self {
        Self {
            tokens: tokens as u32,
            ..Self::default()
        }
    }
}

/// `AttentionArgs` of `kernels/attention.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct AttentionArgs {
    pub q: Address,
    pub k: Address,
    pub v: Address,
    pub padding: Address,
    pub bias: Address,
    pub q_bias: Address,
    pub v_bias: Address,
    pub cos: Address,
    pub sin: Address,
    pub out: Address,
    pub parts: Address,
    pub q_stride: u32,
    pub k_stride: u32,
    pub v_stride: u32,
    pub out_stride: u32,
    pub v_padding: u32,
    pub head_dim: u32,
    pub bias_head: u32,
    pub bias_query: u32,
    pub bias_key: u32,
    pub queries: Places,
    pub keys: Places,
    pub values: Places,
    pub scale: f32,
    pub splits: u32,
    pub split_keys: u32,
    pub by_fours: u32,
    pub unused: u32,
}

// SAFETY: as its source has it; 216 bytes.
unsafe impl Args for AttentionArgs {}

impl AttentionArgs {
    pub fn new(head_dim: usize) -> Self {
        Self {
            head_dim: head_dim as u32,
            scale: 1.0 / (head_dim as f32).sqrt(),
            splits: 1,
            ..Self::default()
        }
    }

    /// Computes `out`, which `launch` knows.
    ///
    /// # Safety
    /// As [`Launch::run`].
    pub unsafe fn run(mut self, launch: Launch, out: &Tensor, heads: usize, batch: usize) -> Result<()> {
        const TENSOR_CORES: Module = module!("attention");
        const EXACT: Module = module!("attention_exact");
        const THREADS: usize = 128;
        /// Fewer blocks than these leave parts of a large GPU idle: then each takes fewer queries, or fewer keys.
        const FEW: usize = 256;
        const FEW_EXACT: usize = 512;
        /// Of a block at least; a multiple of the kernel's tiles.
        const SPLIT_KEYS: usize = 128;
        let (queries, keys, dtype) = (self.queries.tokens as usize, self.keys.tokens as usize, out.dtype());
        let name = type_name(dtype)?;
        self.split_keys = self.keys.tokens;
        if self.head_dim > 64 {
            mismatch!(
                "attention with {} values a head; the kernels take 64 at most",
                self.head_dim
            );
        }
        let strides = [
            self.q_stride,
            self.k_stride,
            self.v_stride,
            self.out_stride,
            self.v_padding,
            self.head_dim,
        ];
        let addresses = [self.q, self.k, self.v, self.padding, self.q_bias, self.cos, self.sin];
        if dtype != DType::F32
            && strides.iter().all(|stride| stride.is_multiple_of(8))
            && addresses.iter().all(|address| address.is_multiple_of(16))
        {
            let dim = if self.head_dim <= 32 { 32 } else { 64 };
            let few = queries.div_ceil(128) * heads * batch < FEW;
            // With a bias keys are a prompt's, few.
            let (biased, each) = match (self.bias, few) {
                (0, false) => ("", 128),
                (0, true) => ("", 64),
                _ => ("_biased", 64),
            };
            let (kernel, blocks) = (
                format!("attention{biased}_{name}_{dim}_{each}"),
                [queries.div_ceil(each), heads, batch],
            );
            // SAFETY: the caller's.
            return unsafe { launch.run(TENSOR_CORES, &kernel, blocks, THREADS, self) };
        }
        let dim = if self.head_dim <= 32 { 32 } else { 64 };
        let addresses = [self.q, self.k, self.v, self.padding].map(|address| (address, dtype));
        let by_fours = strides.iter().all(|stride| stride.is_multiple_of(4)) && launch::aligned(&addresses, 4);
        self.by_fours = u32::from(by_fours);
        let blocks = queries.div_ceil(64);
        let splits = (FEW_EXACT / (blocks * heads * batch).max(1)).clamp(1, keys.div_ceil(SPLIT_KEYS).max(1));
        let split_keys = keys.div_ceil(splits).next_multiple_of(SPLIT_KEYS);
        let splits = keys.div_ceil(split_keys).max(1);
        let parts = if splits > 1 {
            let size = splits * (2 + self.head_dim as usize);
            Some(launch::uninitialised(
                (batch, heads, queries, size),
                DType::F32,
                out.device(),
            )?)
        } else {
            None
        };
        let mut launch = launch; // borrowed for as long as `parts` from here on
        if let Some(parts) = &parts {
            self.parts = launch.output(parts)?;
            (self.splits, self.split_keys) = (splits as u32, split_keys as u32);
        }
        let blocks = [blocks * splits, heads, batch];
        // SAFETY: the caller's; a block for each split of some queries' keys.
        unsafe { launch.run(EXACT, &format!("attention_exact_{name}_{dim}"), blocks, THREADS, self)? };
        let Some(parts) = &parts else { return Ok(()) };
        let mut launch = Launch::on(out.device());
        (self.parts, self.out) = (launch.input(parts, DType::F32)?, launch.output(out)?);
        let blocks = [queries.div_ceil(THREADS / 32), heads, batch];
        // SAFETY: a warp for each query, whose parts were all written.
        unsafe { launch.run(EXACT, &format!("attention_merge_{name}"), blocks, THREADS, self) }
    }
}

fn twin(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, bias: Option<&Tensor>) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let keys = k.dim(1)?;
    let bias = bias
        .map(|bias| host::values(&bias.broadcast_as((heads, queries, keys))?))
        .transpose()?;
    let (q_values, k, v) = (host::values(q)?, host::values(k)?, host::values(v)?);
    let mut out = vec![0f32; batch * queries * width];
    for b in 0..batch {
        let (q, out) = (&q_values[b * queries * width..], &mut out[b * queries * width..]);
        let (k, v) = (&k[b * keys * width..], &v[b * keys * width..]);
        rows(q, k, v, (heads, queries, keys), width, bias.as_deref(), out);
    }
    host::tensor(out, &[batch, queries, width], q.dtype(), q)
}

/// One batch element; rows of `q`, `k`, `v` and `out` are `width` long, `bias` is `[heads, queries, keys]`.
pub(super) fn rows(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    (heads, queries, keys): (usize, usize, usize),
    width: usize,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let head_dim = width / heads;
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut scores = vec![0f32; keys];
    for (head, query) in (0..heads).flat_map(|head| (0..queries).map(move |query| (head, query))) {
        let at = |row: usize| row * width + head * head_dim;
        let q = &q[at(query)..][..head_dim];
        for (key, score) in scores.iter_mut().enumerate() {
            let k = &k[at(key)..][..head_dim];
            let bias = bias.map_or(0.0, |bias| bias[(head * queries + query) * keys + key]);
            *score = q.iter().zip(k).map(|(q, k)| q * k).sum::<f32>() * scale + bias;
        }
        let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        scores.iter_mut().for_each(|score| *score = (*score - max).exp());
        let total: f32 = scores.iter().sum();
        let out = &mut out[at(query)..][..head_dim];
        for (key, score) in scores.iter().enumerate() {
            let v = &v[at(key)..][..head_dim];
            out.iter_mut().zip(v).for_each(|(out, v)| *out += score / total * v);
        }
    }
}
