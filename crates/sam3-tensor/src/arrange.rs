//! Elements in other places: parts of axes, axes in another order, tensors end to end.

use crate::{
    Device, Element, Result, Shape, Tensor,
    error::mismatch,
    launch::{self, Address, Args, Launch, MOST_AXES, Module, axes, module},
    shape::{broadcast, broadcast_strides, strides},
    storage::with_values,
};

impl Tensor {
    /// `len` indices of an axis, from `start` on. Of the first axis, the elements are shared.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn narrow(&self, axis: usize, start: usize, len: usize) -> Result<Self> {
        if axis == 0 {
            return self.rows(start, len);
        }
        let extent = self.dim(axis)?;
        if start.checked_add(len).is_none_or(|end| end > extent) {
            mismatch!("{len} from {start} on of axis {axis} of a shape {:?}", self.dims());
        }
        if len == extent {
            return Ok(self.clone());
        }
        let strides = strides(self.dims());
        let mut dims = self.dims().to_vec();
        dims[axis] = len;
        self.read(start * strides[axis], &strides, &dims)
    }

    /// With the axes in another order: axis `i` of the result is axis `order[i]`.
    ///
    /// # Errors
    /// When `order` is no order of the axes.
    pub fn permute<const N: usize>(&self, order: [usize; N]) -> Result<Self> {
        let mut axes = order;
        axes.sort_unstable();
        if !axes.into_iter().eq(0..self.dims().len()) {
            mismatch!("axes {order:?} of a shape {:?}", self.dims());
        }
        let own = strides(self.dims());
        let strides = order.map(|axis| own[axis]);
        let dims = order.map(|axis| self.dims()[axis]);
        self.read(0, &strides, &dims)
    }

    /// A matrix with its axes exchanged.
    ///
    /// # Errors
    /// When it is none.
    pub fn t(&self) -> Result<Self> {
        self.dims2()?;
        self.permute([1, 0])
    }

    /// Repeated along axes of extent 1, and along new ones before its first, to this shape.
    ///
    /// # Errors
    /// When it does not broadcast to it.
    pub fn broadcast_as(&self, shape: impl Shape) -> Result<Self> {
        let dims = shape.into_dims();
        if broadcast(self.dims(), &dims)? != dims {
            mismatch!("a shape {:?} does not broadcast to {dims:?}", self.dims());
        }
        self.read(0, &broadcast_strides(self.dims(), &dims), &dims)
    }

    /// Repeated as a whole, so many times along each axis.
    ///
    /// # Errors
    /// When `times` has another number of axes.
    pub fn repeat<const N: usize>(&self, times: [usize; N]) -> Result<Self> {
        if self.dims().len() != N {
            mismatch!("a shape {:?} repeated {times:?} times", self.dims());
        }
        // Every axis becomes two, of which the first goes nowhere.
        let own = strides(self.dims());
        let pairs = times.into_iter().zip(self.dims()).zip(own);
        let (dims, strides): (Vec<_>, Vec<_>) = pairs
            .flat_map(|((times, extent), stride)| [(times, 0), (*extent, stride)])
            .unzip();
        let whole = times.into_iter().zip(self.dims()).map(|(times, extent)| times * extent);
        self.read(0, &strides, &dims)?.reshape(whole.collect::<Vec<_>>())
    }

    /// With so many indices of zeros before and behind those of an axis.
    ///
    /// # Errors
    /// When there is no such axis.
    pub fn pad_with_zeros(&self, axis: usize, before: usize, behind: usize) -> Result<Self> {
        let mut dims = self.dims().to_vec();
        dims[axis] = before + self.dim(axis)? + behind;
        let mut padded = Self::zeros(dims, self.dtype(), self.device())?;
        self.write_into(&mut padded, axis, before)?;
        Ok(padded)
    }

    /// Tensors end to end along an axis.
    ///
    /// # Errors
    /// When there are none, or they differ in type, device or another axis.
    pub fn cat<T: AsRef<Tensor>>(tensors: &[T], axis: usize) -> Result<Self> {
        let tensors: Vec<&Self> = tensors.iter().map(AsRef::as_ref).collect();
        let Some(first) = tensors.first() else {
            mismatch!("no tensors to be put end to end");
        };
        first.dim(axis)?;
        let mut dims = first.dims().to_vec();
        dims[axis] = 0;
        for x in &tensors {
            let fits = |i: usize| i == axis || x.dims()[i] == first.dims()[i];
            let is_like = x.dims().len() == dims.len() && x.dtype() == first.dtype() && x.device() == first.device();
            if !is_like || !(0..dims.len()).all(fits) {
                mismatch!("{first:?} and {x:?} end to end along axis {axis}");
            }
            dims[axis] += x.dims()[axis];
        }
        let mut whole = Self::zeros(dims, first.dtype(), first.device())?;
        let mut start = 0;
        for x in tensors {
            x.write_into(&mut whole, axis, start)?;
            start += x.dims()[axis];
        }
        Ok(whole)
    }

    /// Tensors of one shape along a new axis.
    ///
    /// # Errors
    /// As [`cat`](Self::cat).
    pub fn stack(tensors: &[Self], axis: usize) -> Result<Self> {
        let parts: Vec<Self> = tensors.iter().map(|x| x.unsqueeze(axis)).collect::<Result<_>>()?;
        Self::cat(&parts, axis)
    }

    /// These indices of the first axis.
    ///
    /// # Errors
    /// When there are none, or one is too large.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        let rows: Vec<Self> = indices
            .iter()
            .map(|&index| self.rows(index, 1))
            .collect::<Result<_>>()?;
        Self::cat(&rows, 0)
    }

    /// A copy whose element `[i, j, ..]` is that at `start + i × strides[0] + j × strides[1] ..`.
    fn read(&self, start: usize, strides: &[usize], dims: &[usize]) -> Result<Self> {
        let mut copy = match self.device() {
            Device::Cpu => Self::zeros(dims, self.dtype(), self.device())?,
            Device::Cuda(_) => launch::uninitialised(dims, self.dtype(), self.device())?,
        };
        let own = self::strides(dims);
        copy_block(
            self,
            Block { start, strides },
            &mut copy,
            Block {
                start: 0,
                strides: &own,
            },
            dims,
        )?;
        Ok(copy)
    }

    /// Copies all of it into `whole`, of which it is the indices of an axis from `start` on.
    pub(crate) fn write_into(&self, whole: &mut Self, axis: usize, start: usize) -> Result<()> {
        let (from, to) = (strides(self.dims()), strides(whole.dims()));
        let place = Block {
            start: start * to[axis],
            strides: &to,
        };
        let block = Block {
            start: 0,
            strides: &from,
        };
        copy_block(self, block, whole, place, self.dims())
    }
}

