//! Running the binary, and small checkpoints to run it on.

#![allow(dead_code, reason = "each test uses a part of it")]

pub mod clicks;
pub mod elf;
#[cfg(all(unix, feature = "serve"))]
pub mod served;
pub mod tar;
pub mod videos;

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use sam3_package::{Dtype, StateDict};

/// A folder of a test's own, removed when it ends well.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("sam3-cli-{}-{count}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Self(path),
                // Left by a test that was killed, whose process had the same number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
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

/// Runs `sam3` with something to read on stdin.
pub fn sam3_reading(arguments: &[&str], stdin: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sam3"));
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that refuses its flags reads nothing and closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

/// As text, for arguments.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Name, shape and values of a tensor.
pub type Tensor = (String, Vec<usize>, Vec<f32>);

/// Where the model's goldens keep a whole miniature SAM 3 with odd sizes.
pub fn miniature(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../sam3-model/tests/goldens/odd")
        .join(file)
}

/// Every real tensor of the miniature, under official names; the rotary tables are left out, as they are complex.
pub fn tensors() -> Vec<Tensor> {
    let source = StateDict::open(&miniature("odd.pt")).unwrap();
    (0..source.len())
        .map(|index| source.view(index))
        .filter(|view| view.dtype == Dtype::F32)
        .map(|view| (view.name.to_owned(), view.shape.to_vec(), view.to_f32().unwrap()))
        .collect()
}

/// Writes tensors as a safetensors checkpoint, with the miniature's config beside it.
pub fn write_checkpoint(path: &Path, tensors: &[Tensor]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let begin = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::copy(miniature("config.json"), path.with_file_name("config.json")).unwrap();
    fs::write(
        path,
        [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat(),
    )
    .unwrap();
}

/// The miniature as a checkpoint in a folder of its own, `src`.
pub fn checkpoint(folder: &Folder) -> PathBuf {
    let path = folder.path("src/in.safetensors");
    write_checkpoint(&path, &tensors());
    path
}

/// The command that packages `source` as `output`, for a test to add its flags.
pub fn packaging<'a>(source: &'a Path, output: &'a Path) -> [&'a str; 5] {
    ["package", "--checkpoint-path", text(source), "--output", text(output)]
}

/// Packages the small checkpoint and returns the package's path.
pub fn package(folder: &Folder, name: &str, quantize: &str) -> PathBuf {
    package_with(folder, name, quantize, &[])
}

/// As [`package`], with more flags.
pub fn package_with(folder: &Folder, name: &str, quantize: &str, more: &[&str]) -> PathBuf {
    let (source, output) = (checkpoint(folder), folder.path(name));
    let fixed = packaging(&source, &output);
    check(&[&fixed, &["--quantize", quantize][..], more].concat(), 0, &[quantize]);
    output
}

/// Packages the trained miniature and returns what was said.
pub fn package_trained(folder: &Folder, name: &str, flags: &[&str]) -> String {
    let (checkpoint, output) = (&trained().checkpoint, folder.path(name));
    check(&[&packaging(checkpoint, &output)[..], flags].concat(), 0, &["tensors"])
}

/// The trained miniature and a picture it knows, as `sam3 demo` leaves them.
pub struct Trained {
    pub checkpoint: PathBuf,
    pub scene: PathBuf,
}

/// Made once for all tests of a binary.
pub fn trained() -> &'static Trained {
    static TRAINED: OnceLock<Trained> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("trained-{}", env!("CARGO_CRATE_NAME")));
        check(&["demo", "--output", text(&root)], 0, &[]);
        Trained {
            checkpoint: root.join("desktop/model.safetensors"),
            scene: root.join("scene.png"),
        }
    })
}
