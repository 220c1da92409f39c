//! Checkpoints as people have them, from outside: prefixes, several sets of weights, other element types, SAM 3.1,
//! folders; and the files that are none.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use sam3_package::{Dtype, StateDict};
use serde_json::{Value, json};
use support::{Folder, check, miniature, package, packaging, sam3, tensors, text, trained, write_checkpoint};

/// Name, element type, shape, bytes.
type Raw = (String, Dtype, Vec<usize>, Vec<u8>);

/// Writes tensors of any element type, with the config beside them.
fn write_raw(path: &Path, tensors: &[Raw], config: &Path) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        data.extend_from_slice(bytes);
        header.insert(
            name.clone(),
            json!({"dtype": dtype.name(), "shape": shape, "data_offsets": offsets}),
        );
    }
    let header = serde_json::to_vec(&header).unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::copy(config, path.with_file_name("config.json")).unwrap();
    let length = (header.len() as u64).to_le_bytes();
    fs::write(path, [&length[..], &header, &data].concat()).unwrap();
}

/// The miniature's tensors, the rotary tables included.
fn official() -> Vec<Raw> {
    raw(&StateDict::open(&miniature("odd.pt")).unwrap())
}

fn raw(source: &StateDict) -> Vec<Raw> {
    let views = (0..source.len()).map(|index| source.view(index));
    views
        .map(|view| {
            (
                view.name.to_owned(),
                view.dtype,
                view.shape.to_vec(),
                view.parts.concat(),
            )
        })
        .collect()
}

/// Packages a checkpoint and returns what was said and the digest of each tensor.
fn digests(folder: &Folder, checkpoint: &Path, flags: &[&str]) -> (String, Value) {
    let output = folder.path("packaged.pth");
    let fixed = packaging(checkpoint, &output);
    let said = check(&[&fixed[..], &["--no-tarball", "--force"], flags].concat(), 0, &[]);
    let metadata: Value = serde_json::from_slice(&fs::read(folder.path("packaged_metadata.json")).unwrap()).unwrap();
    let tensors = metadata["tensors"].as_array().unwrap().iter();
    let digests = tensors.map(|t| (t["name"].as_str().unwrap().to_owned(), t["sha256"].clone()));
    (said, Value::Object(digests.collect()))
}

#[test]
fn prefixes_of_training_hide_nothing() {
    let folder = Folder::new();
    let plain = folder.path("plain/in.safetensors");
    write_checkpoint(&plain, &tensors());
    let (_, expected) = digests(&folder, &plain, &[]);
    for prefix in [
        "module.",
        "model.",
        "ema_model.",
        "base_model.model.",
        "state_dict.model.",
        "_orig_mod.",
        "module._orig_mod.",
        "net._fsdp_wrapped_module.",
    ] {
        let mut all = tensors();
        all.iter_mut().for_each(|tensor| tensor.0.insert_str(0, prefix));
        for odd in ["n_averaged", "criterion.weight", "optimizer.state.exp_avg"] {
            all.push((odd.to_owned(), vec![1], vec![1.0]));
        }
        let path = folder.path("wrapped/in.safetensors");
        write_checkpoint(&path, &all);
        let (said, found) = digests(&folder, &path, &[]);
        assert!(found == expected, "{prefix}");
        assert!(
            said.contains("criterion.weight, n_averaged, optimizer.state.exp_avg"),
            "{prefix}: {said}"
        );
    }
    let inside: Vec<_> = tensors()
        .into_iter()
        .map(|(name, shape, values)| {
            let wrapped = name.replacen(".backbone.", "._fsdp_wrapped_module.backbone._orig_mod.", 1);
            (
                wrapped.replace(".layers.", ".layers._checkpoint_wrapped_module."),
                shape,
                values,
            )
        })
        .collect();
    let path = folder.path("inside/in.safetensors");
    write_checkpoint(&path, &inside);
    assert!(digests(&folder, &path, &[]).1 == expected);
}

