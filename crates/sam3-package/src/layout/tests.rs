//! The rules against every name of the two published files, and the prefixes on small state dicts.

mod prefixes;

use std::{collections::HashMap, io::Write as _, path::PathBuf};

use super::*;

/// One line of `fixtures/keys.txt`, its layer filled in.
struct Key {
    official: String,
    shape: Vec<usize>,
    op: String,
    transformers: Vec<String>,
}

/// The 1465 tensors of `sam3.pt`, in its order.
fn keys() -> Vec<Key> {
    let lines: Vec<Vec<&str>> = include_str!("../../fixtures/keys.txt")
        .lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| l.split(' ').collect())
        .collect();
    let mut keys = Vec::new();
    let group = |line: &[&str]| line[1].split_once("{}").map(|(prefix, _)| prefix.to_owned());
    for lines in lines.chunk_by(|a, b| group(a).is_some() && group(a) == group(b)) {
        let layers: usize = lines[0][0].parse().unwrap();
        for n in 0..layers {
            for line in lines {
                let fill = |s: &str| s.replace("{}", &n.to_string());
                let shape = match line[3] {
                    "-" if [7, 15, 23, 31].contains(&n) => vec![5184, 32],
                    "-" => vec![576, 32],
                    shape => shape.split('x').map(|d| d.parse().unwrap()).collect(),
                };
                let transformers = line[5].split(',').filter(|s| *s != "-").map(fill).collect();
                keys.push(Key {
                    official: fill(line[1]),
                    shape,
                    op: line[4].into(),
                    transformers,
                });
            }
        }
    }
    assert_eq!(keys.len(), 1465);
    keys
}

/// The tensors of `model.safetensors` that make `keys`, in alphabetical order as the file has them.
fn transformers_tensors(keys: &[Key]) -> Vec<Stored> {
    let mut tensors = HashMap::new();
    for key in keys {
        let mut shape = key.shape.clone();
        match key.op.as_str() {
            "split3_rows" => shape[0] /= 3,
            "slice_rows_dim1" => shape[1] -= 1,
            "transpose" => shape.reverse(),
            "concat_row" => shape[0] = 4,
            _ => {}
        }
        for name in &key.transformers {
            tensors.insert(name.clone(), shape.clone());
        }
    }
    let mut tensors: Vec<Stored> = tensors
        .into_iter()
        .map(|(name, shape)| Stored {
            name,
            dtype: Dtype::F32,
            shape,
            strides: None,
            file: 0,
            start: 0,
        })
        .collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}

#[test]
fn transformers_names_become_the_official_state_dict_in_its_order() {
    let keys = keys();
    let tensors = transformers_tensors(&keys);
    assert_eq!(tensors.len(), 1797);
    let names: Vec<String> = tensors.iter().map(|t| t.name.clone()).collect();
    let all: Vec<_> = names.iter().cloned().map(Some).collect();
    let (entries, warnings) = transformers::official(&all, |i| &tensors[i], None).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    for (entry, key) in entries.iter().zip(&keys) {
        assert_eq!((&entry.name, &entry.shape), (&key.official, &key.shape));
        let from: Vec<&String> = entry.source.tensors().into_iter().map(|i| &names[i]).collect();
        let expected: Vec<&String> = key
            .transformers
            .iter()
            .take(if key.op == "duplicate" { 1 } else { 3 })
            .collect();
        assert_eq!(from, expected, "{}", key.official);
    }
    assert_eq!(
        entries.len(),
        keys.len(),
        "left over: {:?}",
        entries.get(1465).map(|e| &e.name)
    );
}

#[test]
fn every_published_name_is_known_whole() {
    let keys = keys();
    for key in &keys {
        assert!(
            known::is_part(&key.official) && known::is_whole(&key.official),
            "{}",
            key.official
        );
    }
    for tensor in transformers_tensors(&keys) {
        assert!(known::is_whole(&tensor.name), "{}", tensor.name);
    }
    for name in [
        "detector.backbone.x",
        "detector.extra.weight",
        "vision_encoder.x",
        "tracker",
        "",
    ] {
        assert!(!known::is_whole(name), "{name}");
    }
}

/// The names of the two published files, and those of image models alone.
fn published() -> [Vec<String>; 4] {
    let keys = keys();
    let official: Vec<String> = keys.iter().map(|key| key.official.clone()).collect();
    let theirs: Vec<String> = transformers_tensors(&keys)
        .into_iter()
        .map(|tensor| tensor.name)
        .collect();
    let image = |names: &[String], prefix: &str| {
        let rests = names.iter().filter_map(|name| name.strip_prefix(prefix));
        rests.map(str::to_owned).collect()
    };
    let (bare, their_bare) = (image(&official, "detector."), image(&theirs, "detector_model."));
    [official, theirs, bare, their_bare]
}

