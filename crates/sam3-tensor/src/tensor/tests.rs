//! Tensors against what was written by hand: values, extents, sharing, errors.

use half::{bf16, f16};

use super::*;
use crate::{
    Error,
    ops::testing::{counted, words},
};

const TYPES: [DType; 5] = [DType::U8, DType::I32, DType::F16, DType::BF16, DType::F32];

#[test]
fn values_come_back_in_row_major_order() {
    fn check<T: Element + PartialEq + fmt::Debug>(values: [T; 6]) {
        let x = Tensor::from_slice(&values, (2, 3), &Device::Cpu).unwrap();
        assert_eq!((x.dims(), x.dtype()), (&[2, 3][..], T::DTYPE));
        assert_eq!(x.values::<T>().unwrap(), values);
        assert_eq!(x.to_vec::<T>().unwrap(), values);
        assert_eq!(x.get(1).unwrap().to_vec::<T>().unwrap(), values[3..]);
    }
    check([0u8, 1, 127, 128, 254, 255]);
    check([i32::MIN, -1, 0, 1, 2, i32::MAX]);
    check([-1.5f32, -0.0, 0.0, 1e-40, f32::MAX, f32::INFINITY]);
    check([-1.5, -0.0, 0.0, 1.0, 65504.0, 6e-8].map(f16::from_f32));
    check([-1.5, -0.0, 0.0, 1.0, 3e38, 1e-40].map(bf16::from_f32));
}

#[test]
fn bytes_of_every_type_come_back() {
    let bytes: Vec<u8> = (0..48u8).map(|i| i.wrapping_mul(37) + 1).collect();
    for dtype in TYPES {
        let size = dtype.size_in_bytes();
        let x = Tensor::from_bytes(&bytes, dtype, (2, 24 / size), &Device::Cpu).unwrap();
        assert_eq!((x.dims(), x.dtype()), (&[2, 24 / size][..], dtype));
        let (buffer, range) = x.buffer().unwrap();
        assert_eq!((buffer.bytes(), range), (&bytes[..], 0..48 / size));
        let below = x.rows(1, 1).unwrap();
        assert_eq!(below.address(), x.address() + 24, "{dtype:?}");
    }
    let x = Tensor::from_bytes(
        &[1.5f32, -2.0].map(f32::to_ne_bytes).concat(),
        DType::F32,
        2,
        &Device::Cpu,
    );
    assert_eq!(x.unwrap().to_vec::<f32>().unwrap(), [1.5, -2.0]);
}

#[test]
fn extents_are_told() {
    let x = counted(&[2, 3, 4, 5]);
    assert_eq!(x.elem_count(), 120);
    assert_eq!((x.dim(1), x.last_dim()), (Ok(3), Ok(5)));
    assert_eq!(x.dims4(), Ok((2, 3, 4, 5)));
    assert_eq!(x.get(0).unwrap().dims3(), Ok((3, 4, 5)));
    assert_eq!(x.get(0).unwrap().get(2).unwrap().dims2(), Ok((4, 5)));
    let number = counted(&[1]).reshape([0usize; 0]).unwrap();
    assert_eq!((number.elem_count(), number.dims()), (1, &[][..]));
    assert_eq!(format!("{x:?}"), "F32 [2, 3, 4, 5] on Cpu");
}

#[test]
fn extents_change_and_the_elements_are_shared() {
    let x = counted(&[2, 3, 4]);
    let same = |y: Result<Tensor>, dims: &[usize]| {
        let y = y.unwrap();
        assert_eq!((y.dims(), y.address()), (dims, x.address()));
        assert_eq!(y.values::<f32>().unwrap(), x.values::<f32>().unwrap());
    };
    same(x.reshape((4, 6)), &[4, 6]);
    same(x.reshape((8, ())), &[8, 3]);
    same(x.reshape((2, 2, ())), &[2, 2, 6]);
    same(Ok(x.flatten_all()), &[24]);
    same(x.flatten_from(0), &[24]);
    same(x.flatten_from(1), &[2, 12]);
    same(x.flatten_from(2), &[2, 3, 4]);
    same(x.unsqueeze(0), &[1, 2, 3, 4]);
    same(x.unsqueeze(2), &[2, 3, 1, 4]);
    same(x.unsqueeze(3), &[2, 3, 4, 1]);
    same(x.unsqueeze(2).unwrap().squeeze(2), &[2, 3, 4]);
    same(x.to_device(&Device::Cpu), &[2, 3, 4]);
}

