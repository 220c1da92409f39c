//! The tensor: elements of one type, in row-major order, and the extents that give them their places.

use std::{fmt, ops::Range, sync::Arc};

use crate::{
    DType, Device, Element, Reshape, Result, Shape,
    error::mismatch,
    gpu,
    shape::elements,
    storage::{Buffer, copied, with_values},
};

/// Elements of one type in row-major order, on one device.
///
/// A clone shares the elements. So does what differs in its extents alone, and a range of the first axis: everything
/// else that rearranges elements copies them, so that every operation finds them contiguous.
#[derive(Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    /// Elements before its first.
    start: usize,
    dims: Vec<usize>,
    dtype: DType,
    device: Device,
}

enum Storage {
    Main(Buffer),
    Cuda(gpu::Memory),
}

/// # Made from values
impl Tensor {
    /// Takes the values, in row-major order, to `device`.
    ///
    /// # Errors
    /// When they are not as many as the shape has, or the device has no room for them.
    pub fn from_vec<T: Element>(values: Vec<T>, shape: impl Shape, device: &Device) -> Result<Self> {
        let dims = Reshape::into_dims(shape.into_dims(), values.len())?;
        Self::from_buffer(T::buffer(values), dims, device)
    }

    /// Copies the values, in row-major order, to `device`.
    ///
    /// # Errors
    /// As [`from_vec`](Self::from_vec).
    pub fn from_slice<T: Element>(values: &[T], shape: impl Shape, device: &Device) -> Result<Self> {
        Self::from_vec(copied(values)?, shape, device)
    }

    /// A tensor of these values, in row-major order, where this one is.
    ///
    /// # Errors
    /// As [`from_vec`](Self::from_vec).
    pub fn new_tensor<T: Element>(&self, values: Vec<T>, shape: impl Shape) -> Result<Self> {
        Self::from_vec(values, shape, &self.device)
    }

    /// Elements of zero.
    ///
    /// # Errors
    /// When the device has no room for them.
    pub fn zeros(shape: impl Shape, dtype: DType, device: &Device) -> Result<Self> {
        let dims = shape.into_dims();
        match device {
            Device::Cpu => Self::from_buffer(Buffer::zeros(dtype, elements(&dims)?)?, dims, device),
            Device::Cuda(gpu) => {
                let memory = gpu.zeros(elements(&dims)? * dtype.size_in_bytes())?;
                Ok(Self::new(Storage::Cuda(memory), dims, dtype, device))
            }
        }
    }

    /// Elements of which nothing is known, for a kernel to write.
    pub(crate) fn uninitialised(shape: impl Shape, dtype: DType, device: &Device) -> Result<Self> {
        match device {
            // Zero is cheap, and only tests run kernels in main memory.
            Device::Cpu => Self::zeros(shape, dtype, device),
            Device::Cuda(gpu) => {
                let dims = shape.into_dims();
                let memory = gpu.alloc(elements(&dims)? * dtype.size_in_bytes())?;
                Ok(Self::new(Storage::Cuda(memory), dims, dtype, device))
            }
        }
    }

    /// Copies elements of any type, given as the bytes of this machine's order.
    ///
    /// # Errors
    /// As [`from_vec`](Self::from_vec).
    pub fn from_bytes(bytes: &[u8], dtype: DType, shape: impl Shape, device: &Device) -> Result<Self> {
        let dims = Reshape::into_dims(shape.into_dims(), bytes.len() / dtype.size_in_bytes())?;
        if !bytes.len().is_multiple_of(dtype.size_in_bytes()) {
            mismatch!("{} bytes of {dtype:?}", bytes.len());
        }
        match device {
            Device::Cpu => Self::from_buffer(Buffer::from_bytes(bytes, dtype)?, dims, device),
            Device::Cuda(gpu) => Ok(Self::new(Storage::Cuda(gpu.upload(bytes)?), dims, dtype, device)),
        }
    }

    fn from_buffer(buffer: Buffer, dims: Vec<usize>, device: &Device) -> Result<Self> {
        let dtype = buffer.dtype();
        let storage = match device {
            Device::Cpu => Storage::Main(buffer),
            Device::Cuda(gpu) => Storage::Cuda(gpu.upload(buffer.bytes())?),
        };
        Ok(Self::new(storage, dims, dtype, device))
    }

