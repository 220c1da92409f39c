//! What a text means is followed as the official code does it: detector and tracker together, from words to masks.

use std::{
    fs,
    ops::ControlFlow,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use sam3_package::StateDict;
use sam3_tensor::Device;
use serde_json::{Map, Value, json};

use super::{FRAMES, folder, logits};
use crate::{
    Clicks, Error, MemoryDtype, Progress, Segmenter, Session, VideoError, VideoOptions,
    image::Image,
    tokenizer::Tokenizer,
    tracking::{Emission, FrameResult},
};

const EMBEDDING: &str = "detector.backbone.language_backbone.encoder.token_embedding.weight";
const POSITIONS: &str = "detector.backbone.language_backbone.encoder.positional_embedding";
/// Words that CLIP's tokenizer knows, and tokens that it reads.
const VOCABULARY: usize = 49_408;
const CONTEXT: usize = 32;
/// Those of the miniature.
const WORDS: usize = 64;

/// The miniature, to which a token of CLIP's is the one of its own 64 that has the same last six bits. So are the two
/// that begin and end a text. What lies behind a text is padding, of whatever length.
fn speaking() -> &'static Segmenter {
    static MODEL: OnceLock<Segmenter> = OnceLock::new();
    MODEL.get_or_init(|| {
        let path = checkpoint();
        let model = Segmenter::open(&path, &Device::Cpu).unwrap();
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        model
    })
}

