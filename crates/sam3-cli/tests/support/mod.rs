//! Running the binary, and small checkpoints to run it on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
};

/// A folder of a test's own, removed when it ends well.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "sam3-cli-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Names in the folder, sorted, hidden ones too.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Runs `sam3` at a fixed time.
pub fn sam3(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sam3"));
    command
        .args(arguments)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .unwrap()
}

/// Runs `sam3`, asserts the exit code and that each of `words` is on stdout or stderr, and returns both.
pub fn check(arguments: &[&str], code: i32, words: &[&str]) -> String {
    let output = sam3(arguments);
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(code), "sam3 {arguments:?}\n{text}");
    for word in words {
        assert!(text.contains(word), "sam3 {arguments:?}: expected {word:?} in\n{text}");
    }
    text
}

/// As text, for arguments.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Name, shape and values of every tensor of [`checkpoint`].
pub fn tensors() -> Vec<(&'static str, Vec<usize>, Vec<f32>)> {
    let trunk: [(&str, &[usize]); 8] = [
        ("detector.backbone.vision_backbone.trunk.pos_embed", &[1, 5, 32]),
        (
            "detector.backbone.vision_backbone.trunk.patch_embed.proj.weight",
            &[32, 3, 2, 2],
        ),
        (
            "detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.weight",
            &[384, 129],
        ),
        ("detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.bias", &[384]),
        (
            "detector.backbone.language_backbone.encoder.token_embedding.weight",
            &[51, 33],
        ),
        ("detector.transformer.decoder.query_embed.weight", &[7, 32]),
        ("detector.transformer.decoder.presence_token.weight", &[1, 31]),
        ("tracker.no_mem_embed", &[1, 1, 32]),
    ];
    let mut seed = 7u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    let mut tensor = |(name, shape): (&'static str, &[usize])| {
        (
            name,
            shape.to_vec(),
            (0..shape.iter().product()).map(|_| next()).collect(),
        )
    };
    trunk.into_iter().map(&mut tensor).collect()
}

/// Writes tensors as a safetensors checkpoint.
pub fn write_checkpoint(path: &Path, tensors: &[(&str, Vec<usize>, Vec<f32>)]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let begin = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    fs::write(
        path,
        [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat(),
    )
    .unwrap();
}

/// A small checkpoint with official names.
pub fn checkpoint(folder: &Folder) -> PathBuf {
    let path = folder.path("in.safetensors");
    write_checkpoint(&path, &tensors());
    path
}

/// Packages the small checkpoint and returns the package's path.
pub fn package(folder: &Folder, name: &str, quantize: &str) -> PathBuf {
    let (source, output) = (checkpoint(folder), folder.path(name));
    let flags = [
        "--checkpoint-path",
        text(&source),
        "--output",
        text(&output),
        "--quantize",
        quantize,
    ];
    check(&[&["package"], &flags[..]].concat(), 0, &[quantize]);
    output
}
