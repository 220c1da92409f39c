//! One large parameter, kept as the mapped bytes of its file and widened to f32 when it is used.
//!
//! A package of half precision thus never costs three times its own size in memory; nor does it cost that size: what was read is let
//! go of again, so that only the layer at work is resident, and the kernel keeps as much of the file as it has room for.

use std::{borrow::Cow, ops::Range, sync::Arc};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;
use sam3_package::{Dtype, StateDict, TensorView};

use crate::ops::{self, Compute, Rows, int8};

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
        dict: Arc<StateDict>,
        index: usize,
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
    /// Checks shape and element type; the error says what was expected and found.
    pub(super) fn open(
        dict: &Arc<StateDict>,
        index: usize,
        scale: Option<usize>,
        shape: &[usize],
        device: &Device,
    ) -> Result<Self, String> {
        let view = dict.view(index);
        if view.shape != shape {
            return Err(format!("expected shape {shape:?}, found {:?}", view.shape));
        }
        let scale = match (view.dtype, scale) {
            (Dtype::F32 | Dtype::F16 | Dtype::BF16, _) => None,
            (Dtype::I8, Some(scale)) => {
                let scale = dict.view(scale);
                if scale.shape != [shape[0], 1] {
                    return Err(format!(
                        "its scale: expected shape {:?}, found {:?}",
                        [shape[0], 1],
                        scale.shape
                    ));
                }
                let values = scale
                    .to_f32()
                    .ok_or_else(|| format!("its scale: expected F32, found {:?}", scale.dtype))?;
                Some(values.into())
            }
            (Dtype::I8, None) => return Err("int8 without its _scale tensor".into()),
            (other, _) => {
                return Err(format!(
                    "expected F32, F16, BF16 or I8, found {other:?}; store the checkpoint as float32 first"
                ));
            }
        };
        Ok(Self::new(
            Source::Mapped {
                dict: dict.clone(),
                index,
                scale,
            },
            shape,
            device,
        ))
    }

    pub(super) fn absent(shape: &[usize], device: &Device) -> Self {
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
    pub fn from_tensor(tensor: &Tensor) -> candle_core::Result<Self> {
        Self::for_products(tensor, Compute::F32)
    }

    /// As [`from_tensor`](Self::from_tensor), for products of `compute`: an accelerator need not hold more than they take.
    pub fn for_products(tensor: &Tensor, compute: Compute) -> candle_core::Result<Self> {
        let source = if ops::is_host(tensor) {
            Source::Owned(tensor.flatten_all()?.to_vec1()?.into())
        } else {
            Source::Float(ops::operand(tensor, compute)?.contiguous()?)
        };
        Ok(Self::new(source, tensor.dims(), tensor.device()))
    }

    /// The same weight where its products, of precision `compute`, are computed: copied there, once and as it is, where that is an
    /// accelerator.
    pub(super) fn on_device(self, compute: Compute) -> candle_core::Result<Self> {
        /// Values of a weight that is widened there once: to widen it for each product takes as long as the product, of few rows.
        const SMALL: usize = 1 << 19;
        if ops::is_main_memory(&self.device) {
            return Ok(self);
        }
        let source = match &self.source {
            Source::Mapped { .. } if compute == Compute::F32 && self.shape.iter().product::<usize>() <= SMALL => {
                Source::Float(self.to_tensor()?)
            }
            Source::Mapped { dict, index, scale } => {
                let view = dict.view(*index);
                let bytes = part_of(&view.parts, 0, self.shape.iter().product::<usize>() * view.dtype.size());
                let upload = |dtype| Tensor::from_raw_buffer(&bytes, dtype, &self.shape, &self.device);
                match (view.dtype, scale) {
                    (Dtype::F16, _) => Source::Float(upload(DType::F16)?),
                    (Dtype::BF16, _) => Source::Float(upload(DType::BF16)?),
                    (Dtype::I8, Some(scale)) => Source::Codes {
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
    pub(crate) fn matrix(&self, dtype: DType) -> candle_core::Result<Tensor> {
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
    pub fn to_tensor(&self) -> candle_core::Result<Tensor> {
        if let Source::Float(_) | Source::Codes { .. } = &self.source {
            return self.matrix(DType::F32)?.reshape(self.shape.as_slice());
        }
        let mut values = vec![0f32; self.shape.iter().product()];
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
        if let Source::Mapped { dict, index, .. } = &self.source
            && self.shape.iter().product::<usize>() >= MANY
        {
            dict.release(*index);
        }
    }

    /// The rows, to be read in pieces.
    pub fn reader(&self) -> Reader<'_> {
        let values = match &self.source {
            Source::Absent => Values::Absent,
            Source::Owned(values) => Values::Owned(values),
            Source::Float(_) | Source::Codes { .. } => unreachable!("ops for accelerators take the matrix"),
            Source::Mapped { dict, index, scale } => Values::Mapped(dict.view(*index), scale.as_deref()),
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
    pub fn gather(&self, ids: &[u32]) -> candle_core::Result<Tensor> {
        let width = self.row_len();
        let reader = self.reader();
        let mut values = vec![0f32; ids.len() * width];
        for (&id, row) in ids.iter().zip(values.chunks_exact_mut(width)) {
            reader.read(id as usize, 0, row);
        }
        Tensor::from_vec(values, (ids.len(), width), &self.device)
    }
}

/// A weight's rows as f32, widened piece by piece. Dropped, it lets go of the file's pages: whoever reads packs or copies, and needs no
/// weight twice before the next image or prompt. To get 1.7 GB back from the file's cache takes some 40 ms then.
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
    Mapped(TensorView<'a>, Option<&'a [f32]>),
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
        let (view, scale) = match &self.values {
            Values::Absent => return out.fill(0.0),
            Values::Owned(values) => return out.copy_from_slice(&values[row * self.row_len + start..][..out.len()]),
            Values::Mapped(view, scale) => (view, scale),
        };
        let size = view.dtype.size();
        let bytes = &*part_of(&view.parts, (row * self.row_len + start) * size, out.len() * size);
        match view.dtype {
            Dtype::F32 => convert(bytes, out, f32::from_le_bytes),
            Dtype::F16 => widen_f16(bytes, out),
            Dtype::BF16 => convert(bytes, out, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            // `open` lets nothing else through.
            _ => {
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
        if let Values::Mapped(view, Some(_)) = &self.reader.values {
            let at = (self.reader.weight.rows.start + row) * self.reader.row_len + start;
            let bytes = part_of(&view.parts, at, out.len());
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const NAME: &str = "detector.backbone.vision_backbone.trunk.blocks.0.mlp.fc1.weight";
    const ROWS: usize = 1024;
    const DEPTH: usize = 1024;

    /// A checkpoint of one weight, all ones in f16, and where it lies.
    fn checkpoint() -> (Arc<StateDict>, std::path::PathBuf) {
        let path = std::env::temp_dir().join(format!("sam3-release-{}.safetensors", std::process::id()));
        let len = ROWS * DEPTH * 2;
        let header = format!(r#"{{"{NAME}":{{"dtype":"F16","shape":[{ROWS},{DEPTH}],"data_offsets":[0,{len}]}}}}"#);
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend([0x00, 0x3c].repeat(ROWS * DEPTH));
        fs::write(&path, bytes).unwrap();
        (Arc::new(StateDict::open(&path).unwrap()), path)
    }

    /// Bytes of a mapped file that count as this process's memory.
    fn resident(path: &Path) -> usize {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let of_file = maps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
        let mut sizes = of_file.filter_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"));
        sizes.next().expect("the file is mapped").parse::<usize>().unwrap() << 10
    }

    #[test]
    fn what_was_read_is_let_go_of() {
        let (dict, path) = checkpoint();
        let index = dict.position(NAME).unwrap();
        let weight = Weight::open(&dict, index, None, &[ROWS, DEPTH], &Device::Cpu).unwrap();
        let mut row = vec![0f32; DEPTH];
        for _ in 0..2 {
            let reader = weight.reader();
            for index in 0..ROWS {
                reader.read(index, 0, &mut row);
                assert!(row.iter().all(|&value| value == 1.0), "row {index}");
            }
            assert!(resident(&path) >= ROWS * DEPTH * 2, "{} bytes", resident(&path));
            drop(reader);
            // The pages at both ends are shared with what lies beside.
            assert!(resident(&path) <= 64 << 10, "{} bytes", resident(&path));
        }
        fs::remove_file(path).unwrap();
    }
}
