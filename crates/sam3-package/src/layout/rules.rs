//! How transformers renamed SAM 3, as rules: a table of sections in the official order.
//!
//! Reading the table top to bottom, each repeated section for layer 0, 1, 2… while the file has it, yields the
//! official state dict in its own order; that is how a transformers checkpoint becomes an official one. `{}` in a
//! prefix is the layer's number, `{+}` the number plus one.

mod detector;
mod tracker;

use Op::Pair;

/// How official tensors are made of transformers' tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::layout) enum Op {
    /// The same tensor.
    Same,
    /// The same tensor, of which the file holds an equal copy under this name too.
    Duplicate(&'static str),
    /// `.weight` and `.bias`, each the same.
    Pair,
    /// As [`Op::Pair`], where the file has this sibling.
    PairBeside(&'static str),
    /// `qkv.weight`, `qkv.bias`: the rows of `q_proj`, `k_proj`, `v_proj`.
    Qkv,
    /// `in_proj_weight`, `in_proj_bias`: the same, as torch's MultiheadAttention names it.
    InProj,
    /// Four pairs, separate in both files: those of [`PROJECTIONS`].
    Projections,
    /// `[1, n, c]` becomes `[1, n + 1, c]`: the class token's row, unused and dropped, is zero again.
    ClassRow,
    /// A matrix, transposed.
    Transpose,
    /// Of a matrix, the row of the layer's number, as `[1, c]`.
    Row,
    /// Not in the file: the rotary table of a ViT block that has this tensor.
    FreqsCis,
    /// Not in the file: zero weight and bias of a point projection, where the file has its sibling for boxes. The
    /// input is this wide, or as wide as the output.
    Points(Option<usize>),
}

/// The projections of an attention, as the official code and as transformers call them.
pub(in crate::layout) const PROJECTIONS: [(&str, &str); 4] = [
    ("q_proj", "q_proj"),
    ("k_proj", "k_proj"),
    ("v_proj", "v_proj"),
    ("out_proj", "o_proj"),
];

/// Official name, transformers' name, what lies between.
pub(in crate::layout) type Rule = (&'static str, &'static str, Op);

/// Rules under one prefix.
pub(in crate::layout) struct Section {
    pub(in crate::layout) official: &'static str,
    pub(in crate::layout) transformers: &'static str,
    pub(in crate::layout) rules: &'static [Rule],
}

/// A section, on fewer lines.
const fn section(official: &'static str, transformers: &'static str, rules: &'static [Rule]) -> Section {
    Section {
        official,
        transformers,
        rules,
    }
}

/// A layer that is its section's prefix and no more.
const LAYER: &[Rule] = &[("", "", Pair)];

/// Every section, in the official order.
pub(in crate::layout) fn sections() -> impl Iterator<Item = &'static Section> {
    detector::SECTIONS.iter().chain(tracker::SECTIONS)
}