#[test]
fn the_layers_of_global_attention_are_checked() {
    for (stated, is_right) in [
        ("[0]", true),
        ("[]", true),
        ("\"x\"", false),
        ("0", false),
        ("-1", false),
        ("true", false),
        ("[-1]", false),
        ("[99]", false),
        ("[1]", false),
        ("[0, 0]", false),
        ("[\"0\"]", false),
        ("[0.0]", false),
        ("[1e12]", false),
        ("{}", false),
    ] {
        let config = CONFIG.replace("[0]", stated);
        match StateDict::open(&file("global", SMALL, Some(&config))) {
            Ok(_) => assert!(is_right, "{stated}"),
            Err(error) => {
                let error = error.to_string();
                let words = [
                    "model.safetensors",
                    "global_attn_indexes",
                    "distinct whole numbers below 1",
                ];
                assert!(!is_right && words.iter().all(|word| error.contains(word)), "{error}");
            }
        }
    }
    let shape = |config: &str| {
        let state = StateDict::open(&file("default", SMALL, Some(config))).unwrap();
        let table = state.position("detector.backbone.vision_backbone.trunk.blocks.0.attn.freqs_cis");
        state.info(table.unwrap()).shape.to_vec()
    };
    // SAM 3's own: the first layer attends to windows, here of 2.
    assert_eq!(shape(&CONFIG.replace("[0]", "null")), [4, 2]);
    assert_eq!(shape(&CONFIG.replace(", \"global_attn_indexes\": [0]", "")), [4, 2]);
}

#[test]
fn every_official_name_has_a_component() {
    for key in keys() {
        let component = Component::of(&key.official);
        assert_ne!(component, Component::Other, "{}", key.official);
        let of_tracker = key.official.starts_with("tracker.") || key.official.contains(".sam2_convs.");
        assert_eq!(component.is_tracker(), of_tracker, "{}", key.official);
    }
}

/// A safetensors file of F32 tensors counting up from 0, in a folder of its own.
fn file(test: &str, tensors: &[(&str, &[usize])], config: Option<&str>) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sam3-layout-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.safetensors");
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in tensors {
        let begin = data.len();
        for i in 0..shape.iter().product() {
            data.extend_from_slice(&(i as f32).to_le_bytes());
        }
        header.insert(
            (*name).into(),
            serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]}),
        );
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut out = std::fs::File::create(&path).unwrap();
    out.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    out.write_all(&header).unwrap();
    out.write_all(&data).unwrap();
    let beside = folder.join("config.json");
    match config {
        Some(text) => std::fs::write(beside, text).unwrap(),
        None => drop(std::fs::remove_file(beside)),
    }
    path
}

fn names(state: &StateDict) -> Vec<&str> {
    state.tensors().map(|t| t.name).collect()
}