impl AsRef<Tensor> for Tensor {
    fn as_ref(&self) -> &Tensor {
        self
    }
}

/// Places in a tensor: where the first element is, and how far it is to the next along each axis.
#[derive(Clone, Copy)]
struct Block<'a> {
    start: usize,
    strides: &'a [usize],
}

/// Copies the elements of a shape `dims` from places to places.
fn copy_block(from: &Tensor, source: Block<'_>, to: &mut Tensor, target: Block<'_>, dims: &[usize]) -> Result<()> {
    if dims.contains(&0) {
        return Ok(());
    }
    if launch::runs_on(from.device()) {
        return launch_copy(from, source, to, target, dims);
    }
    let Some((buffer, range)) = from.buffer() else {
        mismatch!("{from:?}: no kernel runs there");
    };
    fn run<T: Element>(values: &[T], to: &mut Tensor, [source, target]: [Block<'_>; 2], dims: &[usize]) -> Result<()> {
        copy(
            &values[source.start..],
            source.strides,
            &mut to.values_mut()?[target.start..],
            target.strides,
            dims,
        );
        Ok(())
    }
    with_values!(buffer, values => run(&values[range], to, [source, target], dims))
}

/// One axis after the other; runs of the last are copied whole where they lie end to end on both sides.
fn copy<T: Copy>(from: &[T], from_strides: &[usize], to: &mut [T], to_strides: &[usize], dims: &[usize]) {
    match (dims, from_strides, to_strides) {
        ([], ..) => to[0] = from[0],
        ([len], [1], [1]) => to[..*len].copy_from_slice(&from[..*len]),
        ([len], [from_stride], [to_stride]) => {
            for i in 0..*len {
                to[i * to_stride] = from[i * from_stride];
            }
        }
        ([len, dims @ ..], [from_stride, from_rest @ ..], [to_stride, to_rest @ ..]) => {
            for i in 0..*len {
                copy(
                    &from[i * from_stride..],
                    from_rest,
                    &mut to[i * to_stride..],
                    to_rest,
                    dims,
                );
            }
        }
        _ => unreachable!("as many strides as axes"),
    }
}

const MODULE: Module = module!("arrange");
const THREADS: usize = 256;

/// `CopyArgs` of `kernels/arrange.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CopyArgs {
    from: Address,
    to: Address,
    total: u64,
    dims: [u32; MOST_AXES],
    from_strides: [u32; MOST_AXES],
    to_strides: [u32; MOST_AXES],
}

// SAFETY: as its source has it; 96 bytes.
unsafe impl Args for CopyArgs {}

