//! The decoder's box bias.

use crate::{
    DType, Result, Tensor,
    error::mismatch,
    launch::{self, Address, Args, Launch, Module, module},
};

use super::host;
use crate::ops::simd::math;

/// A network of two layers, all f32: weight `[hidden, 2]`, bias `[hidden]`, weight `[heads, hidden]`, bias `[heads]`.
pub type Network = [Tensor; 4];

/// The most that the kernel takes.
pub const MOST_HIDDEN: usize = 256;
/// The same of heads.
pub const MOST_HEADS: usize = 8;

/// As [`crate::ops::BoxBias::forward`]: `boxes` is f32 `[queries, 4]`, `networks` are for the distances along x and
/// along y; returns f32 `[heads, 1 + queries, side²]`, zeros for the first query. At most [`MOST_HIDDEN`] and
/// [`MOST_HEADS`].
pub fn box_bias(boxes: &Tensor, side: usize, networks: &[Network; 2]) -> Result<Tensor> {
    let (queries, _) = boxes.dims2()?;
    let (heads, hidden) = networks[0][2].dims2()?;
    let expected: [&[usize]; 4] = [&[hidden, 2], &[hidden], &[heads, hidden], &[heads]];
    let differs = |network: &Network| network.iter().zip(expected).any(|(tensor, dims)| tensor.dims() != dims);
    if boxes.dim(1)? != 4 || networks.iter().any(differs) || hidden > MOST_HIDDEN || heads > MOST_HEADS {
        mismatch!(
            "a box bias of {:?}, {hidden} hidden units and {heads} heads",
            boxes.dims()
        );
    }
    if !launch::runs_on(boxes.device()) {
        return twin(boxes, side, networks);
    }
    const MODULE: Module = module!("box_bias");
    const THREADS: usize = 128;
    let edges = launch::uninitialised((2, heads, queries, side), DType::F32, boxes.device())?;
    let mut launch = Launch::on(boxes.device());
    let mut addresses = [[0; 4]; 2];
    for (network, addresses) in networks.iter().zip(&mut addresses) {
        for (tensor, address) in network.iter().zip(addresses) {
            *address = launch.input(tensor, DType::F32)?;
        }
    }
    let args = BoxEdgesArgs {
        boxes: launch.input(boxes, DType::F32)?,
        networks: addresses,
        out: launch.output(&edges)?,
        queries: queries as u32,
        side: side as u32,
        hidden: hidden as u32,
        heads: heads as u32,
    };
    let blocks = [(queries * side).div_ceil(THREADS), 2, 1];
    // SAFETY: a thread for each query and cell of both axes; networks are as large as was checked above.
    unsafe { launch.run(MODULE, "box_edges", blocks, THREADS, args)? };
    let bias = launch::uninitialised((heads, 1 + queries, side * side), DType::F32, boxes.device())?;
    let mut launch = Launch::on(boxes.device());
    let args = BoxSumsArgs {
        edges: launch.input(&edges, DType::F32)?,
        out: launch.output(&bias)?,
        queries: queries as u32,
        side: side as u32,
    };
    // SAFETY: a block for each query of each head.
    unsafe { launch.run(MODULE, "box_sums", [1 + queries, heads, 1], THREADS, args)? };
    Ok(bias)
}

/// `BoxEdgesArgs` of `kernels/box_bias.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct BoxEdgesArgs {
    boxes: Address,
    networks: [[Address; 4]; 2],
    out: Address,
    queries: u32,
    side: u32,
    hidden: u32,
    heads: u32,
}

// SAFETY: as its source has it; 96 bytes.
unsafe impl Args for BoxEdgesArgs {}

/// `BoxSumsArgs` of `kernels/box_bias.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct BoxSumsArgs {
    edges: Address,
    out: Address,
    queries: u32,
    side: u32,
}

// SAFETY: as its source has it; 24 bytes.
unsafe impl Args for BoxSumsArgs {}

fn twin(boxes: &Tensor, side: usize, networks: &[Network; 2]) -> Result<Tensor> {
    let (queries, heads) = (boxes.dim(0)?, networks[0][2].dim(0)?);
    let values = host::values(boxes)?;
    let mut edges = [const { Vec::new() }; 2];
    for (axis, network) in networks.iter().enumerate() {
        let [weight1, bias1, weight2, bias2] = network.each_ref().map(host::values);
        let (weight1, bias1, weight2, bias2) = (weight1?, bias1?, weight2?, bias2?);
        for row in values.chunks_exact(4) {
            for cell in 0..side {
                let distance = [-0.5, 0.5].map(|half| {
                    let delta = (cell as f32 / side as f32 - (row[axis] + half * row[axis + 2])) * 8.0;
                    (delta.abs() + 1.0).log2().copysign(delta) / 3.0
                });
                let unit = |(weight, bias): (&[f32], &f32)| {
                    math::relu(weight[0] * distance[0] + weight[1] * distance[1] + bias)
                };
                let hidden: Vec<f32> = weight1.chunks_exact(2).zip(&bias1).map(unit).collect();
                let head =
                    |(weight, bias): (&[f32], &f32)| weight.iter().zip(&hidden).map(|(w, x)| w * x).sum::<f32>() + bias;
                edges[axis].extend(weight2.chunks_exact(hidden.len()).zip(&bias2).map(head));
            }
        }
    }
    let at = |axis: usize, query: usize, cell: usize, head: usize| edges[axis][(query * side + cell) * heads + head];
    let mut out = Vec::with_capacity(heads * (1 + queries) * side * side);
    for head in 0..heads {
        out.resize(out.len() + side * side, 0.0);
        for query in 0..queries {
            let cells = (0..side * side).map(|i| at(1, query, i / side, head) + at(0, query, i % side, head));
            out.extend(cells);
        }
    }
    host::tensor(out, &[heads, 1 + queries, side * side], DType::F32, boxes)
}
