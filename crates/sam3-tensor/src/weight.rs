//! One large parameter, kept as the mapped bytes of its file and widened to f32 when it is used.
//!
//! So a package of half precision never takes three times its size in memory, as it would if it were widened as a
//! whole. It does not even take its size: pages that were read are let go of again, so that only the layer at work is
//! resident, and the kernel keeps as much of the file as it has room for.

use std::{borrow::Cow, ops::Range, sync::Arc};

use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;

use crate::{
    DType, Device, Result, Tensor,
    ops::{self, Compute, Rows, int8},
    storage::filled,
};

/// The bytes of a parameter, which a file holds.
pub trait Mapped: Send + Sync {
    /// The bytes, in parts that lie end to end; no row lies in two.
    fn parts(&self) -> Vec<Cow<'_, [u8]>>;

    /// Lets go of the memory behind them, until they are read again.
    fn release(&self);
}

/// Element types of parameters in files, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    BF16,
    /// Codes, with one scale a row.
    I8,
}

impl Stored {
    const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::I8 => 1,
        }
    }
}

/// A matrix or a convolution kernel: rows of output channels.
#[derive(Clone)]
pub struct Weight {
    source: Source,
    shape: Vec<usize>,
    /// The rows of the source that this weight is.
    rows: Range<usize>,
    device: Device,
}

#[derive(Clone)]
enum Source {
    /// A key that the file lacks: it has a shape, and is never read.
    Absent,
    /// Bytes of the mapped file; for I8 with one f32 a row of the whole tensor.
    Mapped {
        bytes: Arc<dyn Mapped>,
        stored: Stored,
        scale: Option<Arc<[f32]>>,
    },
    /// Values that had to be rearranged for the op that uses them.
    Owned(Arc<[f32]>),
    /// On an accelerator, in the file's precision or that of the products it is for.
    Float(Tensor),
    /// On an accelerator: the codes' bits as bytes, and what one code is worth in each row.
    Codes { codes: Tensor, scales: Tensor },
}

impl Weight {
    /// A parameter of a file. `scale` is what a code of each row is worth, where it is of codes.
    ///
    /// # Panics
    /// When there are codes and not as many scales as rows.
    pub fn mapped(
        bytes: Arc<dyn Mapped>,
        stored: Stored,
        scale: Option<Arc<[f32]>>,
        shape: &[usize],
        device: &Device,
    ) -> Self {
        if stored == Stored::I8 {
            assert_eq!(
                scale.as_ref().map(|scale| scale.len()),
                shape.first().copied(),
                "scales of {shape:?}"
            );
        }
        Self::new(Source::Mapped { bytes, stored, scale }, shape, device)
    }

    /// A parameter that the file lacks: it has a shape, and is 0 where it is read all the same.
    pub fn absent(shape: &[usize], device: &Device) -> Self {
        Self::new(Source::Absent, shape, device)
    }

    fn new(source: Source, shape: &[usize], device: &Device) -> Self {
        let rows = 0..shape.first().copied().unwrap_or(1);
        Self {
            source,
            shape: shape.to_vec(),
            rows,
            device: device.clone(),
        }
    }

    /// A weight of `tensor`'s values: for kernels whose axes an op wants in another order.
    pub fn from_tensor(tensor: &Tensor) -> Result<Self> {
        Self::for_products(tensor, Compute::F32)
    }

    /// As [`from_tensor`](Self::from_tensor), for products of `compute`: an accelerator need not hold more than they
    /// take.
    pub fn for_products(tensor: &Tensor, compute: Compute) -> Result<Self> {
        let source = if ops::is_host(tensor) {
            Source::Owned(tensor.to_vec()?.into())
        } else {
            Source::Float(ops::operand(tensor, compute)?)
        };
        Ok(Self::new(source, tensor.dims(), tensor.device()))
    }

    /// The same weight where its products, of precision `compute`, are computed: copied there, once and as it is, where
    /// that is an accelerator.
    pub fn on_device(self, compute: Compute) -> Result<Self> {
        /// A weight with at most so many values is widened there once; with few rows, to widen it for each product
        /// would take as long as the product.
        const SMALL: usize = 1 << 19;
        if ops::is_main_memory(&self.device) {
            return Ok(self);
        }
        let source = match &self.source {
            Source::Mapped { .. } if compute == Compute::F32 && self.shape.iter().product::<usize>() <= SMALL => {
                Source::Float(self.to_tensor()?)
            }
            Source::Mapped { bytes, stored, scale } => {
                let parts = bytes.parts();
                let bytes = part_of(&parts, 0, self.shape.iter().product::<usize>() * stored.size());
                let upload = |dtype| Tensor::from_bytes(&bytes, dtype, self.shape.as_slice(), &self.device);
                match (stored, scale) {
                    (Stored::F16, _) => Source::Float(upload(DType::F16)?),
                    (Stored::BF16, _) => Source::Float(upload(DType::BF16)?),
                    (Stored::I8, Some(scale)) => Source::Codes {
                        codes: upload(DType::U8)?,
                        scales: Tensor::from_slice(scale, scale.len(), &self.device)?,
                    },
                    _ => Source::Float(upload(DType::F32)?),
                }
            }
            other => other.clone(),
        };
        self.release();
        Ok(Self { source, ..self })
    }

