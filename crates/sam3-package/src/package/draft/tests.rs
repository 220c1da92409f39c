//! Drafts whose source goes away, and whose metadata is written more than once.

use std::{fs, path::PathBuf, sync::atomic::AtomicU64, thread, time::Duration};

use super::*;
use crate::package::verify;

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

fn test_of(prompt: String) -> TestRun {
    TestRun {
        image: "scene.png".to_owned(),
        prompt,
        prompts: Vec::new(),
        device: "cpu, f32".to_owned(),
        source_instances: 0,
        package_instances: 0,
        matched: 0,
        worst_mask_iou: None,
        largest_score_difference: None,
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
        let verified = verify(&options.output, &()).unwrap();
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
