//! Checkpoints of zeros whose names, shapes and configs tell an architecture, or none that can be.

use std::{
    fs::{self, File},
    io::Write as _,
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};

use super::*;

const TRUNK: &str = reader::TRUNK;

/// A checkpoint of zeros: names and shapes, and a config.json.
#[derive(Clone)]
struct Made {
    tensors: Vec<(String, Vec<usize>)>,
    config: Value,
}

/// Two blocks of windows of 3 patches in an image of 6, one of them global.
fn miniature() -> Made {
    let tensors = [
        (
            "backbone.vision_backbone.trunk.patch_embed.proj.weight",
            vec![64, 3, 14, 14],
        ),
        ("backbone.vision_backbone.trunk.pos_embed", vec![1, 17, 64]),
        ("backbone.vision_backbone.trunk.blocks.0.mlp.fc1.weight", vec![128, 64]),
        ("backbone.vision_backbone.trunk.blocks.0.attn.freqs_cis", vec![9, 8, 2]),
        ("backbone.vision_backbone.trunk.blocks.1.attn.freqs_cis", vec![36, 8, 2]),
        ("backbone.vision_backbone.trunk.blocks.1.norm1.weight", vec![64]),
        (
            "backbone.language_backbone.encoder.token_embedding.weight",
            vec![100, 40],
        ),
        ("backbone.language_backbone.encoder.positional_embedding", vec![32, 40]),
        (
            "backbone.language_backbone.encoder.transformer.resblocks.0.ln_1.weight",
            vec![40],
        ),
        ("geometry_encoder.final_proj.weight", vec![24, 24]),
        ("geometry_encoder.boxes_pool_project.weight", vec![24, 24, 7, 7]),
        ("geometry_encoder.encode.0.norm1.weight", vec![24]),
        ("transformer.encoder.layers.0.norm1.weight", vec![24]),
        ("transformer.decoder.layers.0.norm1.weight", vec![24]),
        ("transformer.decoder.query_embed.weight", vec![5, 24]),
    ];
    Made {
        tensors: tensors.map(|(name, shape)| (format!("detector.{name}"), shape)).into(),
        config: json!({ "model_type": "sam3", "text_config": { "num_attention_heads": 5 } }),
    }
}

impl Made {
    fn stating(mut self, path: &str, value: Value) -> Self {
        let mut at = &mut self.config;
        for step in path.split('.') {
            at = &mut at[step];
        }
        *at = value;
        self
    }

    fn with(mut self, name: &str, shape: &[usize]) -> Self {
        self.tensors.retain(|(known, _)| known != name);
        self.tensors.push((name.to_owned(), shape.to_vec()));
        self
    }

    fn without(mut self, prefix: &str) -> Self {
        self.tensors.retain(|(name, _)| !name.starts_with(prefix));
        self
    }