    /// The rows as a matrix `[rows, everything else]` of element type `dtype`.
    pub(crate) fn matrix(&self, dtype: DType) -> Result<Tensor> {
        let (start, rows) = (self.rows.start, self.rows.len());
        let matrix = match &self.source {
            Source::Float(values) => values.narrow(0, start, rows)?.to_dtype(dtype)?,
            Source::Codes { codes, scales } => {
                let codes = codes.narrow(0, start, rows)?.reshape((rows, ()))?;
                return ops::dequantize(&codes, &scales.narrow(0, start, rows)?, dtype);
            }
            _ => self.to_tensor()?.to_dtype(dtype)?,
        };
        matrix.reshape((rows, ()))
    }

    /// The same values as a matrix `[rows, everything else]`.
    pub fn flatten(mut self) -> Self {
        self.shape = vec![self.shape[0], self.shape[1..].iter().product()];
        self
    }

    /// Extent of each axis, output channels first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Where the tensors made from this weight live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Some of the rows, without copying them: `q` out of a fused `qkv`.
    pub fn rows(&self, rows: Range<usize>) -> Self {
        assert!(rows.end <= self.shape[0], "rows {rows:?} of {:?}", self.shape);
        let mut part = self.clone();
        part.shape[0] = rows.len();
        part.rows = self.rows.start + rows.start..self.rows.start + rows.end;
        part
    }

    /// All values as an f32 tensor of the weight's shape.
    pub fn to_tensor(&self) -> Result<Tensor> {
        if let Source::Float(_) | Source::Codes { .. } = &self.source {
            return self.matrix(DType::F32)?.reshape(self.shape.as_slice());
        }
        let mut values = filled(self.shape.iter().product(), 0f32)?;
        self.widen_into(&mut values);
        Tensor::from_vec(values, self.shape.as_slice(), &self.device)
    }

    /// Writes all values, row-major, as f32.
    pub fn widen_into(&self, out: &mut [f32]) {
        let row_len = self.row_len().max(1);
        let reader = self.reader();
        out.par_chunks_mut(row_len)
            .enumerate()
            .for_each(|(row, out)| reader.read(row, 0, out));
    }

    fn row_len(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Lets go of the file's pages, where there are many: it is a call of the kernel.
    fn release(&self) {
        const MANY: usize = 1 << 18;
        if let Source::Mapped { bytes, .. } = &self.source
            && self.shape.iter().product::<usize>() >= MANY
        {
            bytes.release();
        }
    }

    /// The rows, to be read in pieces.
    pub fn reader(&self) -> Reader<'_> {
        let values = match &self.source {
            Source::Absent => Values::Absent,
            Source::Owned(values) => Values::Owned(values),
            Source::Float(_) | Source::Codes { .. } => unreachable!("ops for accelerators take the matrix"),
            Source::Mapped { bytes, stored, scale } => Values::Mapped {
                parts: bytes.parts(),
                stored: *stored,
                scale: scale.as_deref(),
            },
        };
        Reader {
            weight: self,
            values,
            row_len: self.row_len(),
        }
    }

    /// What one int8 code of each row is worth: the file's own, or what the rows' largest magnitudes make it.
    pub(crate) fn scales(&self) -> Arc<[f32]> {
        if let Source::Mapped { scale: Some(scale), .. } = &self.source {
            return scale[self.rows.clone()].into();
        }
        let (reader, row_len) = (self.reader(), self.row_len());
        let scale = |row| {
            let mut values = vec![0f32; row_len];
            reader.read(row, 0, &mut values);
            int8::scale(&values)
        };
        let scales: Vec<f32> = (0..self.rows.len()).into_par_iter().map(scale).collect();
        scales.into()
    }

    /// The rows as int8 codes of these [`scales`](Self::scales): the file's own, where it has codes.
    pub(crate) fn codes<'a>(&'a self, scales: &'a [f32]) -> Codes<'a> {
        Codes {
            reader: self.reader(),
            scales,
        }
    }