#[test]
fn rows_share_the_elements() {
    let x = counted(&[4, 3]);
    let rows = x.rows(1, 2).unwrap();
    assert_eq!((rows.dims(), rows.address()), (&[2, 3][..], x.address() + 12));
    assert_eq!(rows.to_vec::<f32>().unwrap(), [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let last = rows.get(1).unwrap();
    assert_eq!(
        (last.dims(), last.to_vec::<f32>().unwrap()),
        (&[3][..], vec![6.0, 7.0, 8.0])
    );
    assert_eq!(x.rows(4, 0).unwrap().dims(), [0, 3]);
}

#[test]
fn a_change_of_shared_elements_is_seen_by_nobody_else() {
    let x = counted(&[2, 2]);
    let mut copy = x.clone();
    assert_eq!(copy.address(), x.address());
    copy.values_mut::<f32>().unwrap()[0] = 9.0;
    assert_ne!(copy.address(), x.address());
    assert_eq!(copy.to_vec::<f32>().unwrap(), [9.0, 1.0, 2.0, 3.0]);
    assert_eq!(x.to_vec::<f32>().unwrap(), [0.0, 1.0, 2.0, 3.0]);
    // A part copies no more than itself.
    let mut row = x.rows(1, 1).unwrap();
    row.values_mut::<f32>().unwrap()[0] = 8.0;
    assert_eq!(
        (row.dims(), row.to_vec::<f32>().unwrap()),
        (&[1, 2][..], vec![8.0, 3.0])
    );
    assert_eq!(x.to_vec::<f32>().unwrap(), [0.0, 1.0, 2.0, 3.0]);
}

#[test]
fn elements_of_one_owner_are_changed_where_they_are() {
    let mut x = counted(&[2, 2]);
    let address = x.address();
    x.values_mut::<f32>().unwrap()[3] = 9.0;
    assert_eq!(
        (x.address(), x.to_vec::<f32>().unwrap()),
        (address, vec![0.0, 1.0, 2.0, 9.0])
    );
    let mut row = x.rows(1, 1).unwrap();
    drop(x);
    row.values_mut::<f32>().unwrap()[0] = 8.0;
    assert_eq!(
        (row.address(), row.to_vec::<f32>().unwrap()),
        (address + 8, vec![8.0, 9.0])
    );
}

#[test]
fn errors_say_what_was_expected() {
    let mut x = counted(&[2, 3]);
    assert_eq!(words(x.values::<u8>()), "expected elements of U8, found F32");
    assert_eq!(words(x.to_vec::<f16>()), "expected elements of F16, found F32");
    assert_eq!(words(x.values_mut::<i32>()), "expected elements of I32, found F32");
    let shared = x.clone();
    assert_eq!(words(x.values_mut::<i32>()), "expected elements of I32, found F32");
    drop(shared);
    assert_eq!(
        words(Tensor::from_vec(vec![1f32; 5], (2, 3), &Device::Cpu)),
        "5 elements in a shape [2, 3]"
    );
    assert_eq!(
        words(Tensor::from_slice(&[1u8; 7], 6, &Device::Cpu)),
        "7 elements in a shape [6]"
    );
    let bytes = [0; 10];
    assert_eq!(
        words(Tensor::from_bytes(&bytes, DType::F32, 3, &Device::Cpu)),
        "2 elements in a shape [3]"
    );
    assert_eq!(
        words(Tensor::from_bytes(&bytes, DType::F32, 2, &Device::Cpu)),
        "10 bytes of F32"
    );
    assert_eq!(words(x.dim(2)), "axis 2 of a shape [2, 3]");
    assert_eq!(words(x.get(0).unwrap().dims2()), "expected two axes, found a shape [3]");
    assert_eq!(words(x.dims3()), "expected three axes, found a shape [2, 3]");
    assert_eq!(words(x.dims4()), "expected four axes, found a shape [2, 3]");
    assert_eq!(words(x.reshape((2, 2))), "6 elements in a shape [2, 2]");
    assert_eq!(words(x.reshape((4, ()))), "6 elements in rows of a shape [4]");
    assert_eq!(words(x.squeeze(0)), "axis 0 of a shape [2, 3] is not 1");
    assert_eq!(words(x.squeeze(2)), "axis 2 of a shape [2, 3]");
    assert_eq!(words(x.unsqueeze(3)), "axis 3 of a shape [2, 3]");
    assert_eq!(words(x.flatten_from(2)), "axis 2 of a shape [2, 3]");
    assert_eq!(words(x.rows(1, 2)), "2 from 1 on of axis 0 of a shape [2, 3]");
    assert_eq!(words(x.get(2)), "1 from 2 on of axis 0 of a shape [2, 3]");
    let far = format!("1 from {} on of axis 0 of a shape [2, 3]", usize::MAX);
    assert_eq!(words(x.get(usize::MAX)), far);
    let number = x.flatten_all().get(0).unwrap();
    assert_eq!(words(number.last_dim()), "the last axis of a number");
    assert_eq!(words(number.rows(0, 1)), "1 from 0 on of axis 0 of a shape []");
}

#[test]
fn zeros_that_no_memory_holds_are_an_error() {
    for dtype in TYPES {
        let len = usize::MAX / 8;
        let expected = Error::OutOfMemory {
            bytes: len * dtype.size_in_bytes(),
        };
        assert_eq!(Tensor::zeros(len, dtype, &Device::Cpu).unwrap_err(), expected);
        assert_eq!(Tensor::zeros((len, 0), dtype, &Device::Cpu).unwrap().elem_count(), 0);
    }
    assert_eq!(
        Tensor::zeros((2, 3), DType::I32, &Device::Cpu)
            .unwrap()
            .to_vec::<i32>()
            .unwrap(),
        [0; 6]
    );
}