#[test]
fn one_of_two_sets_of_weights_is_named_and_the_other_can_be_asked_for() {
    let folder = Folder::new();
    let plain = folder.path("plain/in.safetensors");
    let average: Vec<_> = tensors()
        .into_iter()
        .map(|(name, shape, values)| (name, shape, values.into_iter().map(|v| v * 0.5).collect()))
        .collect();
    write_checkpoint(&plain, &tensors());
    let (_, of_model) = digests(&folder, &plain, &[]);
    write_checkpoint(&plain, &average);
    let (_, of_average) = digests(&folder, &plain, &[]);
    let mut both = Vec::new();
    for (prefix, tensors) in [("ema.", &average), ("model.", &tensors())] {
        let named = tensors.iter().cloned();
        both.extend(named.map(|(name, shape, values)| (format!("{prefix}{name}"), shape, values)));
    }
    let path = folder.path("both/in.safetensors");
    write_checkpoint(&path, &both);
    let (said, found) = digests(&folder, &path, &[]);
    assert!(
        found == of_model && said.contains("\"model\" was taken") && said.contains("--weights ema"),
        "{said}"
    );
    let (said, found) = digests(&folder, &path, &["--weights", "ema"]);
    assert!(found == of_average && !said.contains("was taken"), "{said}");
    let told = ["no weights of that name", "ema, model"];
    check(&["inspect", text(&path), "--weights", "teacher"], 1, &told);
    check(&["inspect", text(&path), "--weights", "ema"], 0, &["340 tensors"]);
}

#[test]
fn double_precision_is_rounded_and_said() {
    let folder = Folder::new();
    let single = folder.path("single/in.safetensors");
    write_checkpoint(&single, &tensors());
    let double: Vec<Raw> = tensors()
        .into_iter()
        .map(|(name, shape, values)| {
            let bytes = values.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect();
            (name, Dtype::F64, shape, bytes)
        })
        .collect();
    let path = folder.path("double/in.safetensors");
    write_raw(&path, &double, &miniature("config.json"));
    for flags in [&["--quantize", "none"][..], &["--quantize", "int8"]] {
        let (said, found) = digests(&folder, &path, flags);
        assert!(found == digests(&folder, &single, flags).1, "{flags:?}");
        assert!(said.contains("340 tensors are float64"), "{said}");
    }
}

#[test]
fn rotary_tables_are_read_in_every_spelling_and_none_is_needed() {
    let folder = Folder::new();
    let (_, expected) = digests(&folder, &miniature("odd.pt"), &[]);
    let with = |change: &dyn Fn(Raw) -> Vec<Raw>| {
        let all: Vec<Raw> = official()
            .into_iter()
            .flat_map(|raw| if raw.1 == Dtype::C64 { change(raw) } else { vec![raw] })
            .collect();
        let path = folder.path("tables/in.safetensors");
        write_raw(&path, &all, &miniature("config.json"));
        digests(&folder, &path, &[])
    };
    let (_, real) = with(&|(name, _, mut shape, bytes)| {
        shape.push(2);
        vec![(name, Dtype::F32, shape, bytes)]
    });
    assert!(real == expected, "view_as_real");
    let (_, apart) = with(&|(name, _, shape, bytes)| {
        let part = |offset: usize| -> Vec<u8> {
            bytes
                .as_chunks::<8>()
                .0
                .iter()
                .flat_map(|c| c[offset..offset + 4].to_vec())
                .collect()
        };
        vec![
            (format!("{name}_real"), Dtype::F32, shape.clone(), part(0)),
            (format!("{name}_imag"), Dtype::F32, shape, part(4)),
        ]
    });
    assert!(apart == expected, "real and imaginary parts apart");
    let (said, _) = with(&|(name, _, _, _)| vec![(name, Dtype::I64, vec![1], vec![0; 8])]);
    assert!(said.contains("ignored, as no rotary tables"), "{said}");
}

