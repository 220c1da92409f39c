//! Clicks from a picture to masks, against what the official predictor returned (`tests/goldens/tracker`), and what
//! they refuse.

use std::sync::Arc;

use sam3_package::{Checkpoint, Dtype, StateDict};
use sam3_tensor::Device;

use super::{ClickedObject, Clicks, Encoded, LowResMask, Options, Segmenter, accelerator_tests::Demo};
use crate::{
    ClickError, Error, NoClickHead,
    image::Image,
    masks::Mask,
    testing::{ClickCase, ClickedCase, read_tensors},
};

/// Pixels of a mask that may differ: there, the resized logit is next to 0.
const MOST_PIXELS: usize = 3;

fn model(options: &Options) -> Segmenter {
    let dict = StateDict::open(&ClickCase::folder().join("mini.pt")).unwrap();
    Segmenter::load(Arc::new(dict), options).unwrap()
}

fn picture() -> Image {
    Image::open(ClickCase::folder().join("picture.png")).unwrap()
}

/// The miniature and a picture.
fn clicked() -> (Segmenter, Encoded) {
    let model = model(&Options::new(&Device::Cpu));
    let encoded = model.encode(&picture()).unwrap();
    (model, encoded)
}

fn clicks(case: &ClickCase, object: &ClickedCase, mask: Option<LowResMask>) -> Clicks {
    let add = |clicks: Clicks, (xy, positive): &([f32; 2], bool)| match positive {
        true => clicks.point(*xy),
        false => clicks.negative_point(*xy),
    };
    let mut clicks = object.points.iter().fold(Clicks::new(), add);
    if let Some(xyxy) = object.bounding_box {
        clicks = clicks.bounding_box(xyxy);
    }
    if let Some(mask) = mask {
        clicks = clicks.mask(mask);
    }
    clicks.multimask(case.multimask_output)
}

