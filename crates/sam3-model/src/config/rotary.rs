//! What the stored `freqs_cis` tables tell. Their angles are computed here; their shapes say which block attends to
//! what.

use sam3_package::StateDict;

use super::{
    check::HEADS,
    limits,
    reader::{TRUNK, exact_sqrt},
};

/// The tables of a trunk, each `[tokens, head_dim / 2]`.
#[derive(Debug)]
pub struct RotaryTables {
    /// Tokens that each block attends to, where the file says so for every block.
    lengths: Option<Vec<usize>>,
    /// Channels of a head.
    pub head_dim: Option<usize>,
    /// Side of a window in patches.
    pub window: Option<usize>,
    /// Side of the image in patches.
    pub grid: Option<usize>,
}

impl RotaryTables {
    /// A table that is missing, or is none, tells nothing: no run needs them.
    pub fn of(dict: &StateDict, depth: usize) -> Self {
        let shape = |block| {
            let index = dict.position(&format!("{TRUNK}blocks.{block}.attn.freqs_cis"))?;
            match *dict.info(index).shape {
                [tokens, pairs] if tokens > 0 && (1..=limits::HEAD / 2).contains(&pairs) => Some((tokens, 2 * pairs)),
                _ => None,
            }
        };
        let shapes: Vec<(usize, usize)> = (0..depth).map_while(shape).collect();
        let lengths = shapes.iter().map(|shape| shape.0);
        let lengths: Option<Vec<usize>> = (shapes.len() == depth).then(|| lengths.collect());
        // Only two different lengths tell a window from the whole grid.
        let all = || lengths.iter().flatten().copied();
        let (shortest, longest) = (all().min(), all().max());
        let side = |length: Option<usize>| {
            let length = length.filter(|_| shortest != longest)?;
            exact_sqrt(length).filter(|&side| side <= limits::GRID)
        };
        Self {
            window: side(shortest),
            grid: side(longest),
            head_dim: shapes.first().map(|shape| shape.1),
            lengths,
        }
    }

    /// The blocks that attend to the whole image, where the tables tell.
    pub fn global_blocks(&self, window: usize, grid: usize) -> Result<Option<Vec<usize>>, String> {
        let Some(lengths) = &self.lengths else {
            return Ok(None);
        };
        let (window, image) = (window * window, grid * grid);
        if let Some(block) = lengths.iter().position(|&length| length != window && length != image) {
            return Err(format!(
                "{TRUNK}blocks.{block}.attn.freqs_cis: \
                 expected {window} rows (a window) or {image} (the image), found {}",
                lengths[block]
            ));
        }
        Ok(Some(
            (0..lengths.len()).filter(|&block| lengths[block] == image).collect(),
        ))
    }

    /// An error where `heads` of a trunk of that width have other angles than the tables.
    pub fn agree(&self, width: usize, heads: usize) -> Result<(), String> {
        match self.head_dim {
            Some(head_dim) if head_dim.checked_mul(heads) != Some(width) => Err(format!(
                "{TRUNK}blocks.*.attn.freqs_cis: \
                 expected {} columns for {heads} heads of a width of {width}, found {}; {HEADS}, or none",
                width / heads.max(1) / 2,
                head_dim / 2
            )),
            _ => Ok(()),
        }
    }
}