    /// The rows `ids` as f32: tokens' embeddings, `[ids, width]`.
    pub fn gather(&self, ids: &[u32]) -> Result<Tensor> {
        let width = self.row_len();
        let reader = self.reader();
        let mut values = vec![0f32; ids.len() * width];
        for (&id, row) in ids.iter().zip(values.chunks_exact_mut(width)) {
            reader.read(id as usize, 0, row);
        }
        Tensor::from_vec(values, (ids.len(), width), &self.device)
    }
}

/// A weight's rows as f32, widened piece by piece. When it is dropped, it lets go of the file's pages: readers pack or
/// copy the values, and need no weight twice before the next image or prompt. To map 1.7 GB again from the file's cache
/// then takes some 40 ms.
pub struct Reader<'a> {
    weight: &'a Weight,
    values: Values<'a>,
    row_len: usize,
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.weight.release();
    }
}

enum Values<'a> {
    Absent,
    Mapped {
        parts: Vec<Cow<'a, [u8]>>,
        stored: Stored,
        scale: Option<&'a [f32]>,
    },
    Owned(&'a [f32]),
}

impl Rows for Reader<'_> {
    fn count(&self) -> usize {
        self.weight.rows.len()
    }

    fn depth(&self) -> usize {
        self.row_len
    }

    #[inline(always)]
    fn read(&self, row: usize, start: usize, out: &mut [f32]) {
        let row = self.weight.rows.start + row;
        let (parts, stored, scale) = match &self.values {
            Values::Absent => return out.fill(0.0),
            Values::Owned(values) => return out.copy_from_slice(&values[row * self.row_len + start..][..out.len()]),
            Values::Mapped { parts, stored, scale } => (parts, stored, scale),
        };
        let size = stored.size();
        let bytes = &*part_of(parts, (row * self.row_len + start) * size, out.len() * size);
        match stored {
            Stored::F32 => convert(bytes, out, f32::from_le_bytes),
            Stored::F16 => widen_f16(bytes, out),
            Stored::BF16 => convert(bytes, out, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Stored::I8 => {
                let scale = scale.map_or(1.0, |scale| scale[row]);
                convert(bytes, out, |[byte]: [u8; 1]| f32::from(byte.cast_signed()) * scale);
            }
        }
    }
}

/// A weight's rows as int8 codes.
pub struct Codes<'a> {
    reader: Reader<'a>,
    scales: &'a [f32],
}

impl Rows<i8> for Codes<'_> {
    fn count(&self) -> usize {
        self.reader.count()
    }

    fn depth(&self) -> usize {
        self.reader.depth()
    }

    #[inline(always)]
    fn read(&self, row: usize, start: usize, out: &mut [i8]) {
        if let Values::Mapped {
            parts, scale: Some(_), ..
        } = &self.reader.values
        {
            let at = (self.reader.weight.rows.start + row) * self.reader.row_len + start;
            let bytes = part_of(parts, at, out.len());
            return (out.iter_mut().zip(&*bytes)).for_each(|(code, byte)| *code = byte.cast_signed());
        }
        const CHUNK: usize = 256;
        let mut values = [0f32; CHUNK];
        for (i, codes) in out.chunks_mut(CHUNK).enumerate() {
            let values = &mut values[..codes.len()];
            self.reader.read(row, start + i * CHUNK, values);
            int8::encode(values, self.scales[row], codes);
        }
    }
}

/// The CPU's own conversion, where it has one.
fn widen_f16(bytes: &[u8], out: &mut [f32]) {
    const CHUNK: usize = 128;
    let mut halves = [f16::ZERO; CHUNK];
    for (bytes, out) in bytes.chunks(2 * CHUNK).zip(out.chunks_mut(CHUNK)) {
        let (elements, _) = bytes.as_chunks::<2>();
        for (half, &element) in halves.iter_mut().zip(elements) {
            *half = f16::from_le_bytes(element);
        }
        halves[..out.len()].convert_to_f32_slice(out);
    }
}

/// The bytes `start..start + len` of parts that lie end to end.
fn part_of<'a>(parts: &'a [Cow<'_, [u8]>], mut start: usize, len: usize) -> Cow<'a, [u8]> {
    for (index, part) in parts.iter().enumerate() {
        if start + len <= part.len() {
            return Cow::Borrowed(&part[start..start + len]);
        }
        // Only a table whose first axis is 1 has its one row in several parts.
        if start < part.len() {
            return Cow::Owned(parts[index..].concat()[start..start + len].to_vec());
        }
        start -= part.len();
    }
    Cow::Borrowed(&[])
}

fn convert<const N: usize>(bytes: &[u8], out: &mut [f32], widen: impl Fn([u8; N]) -> f32) {
    let (elements, _) = bytes.as_chunks::<N>();
    for (out, &element) in out.iter_mut().zip(elements) {
        *out = widen(element);
    }
}