    fn open(&self) -> StateDict {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("sam3-config-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut header = serde_json::Map::new();
        let mut end = 0;
        for (name, shape) in &self.tensors {
            let start = end;
            end += 2 * shape.iter().product::<usize>();
            let entry = json!({ "dtype": "F16", "shape": shape, "data_offsets": [start, end] });
            header.insert(name.clone(), entry);
        }
        let header = Value::from(header).to_string();
        let path = folder.join("model.safetensors");
        let mut file = File::create(&path).unwrap();
        file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
        file.write_all(header.as_bytes()).unwrap();
        // The weights are a hole in the file.
        file.set_len((8 + header.len() + end) as u64).unwrap();
        fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
        let dict = StateDict::open(&path).unwrap();
        fs::remove_dir_all(folder).unwrap();
        dict
    }

    fn config(&self) -> Config {
        Config::of(&self.open()).unwrap()
    }

    /// It is refused, and the file and each of `words` are named.
    #[track_caller]
    fn refused(&self, words: &[&str]) {
        let dict = self.open();
        let error = Config::of(&dict)
            .map(|config| panic!("it is accepted: {config:?}"))
            .unwrap_err()
            .to_string();
        for word in [dict.path().to_str().unwrap()].iter().chain(words) {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    }
}

fn trunk(name: &str) -> String {
    format!("{TRUNK}{name}")
}

const BACKBONE: &str = "vision_config.backbone_config";

fn backbone(key: &str) -> String {
    format!("{BACKBONE}.{key}")
}

#[test]
fn names_shapes_and_tables_tell_the_architecture() {
    let stack = |heads| StackConfig { depth: 1, heads };
    let expected = Config {
        vit: VitConfig {
            image_size: 84,
            patch_size: 14,
            pretrain_grid: 4,
            width: 64,
            mlp: 128,
            depth: 2,
            heads: 4,
            window: 3,
            global_blocks: vec![1],
            eps: 1e-5,
        },
        d_model: 24,
        detector: Some(DetectorConfig {
            text: Some(TextConfig {
                width: 40,
                depth: 1,
                heads: 5,
                context: 32,
                vocab: 100,
            }),
            geometry: stack(8),
            fusion: stack(8),
            decoder: stack(8),
            queries: 5,
            mask_heads: 8,
            roi_size: 7,
        }),
    };
    assert_eq!(miniature().config(), expected);

    // A table that is none tells nothing.
    let table = |shape: &[usize]| miniature().with(&trunk("blocks.1.attn.freqs_cis"), shape);
    let told = table(&[36])
        .stating(&backbone("window_size"), json!(3))
        .stating(&backbone("image_size"), json!(84));
    assert_eq!(
        told.stating(&backbone("global_attn_indexes"), json!([1])).config(),
        expected
    );

    // Without config and tables, they are SAM 3's own.
    let bare = miniature()
        .without(&trunk("blocks.0.attn"))
        .with(&trunk("blocks.1.norm1.weight"), &[64]);
    let vit = bare.without(&trunk("blocks.1.attn")).config().vit;
    assert_eq!((vit.image_size, vit.window, vit.heads), (1008, 24, 16));
    assert_eq!(vit.global_blocks, [] as [usize; 0], "7, 15, 23, 31 of 2 blocks");
}

#[test]
fn the_config_tells_what_shapes_cannot() {
    let config = miniature()
        .without(&trunk("blocks.1"))
        .without(&trunk("blocks.0.attn"))
        .stating(&backbone("image_size"), json!([112, 112]))
        .stating(&backbone("window_size"), json!(2))
        .stating(&backbone("num_attention_heads"), json!(8))
        .stating(&backbone("global_attn_indexes"), json!([0]))
        .stating(&backbone("layer_norm_eps"), json!(1e-6))
        .stating(&backbone("hidden_size"), json!(64))
        .stating("geometry_encoder_config.num_attention_heads", json!(2))
        .stating("detr_encoder_config.num_attention_heads", json!(3))
        .stating("detr_decoder_config.num_attention_heads", json!(4))
        .stating("mask_decoder_config", json!({ "num_attention_heads": 6 }))
        .stating("text_config.num_hidden_layers", Value::Null)
        .config();
    let vit = &config.vit;
    assert_eq!((vit.image_size, vit.window, vit.heads, vit.eps), (112, 2, 8, 1e-6));
    assert_eq!(vit.global_blocks, [0]);
    let detector = config.detector.as_ref().unwrap();
    let heads = [&detector.geometry, &detector.fusion, &detector.decoder].map(|stack| stack.heads);
    assert_eq!((heads, detector.mask_heads), ([2, 3, 4], 6));

    // What a package carries says the same.
    let carried = Made {
        config: config.to_json(),
        ..miniature().without(&trunk("blocks.1")).without(&trunk("blocks.0.attn"))
    };
    assert_eq!(carried.config(), config);
}

#[test]
fn the_epsilon_of_sam3_is_not_that_of_its_config() {
    let eps = |width: usize, mlp: usize| {
        let made = miniature().without(&trunk("blocks"));
        let made = made.with(&trunk("patch_embed.proj.weight"), &[width, 3, 14, 14]);
        let made = made.with(&trunk("blocks.0.mlp.fc1.weight"), &[mlp, width]);
        made.stating(&backbone("layer_norm_eps"), json!(1e-6)).config().vit.eps
    };
    assert_eq!(eps(1024, 4736), 1e-5);
    assert_eq!(eps(1024, 4096), 1e-6);
    assert_eq!(eps(768, 4736), 1e-6);
}

#[test]
fn layers_are_numbered_without_a_gap() {
    let whole = "expected a whole SAM 3 checkpoint";
    for number in ["3", "4000000000", "18446744073709551615", "99999999999999999999999"] {
        let gap = miniature().with(&trunk(&format!("blocks.{number}.x")), &[1]);
        gap.refused(&[&trunk("blocks.*"), "no tensor of layer 2", whole]);
    }
    for (name, layers) in [
        (
            "text encoder",
            "detector.backbone.language_backbone.encoder.transformer.resblocks.",
        ),
        ("geometry encoder", "detector.geometry_encoder.encode."),
        ("fusion encoder", "detector.transformer.encoder.layers."),
        ("decoder", "detector.transformer.decoder.layers."),
    ] {
        let made = miniature().without(layers);
        made.refused(&[&format!("{layers}*"), "found no layer", whole]);
        let made = made.with(&format!("{layers}1.x"), &[1]);
        made.refused(&["found layer 1, and no tensor of layer 0", whole]);
        let made = made
            .with(&format!("{layers}0.x"), &[1])
            .with(&format!("{layers}x.x"), &[1]);
        assert_eq!(
            made.config().detector.unwrap().decoder.heads,
            8,
            "{name}: what is no number is no layer"
        );
    }
    let deep = |depth: usize| {
        (1..depth).fold(miniature().without(&trunk("blocks.1")), |made, block| {
            made.with(&trunk(&format!("blocks.{block}.x")), &[1])
        })
    };
    assert_eq!(deep(limits::DEPTH).config().vit.depth, limits::DEPTH);
    deep(limits::DEPTH + 1).refused(&["at most 512", "found layer 512"]);
}

#[test]
fn a_tensor_of_another_shape_is_refused() {
    for (name, shape) in [
        (
            "backbone.vision_backbone.trunk.patch_embed.proj.weight",
            &[16385, 1, 1, 1][..],
        ),
        ("backbone.vision_backbone.trunk.patch_embed.proj.weight", &[64, 3, 14]),
        (
            "backbone.vision_backbone.trunk.patch_embed.proj.weight",
            &[64, 3, 0, 14],
        ),
        (
            "backbone.vision_backbone.trunk.patch_embed.proj.weight",
            &[64, 3, 513, 513],
        ),
        ("backbone.vision_backbone.trunk.blocks.0.mlp.fc1.weight", &[65537, 1]),
        ("backbone.vision_backbone.trunk.pos_embed", &[1, 513 * 513 + 1, 1]),
        ("backbone.vision_backbone.trunk.pos_embed", &[17, 64]),
        (
            "backbone.language_backbone.encoder.token_embedding.weight",
            &[(1 << 21) + 1, 1],
        ),
        ("backbone.language_backbone.encoder.positional_embedding", &[1025, 1]),
        ("geometry_encoder.final_proj.weight", &[1025, 1]),
        ("geometry_encoder.boxes_pool_project.weight", &[1, 1, 65, 65]),
        ("transformer.decoder.query_embed.weight", &[4097, 1]),
        ("transformer.decoder.query_embed.weight", &[]),
    ] {
        let name = format!("detector.{name}");
        miniature()
            .with(&name, shape)
            .refused(&[&name, "expected ", &format!("found {shape:?}")]);
    }
    for positions in [1, 3, 16] {
        let made = miniature().with(&trunk("pos_embed"), &[1, positions, 64]);
        made.refused(&["1 + n² positions", &format!("found {positions}")]);
    }
}

#[test]
fn a_number_out_of_its_range_is_refused() {
    let most = [
        (backbone("image_size"), 8192),
        (backbone("window_size"), 512),
        (backbone("num_attention_heads"), 64),
        ("text_config.num_attention_heads".into(), 40),
        ("geometry_encoder_config.num_attention_heads".into(), 1024),
        ("detr_encoder_config.num_attention_heads".into(), 1024),
        ("detr_decoder_config.num_attention_heads".into(), 1024),
        ("mask_decoder_config.num_attention_heads".into(), 1024),
    ];
    for (path, most) in most {
        let range = format!("a whole number from 1 to {most}");
        for wrong in [
            json!(0),
            json!(-1),
            json!(most + 1),
            json!(u64::MAX),
            json!(16.5),
            json!("16"),
            json!([]),
        ] {
            let made = miniature().stating(&path, wrong.clone());
            made.refused(&[&path, "config.json", &range, &format!("found {wrong}")]);
        }
    }
    for wrong in [
        json!([84, 98]),
        json!([84]),
        json!([84, 84, 84]),
        json!({}),
        json!([84.0, 84.0]),
    ] {
        miniature()
            .stating(&backbone("image_size"), wrong.clone())
            .refused(&["a square", &wrong.to_string()]);
    }
    for wrong in [json!(0), json!(1), json!(-1e-5), json!("1e-5")] {
        let made = miniature().stating(&backbone("layer_norm_eps"), wrong.clone());
        made.refused(&["layer_norm_eps", "between 0 and 1", &wrong.to_string()]);
    }
    let told = miniature().without(&trunk("blocks.0.attn"));
    for wrong in [
        json!([2]),
        json!([-1]),
        json!(1),
        json!(["0"]),
        json!([u64::MAX]),
        json!("x"),
        json!(true),
        json!([0, 0]),
        json!([1e12]),
    ] {
        // With tables that tell, and without.
        for made in [miniature(), told.clone()] {
            let made = made.stating(&backbone("global_attn_indexes"), wrong.clone());
            made.refused(&["global_attn_indexes", "below 2", &wrong.to_string()]);
        }
    }
    let null = miniature().stating(&backbone("global_attn_indexes"), Value::Null);
    assert_eq!(null.config().vit.global_blocks, [1]);
    let made = told.stating(&backbone("global_attn_indexes"), json!(vec![9; 1000]));
    made.refused(&["found [9,9,9,", "…;"]);
    for path in ["vision_config", BACKBONE, "text_config", "mask_decoder_config"] {
        miniature()
            .stating(path, json!(5))
            .refused(&[path, "an object", "found 5"]);
    }
}

#[test]
fn numbers_that_do_not_belong_together_are_refused() {
    for (path, stated, found) in [
        (backbone("hidden_size"), 1024, 64),
        (backbone("num_hidden_layers"), 32, 2),
        ("text_config.hidden_size".into(), 512, 40),
        ("text_config.num_hidden_layers".into(), 12, 1),
        ("geometry_encoder_config.num_layers".into(), 3, 1),
        ("detr_encoder_config.hidden_size".into(), 256, 24),
        ("detr_decoder_config.num_layers".into(), 6, 1),
    ] {
        let made = miniature().stating(&path, json!(stated));
        made.refused(&[&path, &format!("expected {found}, as in the tensors, found {stated}")]);
    }
    for (path, heads, words) in [
        ("text_config", 7, ["text encoder", "1 × 7 heads", "found 40"]),
        (
            "geometry_encoder_config",
            5,
            ["geometry encoder", "1 × 5 heads", "found 24"],
        ),
        (
            "detr_encoder_config",
            25,
            ["fusion encoder", "1 × 25 heads", "found 24"],
        ),
        ("detr_decoder_config", 9, ["decoder", "1 × 9 heads", "found 24"]),
        ("mask_decoder_config", 1000, ["mask head", "1 × 1000 heads", "found 24"]),
    ] {
        let made = miniature().stating(&format!("{path}.num_attention_heads"), json!(heads));
        made.refused(&[&words[..], &["num_attention_heads beside"]].concat());
    }
    let heads = |heads: usize| miniature().stating(&backbone("num_attention_heads"), json!(heads));
    heads(2).refused(&["freqs_cis", "expected 16 columns for 2 heads of a width of 64, found 8"]);
    let untold = |heads_stated| heads(heads_stated).without(&trunk("blocks.0.attn"));
    untold(32).refused(&["image encoder", "4 × 32 heads", "found 64"]);
    let wide = untold(1).with(&trunk("patch_embed.proj.weight"), &[512, 3, 14, 14]);
    wide.refused(&["at most 256 channels a head, found 512 in 1 heads"]);

    let narrow = miniature().with("detector.geometry_encoder.final_proj.weight", &[12, 12]);
    let parts = ["geometry_encoder", "detr_encoder", "detr_decoder", "mask_decoder"];
    let narrow = parts.iter().fold(narrow, |made, part| {
        made.stating(&format!("{part}_config.num_attention_heads"), json!(4))
    });
    narrow.refused(&["GroupNorm's 8 groups", "found 12"]);
    let image = |side: usize| untold(4).stating(&backbone("image_size"), json!(side));
    image(85).refused(&["multiple of the patch size 14", "found 85"]);
    image(7182).refused(&["at most 512 patches", "found 7182"]);
    assert_eq!(image(7168).config().vit.grid(), 512);

    let table = |rows: usize| miniature().with(&trunk("blocks.1.attn.freqs_cis"), &[rows, 8, 2]);
    let stated = table(37)
        .stating(&backbone("window_size"), json!(3))
        .stating(&backbone("image_size"), json!(84));
    stated.refused(&[
        "blocks.1.attn.freqs_cis",
        "expected 9 rows (a window) or 36 (the image), found 37",
    ]);
}

#[test]
fn missing_keys_are_listed() {
    let made = miniature()
        .without(&trunk("pos_embed"))
        .without("detector.transformer.decoder.query_embed");
    made.refused(&[
        "missing",
        &trunk("pos_embed"),
        "decoder.query_embed.weight",
        "a whole SAM 3 checkpoint",
    ]);
    let other = Made {
        tensors: vec![("x".into(), vec![1])],
        config: json!({}),
    };
    other.refused(&["not a SAM 3 image model", "none of its keys is there"]);
}

#[test]
fn a_package_for_clicks_alone_has_no_detector() {
    let clicks = miniature()
        .without("detector.backbone.language_backbone")
        .without("detector.geometry_encoder")
        .without("detector.transformer")
        .with("tracker.no_mem_embed", &[1, 1, 24])
        .with(
            "detector.backbone.vision_backbone.sam2_convs.0.conv_1x1.weight",
            &[24, 16, 1, 1],
        );
    let config = clicks.config();
    assert_eq!((config.d_model, config.detector), (24, None));
    assert_eq!(config.vit, miniature().config().vit);
    let again = Made {
        config: clicks.config().to_json(),
        ..clicks.clone()
    };
    assert_eq!(again.config(), clicks.config());
    clicks
        .without("tracker.no_mem_embed")
        .refused(&["tracker.no_mem_embed"]);
}