fn launch_copy(from: &Tensor, source: Block<'_>, to: &Tensor, target: Block<'_>, dims: &[usize]) -> Result<()> {
    let size = from.dtype().size_in_bytes() as u64;
    let total = dims.iter().product::<usize>();
    let most = from.elem_count().max(to.elem_count());
    if dims.len() > MOST_AXES || u32::try_from(most).is_err() {
        mismatch!("{from:?}: a kernel copies {MOST_AXES} axes and 2³² elements at most");
    }
    let mut launch = Launch::on(from.device());
    let args = CopyArgs {
        from: launch.input(from, from.dtype())? + source.start as u64 * size,
        to: launch.output(to)? + target.start as u64 * size,
        total: total as u64,
        dims: axes(dims, 1),
        from_strides: axes(source.strides, 0),
        to_strides: axes(target.strides, 0),
    };
    let blocks = [total.div_ceil(THREADS), 1, 1];
    // SAFETY: a thread for each element, whose places are within both tensors.
    unsafe { launch.run(MODULE, &format!("copy_{size}"), blocks, THREADS, args) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        ops::testing::{assert_values as check, counted, words},
    };

    #[test]
    fn an_axis_is_narrowed() {
        let x = counted(&[2, 3, 2]);
        check(x.narrow(0, 1, 1), &[1, 3, 2], &[6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
        check(
            x.narrow(1, 1, 2),
            &[2, 2, 2],
            &[2.0, 3.0, 4.0, 5.0, 8.0, 9.0, 10.0, 11.0],
        );
        check(x.narrow(2, 1, 1), &[2, 3, 1], &[1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
        check(x.narrow(1, 3, 0), &[2, 0, 2], &[]);
        // Of a part, whose first element is not the buffer's.
        check(x.rows(1, 1).unwrap().narrow(1, 1, 1), &[1, 1, 2], &[8.0, 9.0]);
        // The first axis, and all of another, need no copy.
        assert_eq!(x.narrow(0, 1, 1).unwrap().address(), x.address() + 24);
        assert_eq!(x.narrow(1, 0, 3).unwrap().address(), x.address());
        assert_eq!(words(x.narrow(1, 2, 2)), "2 from 2 on of axis 1 of a shape [2, 3, 2]");
        assert_eq!(words(x.narrow(3, 0, 1)), "axis 3 of a shape [2, 3, 2]");
        let far = format!("1 from {} on of axis 1 of a shape [2, 3, 2]", usize::MAX);
        assert_eq!(words(x.narrow(1, usize::MAX, 1)), far);
    }

    #[test]
    fn axes_change_places() {
        let x = counted(&[2, 3, 2]);
        let expected = [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 1.0, 3.0, 5.0, 7.0, 9.0, 11.0];
        check(x.permute([2, 0, 1]), &[2, 2, 3], &expected);
        let expected = [0.0, 6.0, 2.0, 8.0, 4.0, 10.0, 1.0, 7.0, 3.0, 9.0, 5.0, 11.0];
        check(x.permute([2, 1, 0]), &[2, 3, 2], &expected);
        check(x.permute([0, 1, 2]), x.dims(), x.values().unwrap());
        check(counted(&[2, 3]).t(), &[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        check(counted(&[3, 2]).rows(1, 2).unwrap().t(), &[2, 2], &[2.0, 4.0, 3.0, 5.0]);
        assert_eq!(words(x.permute([0, 1])), "axes [0, 1] of a shape [2, 3, 2]");
        assert_eq!(words(x.permute([0, 1, 1])), "axes [0, 1, 1] of a shape [2, 3, 2]");
        assert_eq!(words(x.t()), "expected two axes, found a shape [2, 3, 2]");
    }

    #[test]
    fn axes_of_one_are_repeated_to_a_shape() {
        check(
            counted(&[3]).broadcast_as((2, 3)),
            &[2, 3],
            &[0.0, 1.0, 2.0, 0.0, 1.0, 2.0],
        );
        check(
            counted(&[2, 1]).broadcast_as((2, 3)),
            &[2, 3],
            &[0.0, 0.0, 0.0, 1.0, 1.0, 1.0],
        );
        let expected = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0];
        check(counted(&[2, 1]).broadcast_as((2, 2, 2)), &[2, 2, 2], &expected);
        let one = counted(&[1]).squeeze(0).unwrap();
        check(one.broadcast_as(3), &[3], &[0.0; 3]);
        check(one.broadcast_as((2, 0)), &[2, 0], &[]);
        let x = counted(&[2, 3]);
        assert_eq!(
            words(x.broadcast_as((3, 3))),
            "shapes [2, 3] and [3, 3] do not broadcast"
        );
        // The other way round they would.
        assert_eq!(words(x.broadcast_as(3)), "a shape [2, 3] does not broadcast to [3]");
        assert_eq!(
            words(x.broadcast_as((1, 3))),
            "a shape [2, 3] does not broadcast to [1, 3]"
        );
    }

    #[test]
    fn a_whole_is_repeated() {
        check(
            counted(&[1, 2]).repeat([2, 2]),
            &[2, 4],
            &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0],
        );
        check(
            counted(&[2, 1]).repeat([1, 3]),
            &[2, 3],
            &[0.0, 0.0, 0.0, 1.0, 1.0, 1.0],
        );
        check(counted(&[2]).repeat([3]), &[6], &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
        check(counted(&[2]).repeat([0]), &[0], &[]);
        assert_eq!(words(counted(&[2]).repeat([1, 2])), "a shape [2] repeated [1, 2] times");
    }

    #[test]
    fn zeros_come_before_and_behind() {
        let x = (counted(&[2, 2]) + 1.0).unwrap();
        let expected = [0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0];
        check(x.pad_with_zeros(1, 1, 2), &[2, 5], &expected);
        check(x.pad_with_zeros(0, 1, 0), &[3, 2], &[0.0, 0.0, 1.0, 2.0, 3.0, 4.0]);
        check(x.pad_with_zeros(0, 0, 0), &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(words(x.pad_with_zeros(2, 1, 1)), "axis 2 of a shape [2, 2]");
    }

    #[test]
    fn tensors_lie_end_to_end() {
        let (a, b) = (counted(&[2, 1]), (counted(&[2, 2]) + 10.0).unwrap());
        check(Tensor::cat(&[&a, &b], 1), &[2, 3], &[0.0, 10.0, 11.0, 1.0, 12.0, 13.0]);
        check(Tensor::cat(&[&b, &a], 1), &[2, 3], &[10.0, 11.0, 0.0, 12.0, 13.0, 1.0]);
        check(
            Tensor::cat(&[a.clone(), a.rows(1, 1).unwrap()], 0),
            &[3, 1],
            &[0.0, 1.0, 1.0],
        );
        check(Tensor::cat(&[&a], 1), &[2, 1], &[0.0, 1.0]);
        let (a, b) = (counted(&[2]), (counted(&[2]) + 10.0).unwrap());
        check(
            Tensor::stack(&[a.clone(), b.clone()], 0),
            &[2, 2],
            &[0.0, 1.0, 10.0, 11.0],
        );
        check(Tensor::stack(&[a, b], 1), &[2, 2], &[0.0, 10.0, 1.0, 11.0]);
    }

    #[test]
    fn what_does_not_fit_end_to_end_is_told() {
        let (a, b) = (counted(&[2, 1]), counted(&[3, 1]));
        let expected = "F32 [2, 1] on Cpu and F32 [3, 1] on Cpu end to end along axis 1";
        assert_eq!(words(Tensor::cat(&[&a, &b], 1)), expected);
        let codes = Tensor::zeros((2, 1), DType::U8, &Device::Cpu).unwrap();
        let expected = "F32 [2, 1] on Cpu and U8 [2, 1] on Cpu end to end along axis 0";
        assert_eq!(words(Tensor::cat(&[&a, &codes], 0)), expected);
        let expected = "F32 [2, 1] on Cpu and F32 [2] on Cpu end to end along axis 0";
        assert_eq!(words(Tensor::cat(&[&a, &a.flatten_all()], 0)), expected);
        assert_eq!(words(Tensor::cat(&[&a, &a], 2)), "axis 2 of a shape [2, 1]");
        assert_eq!(words(Tensor::cat::<Tensor>(&[], 0)), "no tensors to be put end to end");
        assert_eq!(
            words(Tensor::stack(&[a.clone(), b], 0)),
            "F32 [1, 2, 1] on Cpu and F32 [1, 3, 1] on Cpu end to end along axis 0"
        );
        assert_eq!(words(Tensor::stack(&[a], 3)), "axis 3 of a shape [2, 1]");
    }

    #[test]
    fn rows_are_selected() {
        let x = counted(&[3, 2]);
        check(x.select(&[2, 0, 2]), &[3, 2], &[4.0, 5.0, 0.0, 1.0, 4.0, 5.0]);
        check(counted(&[3]).select(&[1]), &[1], &[1.0]);
        assert_eq!(words(x.select(&[3])), "1 from 3 on of axis 0 of a shape [3, 2]");
        assert_eq!(words(x.select(&[])), "no tensors to be put end to end");
    }

    #[test]
    fn integers_are_rearranged_too() {
        let x = Tensor::from_vec(vec![1i32, -2, 3, i32::MIN], (2, 2), &Device::Cpu).unwrap();
        assert_eq!(x.t().unwrap().values::<i32>().unwrap(), [1, 3, -2, i32::MIN]);
        let x = Tensor::from_vec(vec![1u8, 2, 3, 255], (2, 2), &Device::Cpu).unwrap();
        assert_eq!(
            x.pad_with_zeros(1, 0, 1).unwrap().values::<u8>().unwrap(),
            [1, 2, 0, 3, 255, 0]
        );
    }
}
