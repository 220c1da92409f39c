//! Which queries become instances, and that what is no number never becomes one.

use std::sync::{Arc, Mutex};

use sam3_tensor::{
    DType, Device, Tensor,
    ops::{EdgeDistance, Rope},
    testing::as_accelerator,
};

use super::{Encoded, Error, ForClicks, Instance, Options, Prompt, Result, Segmenter, accelerator_tests::Demo};
use crate::{
    Compute, Detections,
    input_size::InputSize,
    model::{Features, MaskLogits, Pyramid, write_tensors},
    testing::{NO_NUMBERS, read_tensors},
};

/// The output that an error names.
fn culprit(found: Result<Vec<Instance>>, what: &str) -> String {
    match found {
        Err(Error::NotFinite(reason)) => {
            let rest = reason.strip_prefix("the model's ").expect("the reason begins so");
            rest.split_once(" hold an infinity or NaN")
                .expect("and goes on so")
                .0
                .to_owned()
        }
        Err(other) => panic!("{what}: {other}"),
        Ok(found) => panic!("{what}: {} instances", found.len()),
    }
}

/// `x` with `value` in its middle.
fn spoiled(x: &Tensor, value: f32) -> Tensor {
    let mut values: Vec<f32> = x.to_vec().unwrap();
    let middle = values.len() / 2;
    values[middle] = value;
    Tensor::from_vec(values, x.dims(), x.device()).unwrap()
}

/// `encoded` with other maps.
fn with_maps(encoded: &Encoded, change: impl Fn(&mut Features)) -> Encoded {
    let Features { size, pyramid, tokens } = encoded.features.as_ref().unwrap();
    let mut features = Features {
        size: size.clone(),
        pyramid: Pyramid {
            x4: pyramid.x4.clone(),
            x2: pyramid.x2.clone(),
            x1: pyramid.x1.clone(),
        },
        tokens: tokens.clone(),
    };
    change(&mut features);
    Encoded {
        identity: encoded.identity.clone(),
        size: encoded.size.clone(),
        features: Some(features),
        for_clicks: Mutex::new(ForClicks::NotKept),
        width: encoded.width,
        height: encoded.height,
    }
}

#[test]
fn a_map_with_what_is_no_number_gives_no_masks() {
    let demo = Demo::new("finite-maps");
    let run = || {
        let model = Segmenter::load(demo.checkpoint(), &Options::new(&Device::Cpu)).unwrap();
        let encoded = model.encode(&demo.scene).unwrap();
        let prompt = Prompt::text("boat");
        let segment = |encoded: &Encoded| model.segment(encoded, &prompt);
        assert_eq!(segment(&encoded).unwrap().len(), 3);
        for bad in NO_NUMBERS {
            let x4 = with_maps(&encoded, |maps| maps.pyramid.x4 = spoiled(&maps.pyramid.x4, bad));
            assert_eq!(culprit(segment(&x4), &format!("{bad} in x4")), "masks");
            let x2 = with_maps(&encoded, |maps| maps.pyramid.x2 = spoiled(&maps.pyramid.x2, bad));
            assert_eq!(culprit(segment(&x2), &format!("{bad} in x2")), "masks");
            let x1 = with_maps(&encoded, |maps| maps.pyramid.x1 = spoiled(&maps.pyramid.x1, bad));
            assert_eq!(culprit(segment(&x1), &format!("{bad} in x1")), "presence logits");
            let tokens = with_maps(&encoded, |maps| maps.tokens = spoiled(&maps.tokens, bad));
            assert_eq!(
                culprit(segment(&tokens), &format!("{bad} in the tokens")),
                "presence logits"
            );
        }
    };
    run();
    as_accelerator(run);
}

#[test]
fn a_weight_beyond_f16_gives_no_masks() {
    const NAME: &str = "mask_decoder.pixel_decoder.conv_layers.1.weight";
    let demo = Demo::new("finite-weights");
    let path = demo.folder.join("model.safetensors");
    let mut tensors = read_tensors(&path);
    // The norm behind it takes the factor out again, where it can be held at all.
    let large = (&tensors[NAME] * 1e7).unwrap();
    tensors.insert(NAME.to_owned(), large);
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.clone()))
        .collect();
    // The old file may still be mapped.
    std::fs::remove_file(&path).unwrap();
    write_tensors(&path, &tensors).unwrap();
    as_accelerator(|| {
        let segment = |compute| {
            let model = Segmenter::load(demo.checkpoint(), &Options::new(&Device::Cpu).compute(compute)).unwrap();
            let prompt = Prompt::text("boat");
            model.segment(&model.encode(&demo.scene).unwrap(), &prompt)
        };
        assert_eq!(segment(Compute::F32).unwrap().len(), 3);
        assert_eq!(culprit(segment(Compute::F16), "f16"), "masks");
    });
}