    fn new(storage: Storage, dims: Vec<usize>, dtype: DType, device: &Device) -> Self {
        Self {
            storage: Arc::new(storage),
            start: 0,
            dims,
            dtype,
            device: device.clone(),
        }
    }
}

/// # What it is
impl Tensor {
    /// Extent of each axis.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Extent of one axis.
    ///
    /// # Errors
    /// When there is no such axis.
    pub fn dim(&self, axis: usize) -> Result<usize> {
        match self.dims.get(axis) {
            Some(&extent) => Ok(extent),
            None => mismatch!("axis {axis} of a shape {:?}", self.dims),
        }
    }

    /// Extent of the last axis.
    ///
    /// # Errors
    /// When there is none.
    pub fn last_dim(&self) -> Result<usize> {
        match self.dims.last() {
            Some(&extent) => Ok(extent),
            None => mismatch!("the last axis of a number"),
        }
    }

    /// Both extents of a matrix.
    ///
    /// # Errors
    /// When there are not two.
    pub fn dims2(&self) -> Result<(usize, usize)> {
        match self.dims[..] {
            [a, b] => Ok((a, b)),
            _ => mismatch!("expected two axes, found a shape {:?}", self.dims),
        }
    }

    /// The extents of three axes.
    ///
    /// # Errors
    /// When there are not three.
    pub fn dims3(&self) -> Result<(usize, usize, usize)> {
        match self.dims[..] {
            [a, b, c] => Ok((a, b, c)),
            _ => mismatch!("expected three axes, found a shape {:?}", self.dims),
        }
    }

    /// The extents of four axes.
    ///
    /// # Errors
    /// When there are not four.
    pub fn dims4(&self) -> Result<(usize, usize, usize, usize)> {
        match self.dims[..] {
            [a, b, c, d] => Ok((a, b, c, d)),
            _ => mismatch!("expected four axes, found a shape {:?}", self.dims),
        }
    }

    /// The product of the extents.
    pub fn elem_count(&self) -> usize {
        self.dims.iter().product()
    }

    /// The elements' type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where it is.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Waits until everything that was asked of its device is done.
    ///
    /// # Errors
    /// What failed there since.
    pub fn wait(&self) -> Result<()> {
        self.device.synchronize()
    }
}

/// # Its elements
impl Tensor {
    /// Borrows the elements of a tensor in main memory, in row-major order.
    ///
    /// # Errors
    /// When they are of another type, or on a GPU.
    pub fn values<T: Element>(&self) -> Result<&[T]> {
        let range = self.range();
        match &*self.storage {
            Storage::Main(buffer) => match T::values(buffer) {
                Some(values) => Ok(&values[range]),
                None => mismatch!("expected elements of {:?}, found {:?}", T::DTYPE, self.dtype),
            },
            Storage::Cuda(_) => mismatch!("expected a tensor in main memory, found one on a GPU"),
        }
    }

    /// As [`values`](Self::values), to be changed: copied first, where another tensor shares them.
    ///
    /// # Errors
    /// As there; and when there is no room for the copy.
    pub fn values_mut<T: Element>(&mut self) -> Result<&mut [T]> {
        if Arc::get_mut(&mut self.storage).is_none() {
            *self = Self::from_slice(self.values::<T>()?, self.dims.as_slice(), &self.device)?;
        }
        let (range, dtype) = (self.range(), self.dtype);
        match Arc::get_mut(&mut self.storage) {
            Some(Storage::Main(buffer)) => match T::values_mut(buffer) {
                Some(values) => Ok(&mut values[range]),
                None => mismatch!("expected elements of {:?}, found {dtype:?}", T::DTYPE),
            },
            _ => mismatch!("expected a tensor in main memory, found one on a GPU"),
        }
    }

    /// Does no other tensor share its elements?
    pub(crate) fn is_sole(&self) -> bool {
        Arc::strong_count(&self.storage) == 1 && self.start == 0
    }

