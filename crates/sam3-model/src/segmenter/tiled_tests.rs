//! The demo's model on a picture that is larger than what it sees, tile by tile, and on several at once.

use std::{ops::ControlFlow, sync::Mutex};

use sam3_tensor::{Device, testing::as_accelerator};

use super::{ExemplarBox, Instance, Options, Prompt, Segmenter, accelerator_tests::Demo};
use crate::{Compute, Error, Tiles, Tiling, image::Image, masks::Mask, model::Progress};

/// Pixels in a side of what the demo's model sees.
const SIDE: u32 = 168;
/// How far the sides of a box may be apart, in pixels, where the tile cuts the background elsewhere.
const NEAR: f32 = 8.0;

/// The demo's scene, small, at these places of a larger picture of one colour.
fn picture(demo: &Demo, (width, height): (u32, u32), places: &[(u32, u32)]) -> Image {
    let scene = demo.scene.resize(SIDE, SIDE).unwrap();
    let mut rgb = [196, 205, 180].repeat((width * height) as usize);
    for &(x, y) in places {
        for row in 0..SIDE {
            let from = 3 * (row * SIDE) as usize;
            let to = 3 * ((y + row) * width + x) as usize;
            let len = 3 * SIDE as usize;
            rgb[to..to + len].copy_from_slice(&scene.rgb()[from..from + len]);
        }
    }
    Image::new(width, height, rgb).unwrap()
}

/// What the model finds in the scene alone, at a place of a larger picture.
fn expected(model: &Segmenter, demo: &Demo, extents: (u32, u32), place: (u32, u32)) -> Vec<Instance> {
    let scene = demo.scene.resize(SIDE, SIDE).unwrap();
    let found = model
        .segment(&model.encode(&scene).unwrap(), &Prompt::text("boat"))
        .unwrap();
    assert_eq!(found.len(), 3, "boats in the scene");
    found
        .into_iter()
        .map(|found| found.in_picture(extents, place))
        .collect()
}

/// That each of these is found once, however its tile cuts the background, and little else.
fn assert_found(found: &[Instance], expected: &[Instance], what: &str) {
    for one in expected {
        let like = |found: &&Instance| found.mask.iou(&one.mask).unwrap() > 0.5;
        let boxes: Vec<_> = found.iter().filter(like).map(|found| found.bbox).collect();
        let is_near = |found: &[f32; 4]| found.iter().zip(one.bbox).all(|(a, b)| (a - b).abs() < NEAR);
        assert!(
            boxes.len() == 1 && is_near(&boxes[0]),
            "{what}: {:?}, found {boxes:?}",
            one.bbox
        );
    }
    assert!(found.is_sorted_by(|a, b| a.score >= b.score), "{what}: the best first");
}

#[test]
fn what_is_too_small_in_the_whole_picture_is_found_once_in_tiles() {
    let demo = Demo::new("tiles");
    let model = Segmenter::load(demo.checkpoint(), &Options::new(&Device::Cpu)).unwrap();
    let (extents, places) = ((800, 500), [(40, 30), (500, 290)]);
    let image = picture(&demo, extents, &places);
    let mut boats = Vec::new();
    for place in places {
        boats.extend(expected(&model, &demo, extents, place));
    }
    let prompt = Prompt::text("boat");
    let whole = model.segment(&model.encode(&image).unwrap(), &prompt).unwrap();
    let is_found = |boat: &&Instance| whole.iter().any(|found| found.mask.iou(&boat.mask).unwrap() > 0.5);
    assert!(boats.iter().filter(is_found).count() < 4, "the whole picture is enough");
    let tiling = Tiling::new(Tiles::Auto);
    let found = model.segment_tiled(&image, &prompt, &tiling).unwrap();
    assert_found(&found, &boats, "tiles of 168 pixels");
    let together = model.segment_tiled(&image, &prompt, &tiling.batch(3)).unwrap();
    assert_same(&together, &found, "three tiles at once");
    assert!(
        found
            .iter()
            .all(|found| (found.mask.width(), found.mask.height()) == extents)
    );
}

/// One example serves tiles that do not show it.
#[test]
fn an_example_finds_the_same_in_other_tiles() {
    let demo = Demo::new("exemplar_tiles");
    let model = Segmenter::load(demo.checkpoint(), &Options::new(&Device::Cpu)).unwrap();
    let (extents, places) = ((700, 200), [(10, 10), (500, 20)]);
    let image = picture(&demo, extents, &places);
    let near = expected(&model, &demo, extents, places[0]);
    let far = expected(&model, &demo, extents, places[1]);
    let example = ExemplarBox::positive(near[0].bbox);
    let tiling = Tiling::new(Tiles::Size(SIDE));
    let found = model.segment_tiled(&image, &Prompt::boxes([example]), &tiling).unwrap();
    let is_found = |boat: &&Instance| found.iter().any(|found| found.mask.iou(&boat.mask).unwrap() > 0.5);
    assert!(
        far.iter().filter(is_found).count() >= 2,
        "{:?}",
        found.iter().map(|f| f.bbox).collect::<Vec<_>>()
    );
    // Two that no tile shows together.
    let both = [example, ExemplarBox::positive(far[0].bbox)];
    let found = model.segment_tiled(&image, &Prompt::boxes(both), &tiling).unwrap();
    let is_found = |boat: &&Instance| found.iter().any(|found| found.mask.iou(&boat.mask).unwrap() > 0.5);
    assert!(near.iter().chain(&far).filter(is_found).count() >= 4);
    let outside = ExemplarBox::positive([690.0, 10.0, 710.0, 30.0]);
    let error = model
        .segment_tiled(&image, &Prompt::boxes([outside]), &tiling)
        .unwrap_err();
    assert!(error.to_string().contains("690,10,710,30"), "{error}");
}