#[test]
fn every_case_gives_the_official_masks() {
    let (model, encoded) = clicked();
    let path = ClickCase::folder().join("clicks.safetensors");
    let expected = read_tensors(&path);
    let file = Checkpoint::open(&path).unwrap();
    let halves: Vec<&str> = file
        .tensors()
        .filter(|x| x.dtype == Dtype::F16)
        .map(|x| x.name)
        .collect();
    let mut compared = 0;
    for (name, case) in ClickCase::all() {
        let mask = case.mask_input.as_ref().map(|mask| {
            let mask = &expected[mask];
            LowResMask::new(mask.dims()[2], mask.to_vec().unwrap()).unwrap()
        });
        let objects = case.objects();
        let found: Vec<ClickedObject> = objects
            .iter()
            .map(|object| model.click(&encoded, &clicks(&case, object, mask.clone())).unwrap())
            .collect();
        let logits = format!("{name}.low_res");
        let tolerance = if halves.contains(&logits.as_str()) { 0.02 } else { 2e-3 };
        let expected_logits = expected[&logits].to_vec::<f32>().unwrap();
        let masks = found.iter().flat_map(|object| &object.masks);
        let found_logits: Vec<f32> = masks.clone().flat_map(|mask| mask.logits.values().to_vec()).collect();
        assert_eq!(found_logits.len(), expected_logits.len(), "{name}");
        for (found, expected) in found_logits.iter().zip(&expected_logits) {
            assert!(
                (found - expected).abs() <= tolerance,
                "{name}: {found}, expected {expected}"
            );
        }
        for (object, found) in objects.iter().zip(&found) {
            for (found, iou) in found.masks.iter().zip(&object.iou) {
                assert!((found.iou - iou).abs() <= 1e-4, "{name}: {}, expected {iou}", found.iou);
            }
        }
        for (found, score) in found.iter().zip(&case.object_score_logit) {
            assert!((found.object_score - score).abs() <= 2e-3, "{name}");
        }
        if let Some(bits) = expected.get(&format!("{name}.masks")) {
            let bits = bits.to_vec::<f32>().unwrap();
            for (found, bits) in masks.zip(bits.chunks_exact(227 * 38)) {
                let differ = differing(&found.mask, bits);
                assert!(differ <= MOST_PIXELS, "{name}: {differ} pixels differ");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 18, "full-size masks");
}

/// Pixels that differ from rows of 38 bytes whose highest bit comes first.
fn differing(found: &Mask, bits: &[f32]) -> usize {
    assert_eq!((found.width(), found.height()), (301, 227));
    let pixels = (0..227u32).flat_map(|y| (0..301u32).map(move |x| (x, y)));
    let expected = |x: u32, y: u32| bits[(y * 38 + x / 8) as usize] as u8 >> (7 - x % 8) & 1 == 1;
    pixels.filter(|&(x, y)| found.get(x, y) != expected(x, y)).count()
}

#[test]
fn one_point_takes_the_best_of_three_and_more_the_stable_one() {
    let (model, encoded) = clicked();
    let point = Clicks::new().point([230.78, 150.17]);
    let three = model.click(&encoded, &point.clone().multimask(true)).unwrap();
    assert_eq!(three.masks.len(), 3);
    let one = model.click(&encoded, &point).unwrap();
    assert_eq!(one.masks.len(), 1);
    assert_eq!(one.masks[0].iou, three.best().iou);
    assert_eq!(one.masks[0].logits, three.best().logits);

    // Of these two points, the mask for clear objects is stable, and of higher IoU than the three.
    let points = point.point([254.72, 42.52]);
    let three = model.click(&encoded, &points.clone().multimask(true)).unwrap();
    let one = model.click(&encoded, &points).unwrap();
    assert_eq!(one.masks.len(), 1);
    assert!(three.masks.iter().all(|mask| mask.logits != one.masks[0].logits));
}

#[test]
fn a_mask_that_is_fed_back_is_refined() {
    let (model, encoded) = clicked();
    let click = Clicks::new().bounding_box([160.96, 34.05, 264.88, 146.24]);
    let clicked = model.click(&encoded, &click).unwrap();
    assert_eq!(
        model.click(&encoded, &click).unwrap().masks[0].mask,
        clicked.masks[0].mask
    );
    let refined = model
        .click(&encoded, &click.mask(clicked.masks[0].logits.clone()))
        .unwrap();
    assert_ne!(refined.masks[0].logits, clicked.masks[0].logits);
}

#[test]
fn what_cannot_be_clicked_is_an_error_of_its_kind() {
    let (model, encoded) = clicked();
    let refused = |clicks: Clicks| match model.click(&encoded, &clicks) {
        Err(Error::Clicks(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it is taken"),
    };
    assert_eq!(refused(Clicks::new()), ClickError::Nothing);
    assert!(matches!(
        refused(Clicks::new().point([1.0, f32::NAN])),
        ClickError::NotFinite { .. }
    ));
    let mask = LowResMask::new(3, vec![0.0; 9]).unwrap();
    assert_eq!(
        refused(Clicks::new().mask(mask)),
        ClickError::MaskSide { expected: 64, found: 3 }
    );
    assert_eq!(
        LowResMask::new(3, vec![0.0; 8]),
        Err(ClickError::MaskLength { side: 3, found: 8 })
    );
    // Outside the image is as good as inside.
    model.click(&encoded, &Clicks::new().point([-8.5, 20.0])).unwrap();

    let texts = self::model(&Options::new(&Device::Cpu).without_clicks());
    let encoded = texts.encode(&picture()).unwrap();
    let error = texts.click(&encoded, &Clicks::new().point([1.0, 1.0]));
    assert!(matches!(error, Err(Error::Clicks(ClickError::NotKept))));
}

#[test]
fn a_model_without_the_click_head_says_so() {
    let demo = Demo::new("no-clicks");
    let model = Segmenter::load(demo.checkpoint(), &Options::new(&Device::Cpu)).unwrap();
    let encoded = model.encode(&demo.scene).unwrap();
    let point = Clicks::new().point([1.0, 1.0]);
    for refused in [model.click(&encoded, &point).map(drop), model.load_click_head()] {
        assert!(matches!(
            refused,
            Err(Error::NoClickHead {
                reason: NoClickHead::LeftOut,
                ..
            })
        ));
    }
}

#[test]
fn a_mask_of_the_picture_becomes_logits() {
    let mask = Mask::from_fn(128, 64, |x, _| x < 32);
    let logits = LowResMask::from_mask(&mask, 64);
    assert_eq!(logits.side(), 64);
    for (at, logit) in logits.values().iter().enumerate() {
        assert_eq!(*logit, if at % 64 < 16 { 10.0 } else { -10.0 }, "{at}");
    }
}