    /// A copy of the elements in main memory, wherever they are, in row-major order.
    ///
    /// # Errors
    /// When they are of another type, the device fails, or there is no room for them.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        match &self.device {
            Device::Cpu => copied(self.values()?),
            Device::Cuda(_) => self.to_device(&Device::Cpu)?.to_vec(),
        }
    }

    /// The same as f32, of whatever type they are.
    ///
    /// # Errors
    /// When there is no room for them, or the device fails.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        self.to_dtype(DType::F32)?.to_vec()
    }

    /// The tensor on another device; a clone where it is there already.
    ///
    /// # Errors
    /// When that has no room for it, or one of the two fails.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        if self.device == *device {
            return Ok(self.clone());
        }
        let dims = self.dims.clone();
        let size = self.dtype.size_in_bytes();
        let bytes = self.start * size..(self.start + self.elem_count()) * size;
        match &*self.storage {
            Storage::Main(buffer) => Self::from_bytes(&buffer.bytes()[bytes], self.dtype, dims, device),
            Storage::Cuda(memory) => {
                let mut buffer = Buffer::zeros(self.dtype, self.elem_count())?;
                memory.download(bytes, buffer.bytes_mut())?;
                Self::from_buffer(buffer, dims, device)
            }
        }
    }

    /// Where the first element is, for a kernel.
    pub(crate) fn address(&self) -> u64 {
        let start = match &*self.storage {
            Storage::Main(buffer) => with_values!(buffer, values => values.as_ptr() as u64),
            Storage::Cuda(memory) => memory.address(),
        };
        start + (self.start * self.dtype.size_in_bytes()) as u64
    }

    fn range(&self) -> Range<usize> {
        self.start..self.start + self.elem_count()
    }

    /// The buffer behind a tensor in main memory, and which of its elements are the tensor's.
    pub(crate) fn buffer(&self) -> Option<(&Buffer, Range<usize>)> {
        match &*self.storage {
            Storage::Main(buffer) => Some((buffer, self.range())),
            Storage::Cuda(_) => None,
        }
    }
}

/// # The same elements with other extents
impl Tensor {
    /// With this shape, of which one extent may be left out: `x.reshape((rows, ()))`.
    ///
    /// # Errors
    /// When that has another number of elements.
    pub fn reshape(&self, shape: impl Reshape) -> Result<Self> {
        let dims = shape.into_dims(self.elem_count())?;
        Ok(self.with_dims(dims))
    }

    /// With one axis.
    pub fn flatten_all(&self) -> Self {
        self.with_dims(vec![self.elem_count()])
    }

    /// With the axes from `axis` on as one.
    ///
    /// # Errors
    /// When there is no such axis.
    pub fn flatten_from(&self, axis: usize) -> Result<Self> {
        self.dim(axis)?;
        let mut dims = self.dims[..axis].to_vec();
        dims.push(self.dims[axis..].iter().product());
        Ok(self.with_dims(dims))
    }

    /// Without `axis`, whose extent is 1.
    ///
    /// # Errors
    /// When it is not.
    pub fn squeeze(&self, axis: usize) -> Result<Self> {
        if self.dim(axis)? != 1 {
            mismatch!("axis {axis} of a shape {:?} is not 1", self.dims);
        }
        let mut dims = self.dims.clone();
        dims.remove(axis);
        Ok(self.with_dims(dims))
    }

    /// With an extent of 1 before `axis`.
    ///
    /// # Errors
    /// When there are fewer axes.
    pub fn unsqueeze(&self, axis: usize) -> Result<Self> {
        if axis > self.dims.len() {
            mismatch!("axis {axis} of a shape {:?}", self.dims);
        }
        let mut dims = self.dims.clone();
        dims.insert(axis, 1);
        Ok(self.with_dims(dims))
    }

    /// `len` indices of the first axis, from `start` on.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn rows(&self, start: usize, len: usize) -> Result<Self> {
        let fits = |extent: &usize| start.checked_add(len).is_some_and(|end| end <= *extent);
        if !self.dims.first().is_some_and(fits) {
            mismatch!("{len} from {start} on of axis 0 of a shape {:?}", self.dims);
        }
        let mut part = self.clone();
        part.dims[0] = len;
        part.start += start * self.dims[1..].iter().product::<usize>();
        Ok(part)
    }

    /// Index `index` of the first axis.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, index: usize) -> Result<Self> {
        self.rows(index, 1)?.squeeze(0)
    }

    fn with_dims(&self, dims: Vec<usize>) -> Self {
        Self { dims, ..self.clone() }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} on {:?}", self.dtype, self.dims, self.device)
    }
}

#[cfg(test)]
mod tests;