#[test]
fn tiles_are_told_of_and_can_be_stopped_at() {
    let demo = Demo::new("stopped_tiles");
    let model = Segmenter::load(demo.checkpoint(), &Options::new(&Device::Cpu)).unwrap();
    let image = picture(&demo, (400, 200), &[(10, 10)]);
    let told = Mutex::new(Vec::new());
    let mut watch = |progress: Progress| {
        if progress.stage == "tiles" {
            told.lock().unwrap().push((progress.done, progress.of));
            if progress.done == 2 {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    let (prompt, tiling) = (Prompt::text("boat"), Tiling::new(Tiles::Size(SIDE)));
    let [columns, rows] = tiling.grid((400, 200), model.image_size()).unwrap();
    let tiles = (columns * rows) as usize;
    let stopped = model.segment_tiled_watched(&image, &prompt, &tiling, &mut watch);
    assert!(matches!(stopped, Err(Error::Stopped { .. })), "{:?}", stopped.err());
    let mut told = told.into_inner().unwrap();
    told.dedup();
    assert_eq!(told, [(0, tiles), (1, tiles), (2, tiles)]);
}

#[test]
fn without_tiles_the_result_is_that_of_the_whole_picture() {
    let demo = Demo::new("no_tiles");
    let model = Segmenter::load(demo.checkpoint(), &Options::new(&Device::Cpu)).unwrap();
    let prompt = Prompt::text("boat");
    let whole = model.segment(&model.encode(&demo.scene).unwrap(), &prompt).unwrap();
    let tiling = Tiling::new(Tiles::Grid { columns: 1, rows: 1 });
    assert_same(
        &model.segment_tiled(&demo.scene, &prompt, &tiling).unwrap(),
        &whole,
        "one tile",
    );
}

fn assert_same(found: &[Instance], expected: &[Instance], what: &str) {
    let parts = |all: &[Instance]| -> Vec<(u32, [f32; 4], Mask)> {
        all.iter()
            .map(|one| (one.score.to_bits(), one.bbox, one.mask.clone()))
            .collect()
    };
    assert!(
        parts(found) == parts(expected),
        "{what}: {} and {} instances",
        found.len(),
        expected.len()
    );
}

/// Bit for bit, at a size whose maps are whole windows and at one whose are not.
#[test]
fn pictures_encoded_together_are_as_those_encoded_alone() {
    let demo = Demo::new("batch");
    for compute in [Compute::F32, Compute::Bf16, Compute::Int8] {
        let Ok(model) = Segmenter::load(demo.checkpoint(), &Options::new(&Device::Cpu).compute(compute)) else {
            continue;
        };
        let sizes: Vec<usize> = model.config().vit.image_sizes().collect();
        for image_size in [model.image_size(), sizes[0], sizes[2]] {
            let model = model.at_image_size(image_size).unwrap();
            check_batch(&model, &demo, &format!("{compute:?} at {image_size}"));
        }
    }
}

#[test]
fn an_accelerator_encodes_together_as_alone() {
    let demo = Demo::new("batch_accelerator");
    as_accelerator(|| {
        let model = Segmenter::load(demo.checkpoint(), &Options::new(&Device::Cpu)).unwrap();
        check_batch(&model, &demo, "accelerator");
    });
}

fn check_batch(model: &Segmenter, demo: &Demo, what: &str) {
    let images = [
        demo.scene.clone(),
        demo.scene.crop([100, 30, 500, 400]),
        picture(demo, (300, 200), &[(20, 10)]),
    ];
    let together = model.encode_batch(&images.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(together.len(), images.len());
    for (index, (image, together)) in images.iter().zip(&together).enumerate() {
        let alone = model.encode(image).unwrap();
        let what = format!("{what}, picture {index}");
        let (a, b) = (together.features.as_ref().unwrap(), alone.features.as_ref().unwrap());
        for (a, b) in a.tensors().into_iter().zip(b.tensors()) {
            assert!(
                a.to_vec::<f32>().unwrap() == b.to_vec::<f32>().unwrap(),
                "{what}: {a:?}"
            );
        }
        assert_eq!(together.bytes(), alone.bytes(), "{what}");
        let prompt = Prompt::text("boat");
        let (a, b) = (
            model.segment(together, &prompt).unwrap(),
            model.segment(&alone, &prompt).unwrap(),
        );
        assert_same(&a, &b, &what);
    }
    assert!(model.encode_batch(&[]).unwrap().is_empty());
}
