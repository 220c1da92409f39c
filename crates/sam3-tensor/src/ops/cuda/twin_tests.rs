//! The twins against the operations that the model runs on a CPU.

use std::sync::Arc;

use crate::{DType, Device, Tensor};

use crate::ops::{
    self, Activation, Compute, Rope,
    testing::{assert_close, plain_matmul_t, tensor},
};

#[test]
fn attention_is_the_cpus() {
    let (q, k, v) = (tensor(&[2, 7, 24], 1), tensor(&[2, 31, 24], 2), tensor(&[2, 31, 24], 3));
    for bias in [None, Some(tensor(&[3, 7, 31], 4)), Some(tensor(&[1, 1, 31], 5))] {
        let expected = ops::attention(Compute::F32, &q, &k, &v, 3, bias.as_ref().map(ops::Bias::Scores)).unwrap();
        let found = super::attention(&q, &k, &v, 3, bias.as_ref()).unwrap();
        assert_close(&found, &expected, 1e-6, "attention");
    }
}

#[test]
fn map_attention_is_the_cpus() {
    for (side, window) in [(7, Some(3)), (5, None)] {
        let rope = Rope::new(window.unwrap_or(side), 8, 1.0, &Device::Cpu).unwrap();
        let (cos, sin) = rope.tables().unwrap();
        let [cos, sin] = [cos, sin].map(|table| {
            let len = table.len();
            Tensor::from_vec(table, len, &Device::Cpu).unwrap()
        });
        let (qkv, padding) = (tensor(&[side, side, 48], 1), tensor(&[48], 2));
        let op = ops::MapAttention::new(2, Arc::new(rope), window, Compute::F32);
        for padding in [None, Some(&padding)] {
            let expected = op.forward(&qkv, padding).unwrap();
            let found = super::map_attention(&qkv, padding, 2, &cos, &sin, window).unwrap();
            assert_close(&found, &expected, 1e-6, "map attention");
        }
        let expected = op.forward(&(&qkv + &padding).unwrap(), Some(&padding)).unwrap();
        let found = super::map_attention_biased(&qkv, &padding, 2, &cos, &sin, window).unwrap();
        assert_close(&found, &expected, 1e-6, "map attention with a bias");
    }
}

#[test]
fn layer_norm_is_the_cpus() {
    let (x, weight, bias) = (tensor(&[5, 33], 1), tensor(&[33], 2), tensor(&[33], 3));
    let expected = ops::LayerNorm::new(weight.clone(), bias.clone(), 1e-5)
        .forward(&x)
        .unwrap();
    let found = super::layer_norm(&x, &weight, &bias, 1e-5, DType::F32).unwrap();
    assert_close(&found, &expected, 3e-6, "layer norm");
}

#[test]
fn patches_times_a_kernel_are_the_cpus_convolution() {
    let (x, kernel, bias) = (tensor(&[7, 5, 3], 1), tensor(&[4, 27], 2), tensor(&[4], 3));
    let conv = ops::Conv3x3::new(&kernel, bias.clone(), Compute::F32).unwrap();
    let product = plain_matmul_t(&super::patches3x3(&x).unwrap(), &kernel);
    let found = super::finish(&product, Some(&bias), Activation::None, None, DType::F32).unwrap();
    assert_close(
        &found.reshape((7, 5, 4)).unwrap(),
        &conv.forward(&x).unwrap(),
        3e-6,
        "conv",
    );
    let rows = super::patches3x3_rows(&x, 2..5).unwrap();
    let all = super::patches3x3(&x).unwrap();
    assert_close(&rows, &all.narrow(0, 10, 15).unwrap(), 0.0, "rows");
}

#[test]
fn a_shuffled_product_is_the_cpus_transposed_convolution() {
    let (x, kernel, bias) = (tensor(&[3, 5, 6], 1), tensor(&[16, 6], 2), tensor(&[4], 3));
    let conv = ops::ConvTranspose2x2::new(&kernel, bias.clone(), Compute::F32).unwrap();
    let product = plain_matmul_t(&x.reshape((15, 6)).unwrap(), &kernel);
    let squares = super::shuffle2x2(&product.reshape((3, 5, 16)).unwrap()).unwrap();
    let found = super::finish(&squares, Some(&bias), Activation::Gelu, None, DType::F32).unwrap();
    let expected = conv.forward(&x, Activation::Gelu).unwrap();
    assert_close(&found, &expected, 3e-6, "transposed conv");
}

#[test]
fn masks_are_the_cpus() {
    let logits = tensor(&[2, 7, 5], 1);
    let masks = super::upsample_masks(&logits, 31, 70, 0.0).unwrap();
    assert_eq!(masks.dims(), [2, 31, 4]);
    for index in 0..2 {
        // Two words of 32 pixels are one of 64, the lower half first.
        let mask = masks.get(index).unwrap().to_vec::<i32>().unwrap();
        let word = |pair: &[i32]| u64::from(pair[0].cast_unsigned()) | u64::from(pair[1].cast_unsigned()) << 32;
        let mask: Vec<u64> = mask.chunks_exact(2).map(word).collect();
        let logits = logits.get(index).unwrap();
        let expected = ops::upsample::upsample_threshold(logits.values().unwrap(), (7, 5), (31, 70)).unwrap();
        assert_eq!(mask, expected, "{index}");
    }
}

#[test]
fn codes_are_signed() {
    let codes = Tensor::from_vec(vec![0u8, 1, 127, 128, 255, 2], (2, 3), &Device::Cpu).unwrap();
    let scales = Tensor::from_vec(vec![0.5f32, 2.0], 2, &Device::Cpu).unwrap();
    let found = super::dequantize(&codes, &scales, DType::F32).unwrap();
    assert_eq!(found.dims(), [2, 3]);
    assert_eq!(found.to_vec::<f32>().unwrap(), [0.0, 0.5, 63.5, -256.0, -2.0, 4.0]);
}