fn checkpoint() -> PathBuf {
    let source = StateDict::open(&folder().join("mini.pt")).unwrap();
    let (mut header, mut data) = (Map::new(), Vec::new());
    for view in (0..source.len()).map(|index| source.view(index)) {
        let Some(mut values) = view.to_f32() else { continue };
        let mut shape = view.shape.to_vec();
        if view.name == EMBEDDING {
            values = values.repeat(VOCABULARY / WORDS);
            shape[0] = VOCABULARY;
        } else if view.name == POSITIONS {
            values.resize(CONTEXT * shape[1], 0.0);
            shape[0] = CONTEXT;
        }
        let begin = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert(view.name.to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let place = std::env::temp_dir().join(format!("sam3-speaking-{}", std::process::id()));
    fs::create_dir_all(&place).unwrap();
    let path = place.join("mini.safetensors");
    fs::write(
        &path,
        [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat(),
    )
    .unwrap();
    let mut config: Value = serde_json::from_slice(&fs::read(folder().join("config.json")).unwrap()).unwrap();
    config["text_config"]["vocab_size"] = VOCABULARY.into();
    config["text_config"]["max_position_embeddings"] = CONTEXT.into();
    for (name, token) in [("bos_token_id", 49_406), ("eos_token_id", 49_407)] {
        config["text_config"][name] = token.into();
    }
    fs::write(place.join("config.json"), config.to_string()).unwrap();
    path
}

/// Words whose tokens have these last six bits.
fn text(tokens: &[u32]) -> String {
    let tokenizer = Tokenizer::new();
    let letters = || ('a'..='z').map(String::from);
    let pairs = letters().flat_map(|a| letters().map(move |b| a.clone() + &b));
    let words: Vec<String> = letters().chain(pairs).collect();
    let word = |token: &u32| {
        let is_it = |word: &&String| matches!(tokenizer.encode(word).ids[..], [_, id, 49_407, ..] if id % 64 == *token);
        words.iter().find(is_it).expect("a word of one or two letters").clone()
    };
    tokens.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// 224 x 224, as the model sees it.
fn resized(frame: usize) -> Image {
    Image::open(folder().join(format!("video_224/{frame:02}.png"))).unwrap()
}

fn golden() -> Value {
    serde_json::from_slice(&fs::read(folder().join("e2e.json")).unwrap()).unwrap()
}

fn tokens() -> Vec<u32> {
    let golden = golden();
    let tokens: Vec<u32> = serde_json::from_value(golden["tokens"].clone()).unwrap();
    tokens[1..tokens.len() - 1].to_vec()
}

fn options() -> VideoOptions {
    VideoOptions::new().memory(MemoryDtype::F32).size(256, 256).frames(12)
}

fn check(expected: &Value, found: &FrameResult) {
    let frame = &expected["frame"];
    assert_eq!(found.frame as u64, *frame);
    let ids: Vec<u32> = found.objects.iter().map(|object| object.id).collect();
    assert_eq!(json!(ids), expected["ids"], "frame {frame}");
    assert_eq!(found.tracked as u64, expected["tracked"], "frame {frame}");
    for (place, object) in found.objects.iter().enumerate() {
        assert_eq!(object.text, Some(0));
        let score = expected["probs"][place].as_f64().unwrap() as f32;
        assert!((object.score - score).abs() < 1e-5, "{} {score}", object.score);
        for (found, expected) in object
            .bbox_xywh()
            .iter()
            .zip(expected["boxes"][place].as_array().unwrap())
        {
            assert!(
                (found - expected.as_f64().unwrap() as f32).abs() < 1e-5,
                "frame {frame}"
            );
        }
        let area = expected["areas"][place].as_u64().unwrap();
        assert!(object.mask.area().abs_diff(area) <= 3, "{} {area}", object.mask.area());
    }
}

#[test]
fn a_text_is_followed_as_officially() {
    let golden = golden();
    let mut session = speaking().video(options()).unwrap();
    assert_eq!(session.text(&text(&tokens())).unwrap(), 0);
    let mut found: Vec<FrameResult> = Vec::new();
    let forward = &golden["passes"][1];
    for frame in 0..12 {
        found.extend(session.push(&resized(frame)).unwrap());
        assert_eq!(
            json!(session.objects()),
            forward["steps"][frame]["objects"],
            "frame {frame}"
        );
    }
    assert!(found.is_empty(), "twelve frames are held back");
    found.extend(session.finish());
    let expected = forward["emitted"].as_array().unwrap();
    assert_eq!(found.len(), expected.len());
    found
        .iter()
        .zip(expected)
        .for_each(|(found, expected)| check(expected, found));
}

/// Objects that are none are told of at once, and that they were none when that is known.
#[test]
fn at_once_objects_are_tentative_and_some_are_removed() {
    let golden = golden();
    let mut session = speaking().video(options().emission(Emission::AtOnce)).unwrap();
    session.text(&text(&tokens())).unwrap();
    for frame in 0..12 {
        let step = &golden["passes"][1]["steps"][frame];
        let [result] = &session.push(&resized(frame)).unwrap()[..] else {
            panic!("each frame comes out")
        };
        assert_eq!(json!(result.removed), step["removed"], "frame {frame}");
        assert!(result.objects.iter().all(|object| object.is_tentative));
        let followed = session.low_res_masks().unwrap();
        assert_eq!(
            followed.len(),
            step["tracks"].as_array().unwrap().len() + step["new_ids"].as_array().unwrap().len()
        );
    }
}

/// What a text finds on its first frame has the detection's logits there, whose mask the tracker is shown.
#[test]
fn a_new_object_has_the_logits_of_its_detection() {
    let mut session = speaking().video(options()).unwrap();
    session.text(&text(&tokens())).unwrap();
    session.push(&resized(0)).unwrap();
    for id in [0, 1, 2] {
        let logits = logits(&session, id);
        assert!(
            logits.iter().all(|logit| logit.abs() < 1000.0) && logits.iter().any(|logit| *logit > 0.0),
            "{id}"
        );
    }
}

/// Objects of texts and of clicks have numbers of their own, and clicks are on objects that were clicked.
#[test]
fn texts_and_clicks_share_numbers_and_nothing_else() {
    let mut session = speaking().video(options().frames(FRAMES)).unwrap();
    let words = text(&tokens());
    session.text(&words).unwrap();
    session.text(&words).unwrap();
    session.look(0, &resized(0)).unwrap();
    let point = Clicks::new().point([100.0, 100.0]);
    let clicked = session.click(None, &point).unwrap().id;
    assert_eq!(clicked, 0);
    assert!(session.push(&resized(0)).unwrap().is_empty());
    // Of the first text 1 and 2, of the second 3 and 4 as the first frame is prompted, and one each as it is passed.
    assert_eq!(session.objects(), [0, 1, 2, 3, 4, 5, 6]);
    let alone = {
        let mut alone = speaking().video(options().frames(FRAMES)).unwrap();
        alone.text(&words).unwrap();
        alone.push(&resized(0)).unwrap();
        [0, 1, 2].map(|id| logits(&alone, id))
    };
    for ids in [[1, 2, 5], [3, 4, 6]] {
        assert_eq!(ids.map(|id| logits(&session, id)), alone);
    }
    assert!(session.remove(1).unwrap() && session.remove(5).unwrap());
    let rest = session.finish();
    assert!(rest[0].objects.iter().all(|object| ![1, 5].contains(&object.id)));
    assert!(matches!(session.text(" "), Err(Error::Prompt(_))));
}

/// A user corrects one of three objects on the frame that was pushed last.
#[test]
fn what_a_text_found_is_corrected_by_clicks() {
    let begin = || {
        let mut session = speaking().video(options().emission(Emission::AtOnce)).unwrap();
        session.text(&text(&tokens())).unwrap();
        for frame in 0..3 {
            session.push(&resized(frame)).unwrap();
        }
        session
    };
    let (mut session, mut other) = (begin(), begin());
    // One that is there on the next frame, too: the first is not, whatever it is shown by.
    let id = session.objects()[1];
    let clicks = Clicks::new().point([40.0, 40.0]);
    let clicked = session.click(Some(id), &clicks).unwrap();
    assert_eq!((clicked.id, clicked.text, clicked.score), (id, Some(0), 1.0));
    // From the mask that it has there: once more it starts from another one.
    let again = session.click(Some(id), &clicks).unwrap();
    assert_ne!(clicked.mask, again.mask);
    let results = [session.push(&resized(3)).unwrap(), other.push(&resized(3)).unwrap()];
    let scores = results.map(|results| {
        let objects = results.into_iter().flat_map(|result| result.objects);
        objects.map(|object| (object.id, object.score)).collect::<Vec<_>>()
    });
    for (place, (own, score)) in scores[1].iter().enumerate() {
        let expected = if *own == id { 1.0 } else { *score };
        assert_eq!(scores[0][place], (*own, expected));
    }
    let is_there = |session: &Session| logits(session, id).iter().any(|logit| *logit > 0.0);
    assert!(is_there(&session) && is_there(&other));
    assert_ne!(logits(&session, id), logits(&other, id));
    // Objects of other groups are followed as they were.
    let apart = *session.objects().last().unwrap();
    assert_eq!(logits(&session, apart), logits(&other, apart));

    session.look(4, &resized(4)).unwrap();
    match session.click(Some(id), &clicks) {
        Err(Error::Video(VideoError::OfText { id: own, frame: 4 })) => assert_eq!(own, id),
        other => panic!("{:?}", other.map(|object| object.id)),
    }
    assert!(session.push(&resized(4)).is_ok());
}

/// A text that comes behind a click sees what was encoded for it.
#[test]
fn a_frame_that_was_clicked_is_not_encoded_again_for_a_text() {
    let words = text(&tokens());
    let trunks = AtomicUsize::new(0);
    let count = |progress: Progress| {
        trunks.fetch_add(usize::from(progress.stage == "vision trunk"), Ordering::Relaxed);
        ControlFlow::Continue(())
    };
    let point = Clicks::new().point([100.0, 100.0]);
    let mut first = speaking().video(options()).unwrap();
    first.look_watched(0, &resized(0), &mut { count }).unwrap();
    let of_one = trunks.load(Ordering::Relaxed);
    assert!(of_one > 0);
    first.click(None, &point).unwrap();
    first.text(&words).unwrap();
    first.push_watched(&resized(0), &mut { count }).unwrap();
    assert_eq!(trunks.load(Ordering::Relaxed), of_one);
    let mut second = speaking().video(options()).unwrap();
    second.text(&words).unwrap();
    second.look(0, &resized(0)).unwrap();
    second.click(None, &point).unwrap();
    second.push(&resized(0)).unwrap();
    // The picture has the model's size, and neither way of resizing changes it.
    assert_eq!(first.objects(), second.objects());
    for id in first.objects() {
        assert_eq!(logits(&first, id), logits(&second, id));
    }
}

/// Whoever watches ends a frame, and what is held back comes out.
#[test]
fn a_frame_that_was_stopped_leaves_the_session_as_it_was() {
    let mut session = speaking().video(options()).unwrap();
    session.text(&text(&tokens())).unwrap();
    session.push(&resized(0)).unwrap();
    let mut layers = 0;
    let mut stop_at = |last: usize| {
        let mut watch = |_: Progress| {
            layers += 1;
            match layers == last {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        match session.push_watched(&resized(1), &mut watch) {
            Err(Error::Stopped { .. }) => {}
            other => panic!("{:?}", other.map(|results| results.len())),
        }
        layers = 0;
    };
    (1..4).for_each(&mut stop_at);
    assert!(session.push(&resized(1)).unwrap().is_empty());
    let frames: Vec<usize> = session.finish().iter().map(|result| result.frame).collect();
    assert_eq!(frames, [0, 1]);
}

/// Whoever looked at a frame, and ended that in the detector, may show another picture in its place.
#[test]
fn a_look_that_was_stopped_leaves_no_picture_behind() {
    let follow = |stopped: bool| {
        let mut session = speaking().video(options()).unwrap();
        session.text(&text(&tokens())).unwrap();
        if stopped {
            let mut watch = |progress: Progress| match progress.stage {
                "vision trunk" => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            };
            let looked = session.look_watched(0, &resized(9), &mut watch);
            assert!(matches!(looked, Err(Error::Stopped { .. })));
        }
        session.look(0, &resized(0)).unwrap();
        session.push(&resized(0)).unwrap();
        let logits = session.objects().into_iter().map(|id| (id, logits(&session, id)));
        logits.collect::<Vec<_>>()
    };
    let expected = follow(false);
    assert!(!expected.is_empty());
    assert!(follow(true) == expected);
}