#[test]
fn a_config_of_another_model_shapes_nothing() {
    let clip = CONFIG.replacen('{', r#"{"model_type": "clip", "#, 1);
    let state = StateDict::open(&file("clip", SMALL, Some(&clip)));
    // SAM 3's own 16 heads do not divide the miniature's width of 4: the config was not obeyed.
    let error = state.unwrap_err().to_string();
    assert!(error.contains("for width 4 and 16 heads"), "{error}");
    let one: &[(&str, &[usize])] = &[("detector.backbone.x", &[1])];
    let state = StateDict::open(&file("foreign", one, Some(&clip))).unwrap();
    assert_eq!(state.config(), None);
    let warning = &state.warnings()[0];
    assert!(
        warning.contains("config.json") && warning.contains("model_type \"clip\""),
        "{warning}"
    );
    assert!(
        StateDict::open(&file("own", one, Some(CONFIG)))
            .unwrap()
            .config()
            .is_some()
    );
}

#[test]
fn an_image_size_may_be_a_pair() {
    let pair = CONFIG.replace("56", "[56, 56]");
    let state = StateDict::open(&file("pair", SMALL, Some(&pair))).unwrap();
    let freqs = state.position("detector.backbone.vision_backbone.trunk.blocks.0.attn.freqs_cis");
    assert_eq!(state.info(freqs.unwrap()).shape, [16, 2]);
}

#[test]
fn two_tensors_of_one_official_name_are_refused() {
    let path = file("twice", &[("backbone.x", &[1]), ("detector.backbone.x", &[1])], None);
    let message = StateDict::open(&path).unwrap_err().to_string();
    assert!(
        message.contains("\"backbone.x\" and \"detector.backbone.x\" are both \"detector.backbone.x\""),
        "{message}"
    );
}

#[test]
fn a_tensor_of_the_file_takes_the_place_of_one_that_is_made() {
    let table = "detector.backbone.vision_backbone.trunk.blocks.0.attn.freqs_cis";
    let point = "detector.geometry_encoder.points_direct_project.weight";
    let plain = StateDict::open(&file("made", SMALL, Some(CONFIG))).unwrap();
    for prefix in ["detector.", ""] {
        let bare = table.strip_prefix("detector.").unwrap();
        let raw_table = format!("{prefix}{bare}");
        let tensors = [SMALL, &[(raw_table.as_str(), &[16, 2, 2]), (point, &[3, 2])]].concat();
        let state = StateDict::open(&file("own", &tensors, Some(CONFIG))).unwrap();
        assert_eq!(names(&state), names(&plain));
        assert_eq!(
            state.synthesised().collect::<Vec<_>>(),
            ["detector.geometry_encoder.points_direct_project.bias"]
        );
        let view = state.view(state.position(point).unwrap());
        assert_eq!(view.to_f32().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let view = state.view(state.position(table).unwrap());
        assert_eq!((view.dtype, view.shape), (Dtype::C64, &[16, 2][..]));
        assert_eq!(view.parts[0][4..8], 1f32.to_le_bytes());
    }
    // A table of no known form is left out, and the computed one stays.
    let tensors = [SMALL, &[(table, &[16, 2])]].concat();
    let state = StateDict::open(&file("own", &tensors, Some(CONFIG))).unwrap();
    assert!(state.synthesised().any(|name| name == table));
}

#[test]
fn what_two_tensors_of_the_file_become_is_refused() {
    let trunk = "detector.backbone.vision_backbone.trunk.";
    for (leaf, shape, theirs) in [
        (
            "pos_embed",
            &[1, 5, 2][..],
            "\"vision_encoder.backbone.embeddings.position_embeddings\"",
        ),
        (
            "blocks.0.attn.qkv.weight",
            &[12, 4],
            "q_proj.weight\", \"vision_encoder.backbone.layers.0.attention.k_proj.weight\"",
        ),
    ] {
        let name = format!("{trunk}{leaf}");
        let tensors = [SMALL, &[(name.as_str(), shape)]].concat();
        let path = file("both", &tensors, Some(CONFIG));
        let message = StateDict::open(&path).unwrap_err().to_string();
        for words in [theirs, &format!("and \"{name}\" are both \"{name}\"")] {
            assert!(message.contains(words), "{words} in: {message}");
        }
    }
    // Neither is converted: both names are left as they are, in the end one.
    let tensors = [SMALL, &[("backbone.x", &[1]), ("detector.backbone.x", &[1])]].concat();
    let message = StateDict::open(&file("both", &tensors, Some(CONFIG)))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("\"backbone.x\" and \"detector.backbone.x\" are both"),
        "{message}"
    );
}

/// The tensors of a transformers checkpoint that are not simply the same, small.
const SMALL: &[(&str, &[usize])] = &[
    ("geometry_encoder.boxes_direct_project.bias", &[3]),
    ("geometry_encoder.boxes_direct_project.weight", &[3, 4]),
    ("text_encoder.text_projection.weight", &[2, 3]),
    ("vision_encoder.backbone.embeddings.position_embeddings", &[1, 4, 2]),
    ("vision_encoder.backbone.layers.0.attention.k_proj.weight", &[4, 4]),
    ("vision_encoder.backbone.layers.0.attention.q_proj.weight", &[4, 4]),
    ("vision_encoder.backbone.layers.0.attention.v_proj.weight", &[4, 4]),
];

const CONFIG: &str = r#"{"detector_config": {"vision_config": {"backbone_config":
    {"num_attention_heads": 1, "window_size": 2, "image_size": 56, "global_attn_indexes": [0]}}}}"#;

/// Zeros that a file asks for cost it nothing.
#[test]
fn a_tensor_that_is_made_has_a_largest_width() {
    for (width, expected) in [(4096, None), (4097, Some("is 4097 wide")), (8192, Some("is 8192 wide"))] {
        let wide = [width, 4];
        let mut tensors = SMALL.to_vec();
        (tensors[0].1, tensors[1].1) = (&wide[..1], &wide);
        let error = StateDict::open(&file("wide", &tensors, Some(CONFIG))).err();
        let error = error.map(|error| error.to_string());
        match expected {
            Some(words) => assert!(error.as_ref().is_some_and(|error| error.contains(words)), "{error:?}"),
            None => assert_eq!(error, None),
        }
    }
}

