//! Calls from many threads, on so many threads, watched and ended, and with what another model made.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

use sam3_tensor::Device;

use super::{Encoded, Options, Prompt, Segmenter, accelerator_tests::Demo};
use crate::{Error, model::Progress};

impl Segmenter {
    /// What is found of tokens that no text here becomes.
    pub(crate) fn detect_ids(&self, encoded: &Encoded, ids: &[u32]) -> crate::Result<crate::Detections> {
        let detector = self.detector()?;
        let encoder = detector.text_encoder().expect("the model has a text encoder");
        let text = self.encode_ids(encoder, ids, &mut ())?;
        let features = encoded.features.as_ref().expect("the detector encoded it");
        detector.forward_grounding(features, &text, &[], &mut ())
    }
}

fn shared_by_threads<T: Send + Sync>() {}

#[test]
fn threads_share_a_segmenter_and_what_it_encoded() {
    shared_by_threads::<Segmenter>();
    shared_by_threads::<Encoded>();
    shared_by_threads::<crate::Detections>();
}

#[test]
fn a_watched_call_tells_every_layer_and_ends_where_it_is_told_to() {
    let demo = Demo::new("watched");
    let model = Segmenter::load(demo.checkpoint(), &Options::new(&Device::Cpu)).unwrap();
    let steps = Mutex::new(Vec::new());
    let mut watch = |progress: Progress| {
        steps.lock().unwrap().push((progress.stage, progress.done, progress.of));
        ControlFlow::Continue(())
    };
    let encoded = model.encode_watched(&demo.scene, &mut watch).unwrap();
    let prompt = Prompt::text("boat");
    let found = model.detect_watched(&encoded, &prompt, &mut watch).unwrap();
    assert_eq!(found.instances(&encoded, 0.5).unwrap().len(), 3);
    let steps = steps.into_inner().unwrap();
    let of_stage = |stage| steps.iter().filter(|step| step.0 == stage).copied().collect::<Vec<_>>();
    let detector = model.config().detector.as_ref().unwrap();
    for (stage, layers) in [
        ("vision trunk", model.config().vit.depth),
        ("vision neck", 3),
        ("fusion encoder", detector.fusion.depth),
        ("decoder", detector.decoder.depth),
    ] {
        let expected: Vec<_> = (1..=layers).map(|done| (stage, done, layers)).collect();
        assert_eq!(of_stage(stage), expected);
    }

    // The text is known the second time.
    let steps: Vec<_> = steps.into_iter().filter(|step| step.0 != "text encoder").collect();
    for last in [0, 1, steps.len() / 2, steps.len() - 1] {
        let mut told = 0;
        let mut watch = |_| {
            told += 1;
            if told > last {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let ended = model
            .encode_watched(&demo.scene, &mut watch)
            .and_then(|encoded| model.detect_watched(&encoded, &prompt, &mut watch));
        match ended {
            Err(Error::Stopped { stage, done, of }) => assert_eq!((stage, done, of), steps[last]),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it went on"),
        }
        assert_eq!(told, last + 1, "nothing is told after the end");
    }
    // The same model goes on as before.
    assert_eq!(model.segment(&encoded, &prompt).unwrap().len(), 3);
}

#[test]
fn what_another_model_encoded_is_refused() {
    let demo = Demo::new("identity");
    let load = || Segmenter::load(demo.checkpoint(), &Options::new(&Device::Cpu)).unwrap();
    let (one, other) = (load(), load());
    let encoded = one.encode(&demo.scene).unwrap();
    let prompt = Prompt::text("boat");
    assert!(matches!(other.segment(&encoded, &prompt), Err(Error::OtherModel)));
    assert_eq!(one.segment(&encoded, &prompt).unwrap().len(), 3);
}

#[test]
fn any_number_of_threads_finds_the_same() {
    let demo = Demo::new("threads");
    let run = |threads| {
        let model = Segmenter::load(demo.checkpoint(), &Options::new(&Device::Cpu).threads(threads)).unwrap();
        assert_eq!(model.run(rayon::current_num_threads), threads);
        let found = model.segment(&model.encode(&demo.scene).unwrap(), &Prompt::text("boat"));
        let found = found.unwrap().into_iter();
        found
            .map(|one| (one.score.to_bits(), one.bbox.map(f32::to_bits), one.mask))
            .collect::<Vec<_>>()
    };
    let one = run(1);
    assert_eq!(one.len(), 3);
    assert_eq!(run(3), one);
}

#[test]
fn two_image_sizes_are_used_in_turn() {
    let demo = Demo::new("sizes");
    let options = Options::new(&Device::Cpu);
    let own = Segmenter::load(demo.checkpoint(), &options).unwrap();
    let small = own.at_image_size(84).unwrap();
    let prompt = Prompt::text("boat");
    let mut found = Vec::new();
    for model in [&own, &small, &own, &small] {
        let encoded = model.encode(&demo.scene).unwrap();
        assert_eq!(encoded.size.image_size, model.image_size());
        // Whichever of them is asked, it answers about what was encoded.
        let scores = |model: &Segmenter| -> Vec<f32> {
            let instances = model.segment(&encoded, &prompt).unwrap();
            instances.into_iter().map(|instance| instance.score).collect()
        };
        assert_eq!(scores(&own), scores(&small));
        found.push((scores(model), encoded.size.clone()));
    }
    assert_eq!(found[0].0, found[2].0);
    assert_eq!(found[1].0, found[3].0);
    assert_ne!(found[0].0, found[1].0);
    for [first, again] in [[0, 2], [1, 3]] {
        assert!(Arc::ptr_eq(&found[first].1, &found[again].1), "built once");
    }
    let alone = Segmenter::load(demo.checkpoint(), &options.image_size(84)).unwrap();
    let encoded = alone.encode(&demo.scene).unwrap();
    let scores: Vec<f32> = alone
        .segment(&encoded, &prompt)
        .unwrap()
        .iter()
        .map(|one| one.score)
        .collect();
    assert_eq!(scores, found[1].0);
}

#[test]
fn an_image_size_is_whole_patches_from_a_window_to_144_tokens() {
    let demo = Demo::new("wrong-sizes");
    let load = |size| Segmenter::load(demo.checkpoint(), &Options::new(&Device::Cpu).image_size(size));
    for size in [0, 14, 70, 85, 2030, usize::MAX] {
        match load(size) {
            Err(Error::ImageSize { found, vit }) => assert_eq!((found, vit.image_size), (size, 168)),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{size} is taken"),
        }
    }
    for size in [84, 98, 168, 2016] {
        assert_eq!(load(size).unwrap().image_size(), size);
    }
}
