//! Drafts whose source goes away or holds what no .pth stores, and whose metadata is written more than once.

use std::{fs, path::PathBuf, sync::atomic::AtomicU64, thread, time::Duration};

use super::*;
use crate::package::Agreement;

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sam3-draft-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A checkpoint of `count` tensors of 1 MiB.
fn checkpoint(folder: &Path, count: usize) -> PathBuf {
    let (length, path) = (1 << 20, folder.join("in.safetensors"));
    let entry = |i: usize| {
        let (begin, end) = (i * length, (i + 1) * length);
        format!(r#""detector.t{i}.weight":{{"dtype":"F32","shape":[512,512],"data_offsets":[{begin},{end}]}}"#)
    };
    let header = format!("{{{}}}", (0..count).map(entry).collect::<Vec<_>>().join(","));
    let head = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    fs::write(&path, [head, vec![0; count * length]].concat()).unwrap();
    path
}

/// Counts what is done, and makes it slow.
#[derive(Default)]
struct Slow(AtomicU64);

impl Progress for Slow {
    fn advance(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn where_the_source_cannot_be_hashed_the_tensors_stop() {
    let folder = scratch("stop");
    let path = checkpoint(&folder, 64);
    let source = StateDict::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let progress = Slow::default();
    let options = Options::new(folder.join("x.pth"), Precision::None);
    let error = draft(&source, &options, &progress).unwrap_err();
    assert!(matches!(&error, Error::Io { path: at, .. } if *at == path), "{error}");
    let done = progress.0.load(Ordering::Relaxed);
    assert!(done < 32 << 20, "{done} bytes were written for nothing");
    fs::remove_dir_all(folder).unwrap();
}

/// A checkpoint of one number a tensor, of these names and element types.
fn mixed(folder: &Path, tensors: &[(&str, &str, usize)]) -> StateDict {
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for &(name, dtype, bytes) in tensors {
        let offsets = [end, end + bytes];
        let entry = serde_json::json!({"dtype": dtype, "shape": [1], "data_offsets": offsets});
        header.insert(name.to_owned(), entry);
        end += bytes;
    }
    let header = serde_json::Value::from(header).to_string();
    let head = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    let path = folder.join("mixed.safetensors");
    fs::write(&path, [head, vec![0; end]].concat()).unwrap();
    StateDict::open(&path).unwrap()
}

#[test]
fn what_a_pth_cannot_store_is_left_out_where_it_is_no_part_of_the_model() {
    const BIAS: &str = "detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.bias";
    const INSIDE: &str = "detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.amax";
    let folder = scratch("untyped");
    let others = [
        ("extra.scale", "F8_E4M3", 1),
        (INSIDE, "U16", 2),
        ("lookup", "F8_E5M2", 1),
    ];
    let source = mixed(&folder, &[&[(BIAS, "F32", 4)][..], &others].concat());
    let write = |source: &StateDict, name: &str| {
        draft(
            source,
            &Options::new(folder.join(name), Precision::None),
            &Slow::default(),
        )
    };
    let names = |draft: &Draft| {
        draft
            .metadata
            .tensors
            .iter()
            .map(|t| t.name.clone())
            .collect::<Vec<_>>()
    };

    let made = write(&source, "x.pth").unwrap();
    assert_eq!(names(&made), [BIAS]);
    let warning = made.warnings.join("\n");
    for words in [
        "extra.scale (F8_E4M3)",
        "(U16)",
        "lookup (F8_E5M2)",
        "no part of the model",
        "write .safetensors",
    ] {
        assert!(warning.contains(words), "{words} in: {warning}");
    }
    drop(made);
    let made = write(&source, "x.safetensors").unwrap();
    assert_eq!((names(&made).len(), &made.warnings[..]), (4, &[][..]));
    drop(made);

    for needed in [BIAS, "tracker.no_mem_embed", "tracker.model.of_another_version"] {
        let source = mixed(&folder, &[(needed, "F8_E4M3", 1)]);
        let error = write(&source, "x.pth").unwrap_err();
        assert!(
            matches!(&error, Error::NotInPth { tensor, dtype: "F8_E4M3", .. } if tensor == needed),
            "{error}"
        );
    }
    fs::remove_dir_all(folder).unwrap();
}

fn test_of(prompt: String) -> TestRun {
    TestRun {
        image: "scene.png".to_owned(),
        prompt,
        prompts: Vec::new(),
        device: "cpu, f32".to_owned(),
        source_instances: 0,
        agreement: Agreement::default(),
        sizes: Vec::new(),
    }
}

#[test]
fn metadata_may_become_longer_and_shorter() {
    let folder = scratch("metadata");
    let source = StateDict::open(&checkpoint(&folder, 2)).unwrap();
    let long = test_of("\"boat\" ".repeat(10_000));
    for name in ["x.pth", "x.safetensors"] {
        let mut options = Options::new(folder.join(name), Precision::Fp16);
        options.force = true;
        options.test = Some(long.clone());
        let mut draft = draft(&source, &options, &()).unwrap();
        for test in [long.clone(), test_of("boat".to_owned())] {
            draft.set_test(test).unwrap();
        }
        draft.finish(&()).unwrap();
        let verified = crate::verify(&options.output, &()).unwrap();
        assert_eq!(verified.metadata.test.unwrap().prompt, "boat");
        assert!(verified.beside.is_some());
        fs::remove_file(&options.output).unwrap();
    }
    let options = Options::new(folder.join("y.safetensors"), Precision::Fp16);
    let error = draft(&source, &options, &())
        .unwrap()
        .set_test(long)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("y.safetensors") && error.contains("were kept for it"),
        "{error}"
    );
    fs::remove_dir_all(folder).unwrap();
}