#[test]
fn views_of_a_transformers_checkpoint() {
    let state = StateDict::open(&file("views", SMALL, Some(CONFIG))).unwrap();
    assert_eq!(state.layout(), Layout::Transformers);
    let view = |name: &str| {
        state.view(
            state
                .position(name)
                .unwrap_or_else(|| panic!("{name} in {:?}", names(&state))),
        )
    };
    let count = |n: usize| (0..n).map(|i| i as f32).collect::<Vec<_>>();

    let qkv = view("detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.weight");
    assert_eq!((qkv.shape, qkv.parts.len()), (&[12, 4][..], 3));
    assert!(
        qkv.parts.iter().all(|p| matches!(p, Cow::Borrowed(_))),
        "q, k and v are not copied"
    );
    assert_eq!(qkv.to_f32().unwrap(), [count(16), count(16), count(16)].concat());

    let pos = view("detector.backbone.vision_backbone.trunk.pos_embed");
    assert_eq!(pos.shape, [1, 5, 2]);
    assert_eq!(pos.to_f32().unwrap(), [vec![0.0, 0.0], count(8)].concat());

    let text = view("detector.backbone.language_backbone.encoder.text_projection");
    assert_eq!(
        (text.shape, text.to_f32().unwrap()),
        (&[3, 2][..], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0])
    );

    let points = view("detector.geometry_encoder.points_direct_project.weight");
    assert_eq!((points.shape, points.to_f32().unwrap()), (&[3, 2][..], vec![0.0; 6]));
    let made: Vec<_> = state.synthesised().collect();
    assert_eq!(made.len(), 3, "{made:?}");

    // A grid of 4×4 (56 px / 14) with windows of 2: positions are halved.
    let freqs = view("detector.backbone.vision_backbone.trunk.blocks.0.attn.freqs_cis");
    assert_eq!(
        (freqs.dtype, freqs.shape, freqs.byte_len()),
        (Dtype::C64, &[16, 2][..], 16 * 2 * 8)
    );
    let numbers: Vec<f32> = freqs.parts[0]
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    // Row 3, column 1: x turns by 0.5, y by 1.5.
    let at = (3 * 4 + 1) * 4;
    let expected = [0.5f32.cos(), 0.5f32.sin(), 1.5f32.cos(), 1.5f32.sin()];
    assert!(
        numbers[at..at + 4]
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-7),
        "{:?}",
        &numbers[at..at + 4]
    );
}

#[test]
fn a_torn_qkv_is_named() {
    let state = StateDict::open(&file("torn", &SMALL[..6], Some(CONFIG))).unwrap();
    let warning = &state.warnings()[0];
    assert!(
        warning.contains("qkv.weight\" is incomplete") && warning.contains("v_proj.weight\" is missing"),
        "{warning}"
    );

    let mut uneven = SMALL.to_vec();
    uneven[6].1 = &[4, 2];
    let message = StateDict::open(&file("uneven", &uneven, Some(CONFIG)))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("differ or are empty: F32 [4, 4], F32 [4, 4], F32 [4, 2]"),
        "{message}"
    );
}

#[test]
fn a_broken_config_beside_the_checkpoint_is_an_error() {
    for text in ["{", "[]", ""] {
        let message = StateDict::open(&file("config", SMALL, Some(text)))
            .unwrap_err()
            .to_string();
        assert!(message.contains("config.json"), "{message}");
    }
}

#[test]
fn impossible_extents_are_refused_before_anything_is_made_of_them() {
    const HUGE: usize = 1 << 40;
    for (name, shape, expected) in [
        (
            "vision_encoder.backbone.embeddings.position_embeddings",
            &[1, 0, HUGE][..],
            "none empty",
        ),
        (
            "vision_encoder.backbone.embeddings.position_embeddings",
            &[2, 2, 2],
            "[1, positions, width]",
        ),
        (
            "vision_encoder.backbone.layers.0.attention.q_proj.weight",
            &[0, HUGE],
            "none empty",
        ),
        (
            "vision_encoder.backbone.layers.0.attention.q_proj.weight",
            &[7, 7],
            "rotary table",
        ),
        (
            "tracker_model.prompt_encoder.point_embed.weight",
            &[65, 1],
            "has 65 rows",
        ),
    ] {
        let tensors = [(name, shape), ("vision_encoder.x", &[1][..])];
        let message = StateDict::open(&file("huge", &tensors, None)).unwrap_err().to_string();
        assert!(message.contains(expected), "{name} {shape:?}: {message}");
    }
}
