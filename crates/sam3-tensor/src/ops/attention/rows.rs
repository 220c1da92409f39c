//! The rows of an attention's operands: where each head's part of a token lies, turned and scaled as it is read.

use super::super::{product::Rows, simd::COLUMNS};

/// Where an operand's heads lie: `values[row × stride + offset + head × head_dim ..]`.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    pub offset: usize,
}

/// Which row a token of a batch element is.
#[derive(Clone, Copy)]
pub enum Places {
    /// So many tokens, one batch element after the other.
    Sequence(usize),
    /// Windows of a `[height, width]` map, row by row; tokens beyond the map are padding.
    Windows {
        window: usize,
        columns: usize,
        height: usize,
        width: usize,
    },
}

impl Places {
    /// Tokens of a batch element.
    pub fn tokens(self) -> usize {
        match self {
            Self::Sequence(tokens) => tokens,
            Self::Windows { window, .. } => window * window,
        }
    }

    /// None is padding.
    #[inline(always)]
    pub fn row(self, batch: usize, token: usize) -> Option<usize> {
        match self {
            Self::Sequence(tokens) => Some(batch * tokens + token),
            Self::Windows {
                window,
                columns,
                height,
                width,
            } => {
                let y = batch / columns * window + token / window;
                let x = batch % columns * window + token % window;
                (y < height && x < width).then_some(y * width + x)
            }
        }
    }
}

/// The columns of a row from one on, zeros beyond its end.
#[inline(always)]
pub fn columns(row: &[f32], from: usize) -> [f32; COLUMNS] {
    if let Some(columns) = row.get(from..).and_then(|row| row.first_chunk()) {
        return *columns;
    }
    let mut columns = [0.0; COLUMNS];
    let rest = &row[from.min(row.len())..];
    columns[..rest.len()].copy_from_slice(rest);
    columns
}

/// How tokens are turned.
#[derive(Clone, Copy)]
pub struct Rotation<'a> {
    /// [`Rope::turns`](super::super::Rope::turns): those of a map's places, one map after the other.
    pub turns: (&'a [f32], &'a [f32]),
    /// Keys that are places of a map: the leading ones. Those behind are not turned.
    pub keys: usize,
}

/// One head of one operand, as rows to pack.
pub struct HeadRows<'a> {
    pub operand: Operand<'a>,
    pub places: Places,
    pub padding: &'a [f32],
    pub rotation: Option<Rotation<'a>>,
    pub batch: usize,
    pub column: usize,
    pub head_dim: usize,
    pub scale: f32,
}

impl<'a> HeadRows<'a> {
    /// A token's row, neither turned nor scaled.
    #[inline(always)]
    pub fn row(&self, token: usize) -> &'a [f32] {
        let row = match self.places.row(self.batch, token) {
            Some(row) => &self.operand.values[row * self.operand.stride..],
            None => self.padding,
        };
        &row[self.column..][..self.head_dim]
    }
}

impl Rows for HeadRows<'_> {
    fn count(&self) -> usize {
        self.places.tokens()
    }

    fn depth(&self) -> usize {
        self.head_dim
    }

    /// Scaled, and turned if there is a rotation. `start` and the length are even then.
    #[inline(always)]
    fn read(&self, token: usize, start: usize, out: &mut [f32]) {
        let row = &self.row(token)[start..][..out.len()];
        let Some(rotation) = self.rotation.filter(|rotation| token < rotation.keys) else {
            out.iter_mut().zip(row).for_each(|(out, x)| *out = x * self.scale);
            return;
        };
        let (cos, sin) = rotation.turns;
        let first = token * self.head_dim % cos.len() + start;
        let turns = first..first + out.len();
        let (cos, sin) = (&cos[turns.clone()], &sin[turns]);
        let (whole, rest) = out.as_chunks_mut::<COLUMNS>();
        let done = whole.len() * COLUMNS;
        let operands = row.as_chunks().0.iter().zip(cos.as_chunks().0).zip(sin.as_chunks().0);
        for (out, ((x, cos), sin)) in whole.iter_mut().zip(operands) {
            turn::<COLUMNS>(x, cos, sin, self.scale, out);
        }
        let operands = row[done..].as_chunks().0.iter().zip(cos[done..].as_chunks().0);
        for ((out, (x, cos)), sin) in (rest.as_chunks_mut().0.iter_mut().zip(operands)).zip(sin[done..].as_chunks().0) {
            turn::<2>(x, cos, sin, self.scale, out);
        }
    }
}

/// Turns neighbouring channels as the complex numbers that they are.
#[inline(always)]
fn turn<const N: usize>(x: &[f32; N], cos: &[f32; N], sin: &[f32; N], scale: f32, out: &mut [f32; N]) {
    for i in 0..N {
        out[i] = (x[i] * cos[i] + x[i ^ 1] * sin[i]) * scale;
    }
}