/// Three queries, of which the model gives these logits.
fn detections(presence: f32, logits: [f32; 3]) -> Detections {
    let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
    Detections {
        pred_logits: tensor(&logits, &[1, 3]),
        pred_boxes: tensor(&[0.0, 0.0, 0.5, 0.5].repeat(3), &[1, 3, 4]),
        presence_logits: tensor(&[presence], &[1, 1]),
        pred_masks: MaskLogits {
            embeddings: tensor(&[0.0; 3], &[3, 1]),
            shift: tensor(&[1.0; 3], &[3]),
            pixels: tensor(&[1.0; 4], &[2, 2, 1]),
        },
        semantic_seg: tensor(&[1.0; 4], &[1, 1, 2, 2]),
    }
}

/// A picture of 4 × 2 pixels; its maps are not looked at.
fn encoded() -> Encoded {
    let map = || Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
    let rope = Arc::new(Rope::new(1, 4, 1.0, &Device::Cpu).unwrap());
    let size = Arc::new(InputSize {
        image_size: 1,
        window_rope: rope.clone(),
        global_rope: rope,
        pos: map(),
        cells: EdgeDistance::new(1, &Device::Cpu).unwrap(),
    });
    Encoded {
        identity: Arc::new(()),
        size: size.clone(),
        features: Some(Features {
            size,
            pyramid: Pyramid {
                x4: map(),
                x2: map(),
                x1: map(),
            },
            tokens: map(),
        }),
        for_clicks: Mutex::new(ForClicks::NotKept),
        width: 4,
        height: 2,
    }
}

/// The logit of a probability.
fn logit(probability: f32) -> f32 {
    (probability / (1.0 - probability)).ln()
}

#[test]
fn what_scores_above_a_half_is_kept() {
    let found = detections(30.0, [logit(0.49), logit(0.51), 0.0]);
    let kept = found.instances(&encoded(), Segmenter::THRESHOLD).unwrap();
    assert_eq!(kept.len(), 1);
    assert!((kept[0].score - 0.51).abs() < 1e-5, "{}", kept[0].score);
    assert_eq!(kept[0].bbox, [0.0, 0.0, 2.0, 1.0]);
    // A score is the query's times that of there being any such thing.
    let found = detections(logit(0.9), [logit(0.54), logit(0.57), 0.0]);
    assert_eq!(found.instances(&encoded(), Segmenter::THRESHOLD).unwrap().len(), 1);
}

#[test]
fn an_output_that_is_no_number_is_named_where_it_is_looked_at() {
    for bad in NO_NUMBERS {
        let what = format!("{bad}");
        let with = |change: &dyn Fn(&mut Detections)| {
            // The last query is not kept.
            let mut found = detections(30.0, [2.0, 2.0, -2.0]);
            change(&mut found);
            found.instances(&encoded(), Segmenter::THRESHOLD)
        };
        let put = |x: &Tensor, place: usize| {
            let mut values: Vec<f32> = x.to_vec().unwrap();
            values[place] = bad;
            Tensor::from_vec(values, x.dims(), &Device::Cpu).unwrap()
        };
        assert_eq!(with(&|_| ()).unwrap().len(), 2);
        let found = with(&|found| found.presence_logits = put(&found.presence_logits, 0));
        assert_eq!(culprit(found, &what), "presence logits");
        let found = with(&|found| found.pred_logits = put(&found.pred_logits, 2));
        assert_eq!(culprit(found, &what), "scores");
        let found = with(&|found| found.pred_boxes = put(&found.pred_boxes, 7));
        assert_eq!(culprit(found, &what), "boxes");
        let found = with(&|found| found.pred_masks.shift = put(&found.pred_masks.shift, 1));
        assert_eq!(culprit(found, &what), "masks");
        let found = with(&|found| {
            found.pred_boxes = put(&found.pred_boxes, 8);
            found.pred_masks.shift = put(&found.pred_masks.shift, 2);
        });
        assert_eq!(found.unwrap().len(), 2, "{bad} of a query that is not kept");
    }
}