#[test]
fn adapters_and_relatives_are_refused_by_name() {
    let folder = Folder::new();
    let of = |names: &[&str]| -> Vec<support::Tensor> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), vec![1], vec![1.0]))
            .collect()
    };
    let qkv = "base_model.model.backbone.vision_backbone.trunk.blocks.0.attn.qkv";
    let mut unmerged = tensors();
    unmerged
        .iter_mut()
        .for_each(|tensor| tensor.0.insert_str(0, "base_model.model."));
    unmerged.extend(of(&[
        &format!("{qkv}.lora_A.default.weight"),
        &format!("{qkv}.base_layer.weight"),
    ]));
    for (tensors, expected) in [
        (
            of(&[&format!("{qkv}.lora_A.weight"), &format!("{qkv}.lora_B.weight")]),
            "a LoRA adapter (2 tensors",
        ),
        (unmerged, "a LoRA adapter lies unmerged"),
        (
            of(&["image_encoder.trunk.pos_embed", "obj_ptr_tpos_proj.weight"]),
            "a SAM 2.1 checkpoint",
        ),
        (
            of(&["image_encoder.trunk.pos_embed", "image_encoder.neck.convs.0.conv.bias"]),
            "a SAM 2 checkpoint",
        ),
        (
            of(&[
                "image_encoder.patch_embed.proj.bias",
                "image_encoder.blocks.0.norm1.bias",
            ]),
            "a SAM 1 checkpoint",
        ),
        (
            of(&["detector.backbone.vision_backbone.trunk.model.head.0.weight"]),
            "an EfficientSAM3 checkpoint",
        ),
        (
            of(&["detector.backbone.language_backbone.encoder.transformer.0.pre_norm_mha.0.bias"]),
            "a SAM3-LiteText checkpoint",
        ),
    ] {
        let path = folder.path("src/in.safetensors");
        write_checkpoint(&path, &tensors);
        refused(&path, &[expected]);
    }
}

/// Every command that takes a checkpoint refuses this file in these words.
fn refused(path: &Path, words: &[&str]) {
    let (file, folder) = (text(path), Folder::new());
    let output = folder.path("x.pth");
    check(
        &["package", "--checkpoint-path", file, "--output", text(&output)],
        1,
        words,
    );
    check(&["inspect", file], 1, words);
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo/scene.png");
    assert_eq!(folder.names(), Vec::<String>::new());
    let out = folder.path("out");
    let asked = ["--image", text(&picture), "--prompt", "boat", "--output", text(&out)];
    check(
        &[&["segment", "--checkpoint-path", file], &asked[..]].concat(),
        1,
        words,
    );
}

#[test]
fn files_of_other_kinds_are_named_with_the_next_step() {
    let folder = Folder::new();
    let path = folder.path("sam3.pt");
    for (bytes, words) in [
        (
            &b"<!doctype html><html><title>Log in</title>"[..],
            ["a web page", "login"],
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            ["git-lfs pointer", "git lfs pull"],
        ),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", ["a HEIC picture", "checkpoint"]),
        (b"\0\0\0\x0cJXL \r\n\x87\n", ["a JPEG XL picture", "checkpoint"]),
        (b"GGUF\x03\0\0\0", ["a GGUF model", "sam3.pt"]),
        (b"\x08\x08\x12\x07pytorch", ["an ONNX model", "sam3.pt"]),
        (b"ftrt\0\0\0\0", ["a TensorRT engine", "sam3.pt"]),
        (b"\x89HDF\r\n\x1a\n\0\0", ["an HDF5 file", "sam3.pt"]),
        (b"\x93NUMPY\x01\0v\0", ["a NumPy array", "sam3.pt"]),
    ] {
        fs::write(&path, bytes).unwrap();
        refused(&path, &words);
        check(&["verify", text(&path)], 1, &words);
    }
    let good = folder.path("src/in.safetensors");
    write_checkpoint(&good, &tensors());
    fs::write(&path, [fs::read(&good).unwrap(), vec![0; 5]].concat()).unwrap();
    refused(&path, &["5 bytes after its last tensor", "download it again"]);
}

#[test]
fn a_folder_stands_for_the_checkpoint_in_it() {
    let folder = Folder::new();
    fs::create_dir(folder.path("models")).unwrap();
    let x = package(&folder, "models/x.pth", "fp16");
    let models = x.parent().unwrap();
    check(
        &["verify", text(models)],
        0,
        &["verified", "equal to the metadata inside"],
    );
    check(&["inspect", text(models)], 0, &["package of in.safetensors"]);
    let source = folder.path("src");
    assert!(digests(&folder, &source, &[]).1 == digests(&folder, &source.join("in.safetensors"), &[]).1);
    fs::write(source.join("other.pt"), b"x").unwrap();
    refused(&source, &["name one of the files in it (in.safetensors, other.pt)"]);
}

