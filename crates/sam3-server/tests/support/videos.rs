//! Videos that are sent to a server, and a model that knows texts and clicks.

use std::{fs, path::PathBuf, sync::OnceLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use sam3_model::{
    tokenizer::Tokenizer,
    tracking::{FrameObject, FrameResult},
};
use sam3_package::StateDict;
use serde_json::{Map, Value, json};

use super::{Answer, Server, clickable, frame};

/// Words that CLIP's tokenizer knows, and tokens that it reads.
const VOCABULARY: usize = 49_408;
const CONTEXT: usize = 32;
/// Words of the miniature.
const WORDS: usize = 64;

pub fn begin(server: &Server, body: &Value) -> String {
    let answer = server.post_json("/v1/videos", body);
    assert_eq!(answer.status, 201, "{answer:?}");
    let path = format!("/v1/videos/{}", answer.json()["id"].as_str().unwrap());
    assert_eq!(answer.header("location"), path);
    path
}

pub fn send(server: &Server, video: &str, number: usize, objects: &Value) -> Answer {
    let body = json!({"image": STANDARD.encode(frame(number)), "objects": objects});
    server.post_json(&format!("{video}/frames"), &body)
}

/// Number, object, box and area of each object of answered frames.
pub fn answered(frames: &Value) -> Vec<(u64, u64, Value)> {
    let frames = frames.as_array().unwrap().iter();
    frames
        .flat_map(|frame| {
            let objects = frame["objects"].as_array().unwrap().iter();
            objects.map(|object| {
                (
                    frame["frame"].as_u64().unwrap(),
                    object["id"].as_u64().unwrap(),
                    object["segmentation"].clone(),
                )
            })
        })
        .collect()
}

pub fn expected(results: &[FrameResult]) -> Vec<(u64, u64, Value)> {
    let objects = |result: &FrameResult| {
        let frame = result.frame as u64;
        let object = |object: &FrameObject| {
            (
                frame,
                u64::from(object.id),
                serde_json::to_value(object.mask.to_rle()).unwrap(),
            )
        };
        result.objects.iter().map(object).collect::<Vec<_>>()
    };
    results.iter().flat_map(objects).collect()
}

/// The miniature with a tracker, to which a token of CLIP's is the one of its own 64 that has the same last six bits.
pub fn speaking() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let source = StateDict::open(&clickable()).unwrap();
        let (mut header, mut data) = (Map::new(), Vec::new());
        for view in (0..source.len()).map(|index| source.view(index)) {
            let Some(mut values) = view.to_f32() else { continue };
            let mut shape = view.shape.to_vec();
            if view.name.ends_with("encoder.token_embedding.weight") {
                values = values.repeat(VOCABULARY / WORDS);
                shape[0] = VOCABULARY;
            } else if view.name.ends_with("encoder.positional_embedding") {
                values.resize(CONTEXT * shape[1], 0.0);
                shape[0] = CONTEXT;
            }
            let begin = data.len();
            data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
            header.insert(view.name.to_owned(), entry);
        }
        let header = serde_json::to_vec(&header).unwrap();
        let file = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
        let mut config = golden("config.json");
        let of_text = &mut config["text_config"];
        for (name, value) in [
            ("vocab_size", VOCABULARY),
            ("max_position_embeddings", CONTEXT),
            ("bos_token_id", VOCABULARY - 2),
            ("eos_token_id", VOCABULARY - 1),
        ] {
            of_text[name] = value.into();
        }
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("speaking-{}", env!("CARGO_CRATE_NAME")));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        fs::write(folder.join("mini.safetensors"), file).unwrap();
        folder.join("mini.safetensors")
    };
    MADE.get_or_init(make).clone()
}

/// What it finds much of: words of which the official code's answers are known.
pub fn words() -> String {
    let tokens: Vec<u32> = serde_json::from_value(golden("e2e.json")["tokens"].clone()).unwrap();
    let tokenizer = Tokenizer::new();
    let letters = || ('a'..='z').map(String::from);
    let pairs = letters().flat_map(|a| letters().map(move |b| a.clone() + &b));
    let known: Vec<String> = letters().chain(pairs).collect();
    let word = |token: &u32| {
        let is_it = |word: &&String| matches!(tokenizer.encode(word).ids[..], [_, id, _, ..] if id % 64 == *token);
        known.iter().find(is_it).expect("a word of one or two letters").clone()
    };
    let words: Vec<String> = tokens[1..tokens.len() - 1].iter().map(word).collect();
    words.join(" ")
}

/// A frame of the same video as the model sees it, of 224 x 224 pixels.
pub fn large_frame(number: usize) -> Vec<u8> {
    fs::read(clickable().with_file_name(format!("video_224/{number:02}.png"))).unwrap()
}

fn golden(file: &str) -> Value {
    serde_json::from_slice(&fs::read(clickable().with_file_name(file)).unwrap()).unwrap()
}