#[test]
fn a_config_of_another_model_is_not_obeyed() {
    let folder = Folder::new();
    let path = folder.path("sam3.pt");
    fs::copy(miniature("odd.pt"), &path).unwrap();
    fs::write(
        folder.path("config.json"),
        r#"{"model_type": "clip", "architectures": ["CLIPModel"], "text_config": {"num_attention_heads": 8}}"#,
    )
    .unwrap();
    let told = [
        "config.json is the config of another model (model_type \"clip\")",
        "it is ignored",
    ];
    check(&["inspect", text(&path)], 0, &told);
    // The miniature's text encoder has 5 heads: neither CLIP's 8 nor SAM 3's 16 are right, and 8 divide its width.
    let output = folder.path("x.pth");
    let run = ["package", "--checkpoint-path", text(&path), "--output", text(&output)];
    check(&run, 1, &[told[0], "16 heads"]);
}

/// The trained miniature under SAM 3's names or SAM 3.1's, in half precision and without rotary tables, as ComfyUI
/// stores it.
fn half(path: &Path, is_31: bool) -> PathBuf {
    let source = Arc::new(StateDict::open(&trained().checkpoint).unwrap());
    let neck = "detector.backbone.vision_backbone.";
    let mut all = Vec::new();
    for index in 0..source.len() {
        let view = source.view(index);
        let Some(values) = view.to_f32() else { continue };
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|v| half::f16::from_f32(*v).to_le_bytes())
            .collect();
        let mut put = |name: String| all.push((name, Dtype::F16, view.shape.to_vec(), bytes.clone()));
        if !is_31 {
            put(view.name.to_owned());
            continue;
        }
        if let Some(rest) = view.name.strip_prefix("tracker.") {
            put(format!("tracker.model.{rest}"));
            continue;
        }
        let is_level = |convs: &str| view.name.strip_prefix(neck).and_then(|rest| rest.strip_prefix(convs));
        if is_level("convs.3.").is_some() || is_level("sam2_convs.").is_some() {
            continue;
        }
        put(view.name.to_owned());
        if let Some(rest) = is_level("convs.") {
            put(format!("{neck}propagation_convs.{rest}"));
            put(format!("{neck}interactive_convs.{rest}"));
        }
    }
    if is_31 {
        all.push((
            "tracker.model.output_valid_embed".into(),
            Dtype::F16,
            vec![1],
            vec![0; 2],
        ));
        all.push((
            format!("{neck}trunk.blocks.0.attn.freqs_cis_real"),
            Dtype::F16,
            vec![1, 1],
            vec![0; 2],
        ));
    }
    write_raw(path, &all, &trained().checkpoint.with_file_name("config.json"));
    path.to_owned()
}

#[test]
fn sam_3_1_segments_pictures_as_sam_3_does() {
    let folder = Folder::new();
    let of = |path: &Path| {
        let out = folder.path("out");
        let fixed = ["segment", "--json", "--checkpoint-path", text(path), "--prompt", "boat"];
        let output = sam3(&[&fixed[..], &["--image", text(&trained().scene), "--output", text(&out)]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let record: Value = serde_json::from_slice(&output.stdout).unwrap();
        (record["prompts"].clone(), said)
    };
    let (sam3_found, _) = of(&half(&folder.path("3/model.safetensors"), false));
    let sam31 = half(&folder.path("3.1/sam3.1_multiplex_fp16.safetensors"), true);
    let (found, said) = of(&sam31);
    assert_ne!(found[0]["instances"].as_array().unwrap().len(), 0);
    assert!(found == sam3_found, "{found}\n{sam3_found}");
    assert!(!said.contains("does not know"), "{said}");
    // In training's words, too.
    let renamed: Vec<Raw> = raw(&StateDict::open(&sam31).unwrap())
        .into_iter()
        .map(|(name, dtype, shape, bytes)| {
            let name = name.replacen("detector.", "sam3_model.", 1);
            (name.replacen("tracker.", "sam2_predictor.", 1), dtype, shape, bytes)
        })
        .collect();
    let path = folder.path("training/sam3.1.safetensors");
    write_raw(&path, &renamed, &trained().checkpoint.with_file_name("config.json"));
    assert!(of(&path).0 == sam3_found);
}
