//! Killed runs, full disks and read-only targets, at every phase: nothing is left half-written under a final name.

#![cfg(target_os = "linux")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use support::{Folder, check, checkpoint, package, package_with, sam3, text};

/// Every file under its final name must be whole: packages and archives verify, metadata is JSON.
fn assert_whole(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with('.') || path.is_dir() {
            continue;
        } else if name.ends_with(".json") {
            let _: serde_json::Value =
                serde_json::from_slice(&fs::read(&path).unwrap()).expect("half-written metadata");
        } else {
            check(&["verify", text(&path)], 0, &["verified"]);
        }
    }
}

/// Starts `sam3` and kills it after a while; false once it ends by itself first. No two runs make the same metadata.
fn kill_after(arguments: &[&str], wait: Duration) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sam3"))
        .args(arguments)
        .env("SOURCE_DATE_EPOCH", wait.as_micros().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    thread::sleep(wait);
    let ended = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    child.wait().unwrap();
    !ended
}

#[test]
fn a_killed_run_leaves_nothing_half_written() {
    let folder = Folder::new();
    let source = checkpoint(&folder);
    let archive = package_with(&folder, "a.pth", "none", &[]).with_file_name("a.tar.gz");
    let made = folder.path("made");
    fs::create_dir(&made).unwrap();
    let output = made.join("x.pth");
    let runs: [&[&str]; 3] = [
        &[
            "package",
            "--force",
            "--checkpoint-path",
            text(&source),
            "--output",
            text(&output),
        ],
        &["unpack", "--force", text(&archive), "-C", text(&made)],
        &["copy", "--force", text(&archive), text(&made)],
    ];
    for run in runs {
        let (mut kills, mut wait) = (0, Duration::from_micros(500));
        while kills < 60 && kill_after(run, wait) {
            assert_whole(&made);
            wait += Duration::from_micros(700);
            kills += 1;
        }
        assert!(kills > 0, "{run:?} always ended first");
        check(run, 0, &[]);
        assert_whole(&made);
        let hidden: Vec<_> = fs::read_dir(&made)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect();
        assert!(hidden.is_empty(), "{run:?} left {hidden:?}");
    }
}

const EXTRA: &str = "detector.extra.weight";

/// 200 MB.
fn extra_tensor() -> support::Tensor {
    let columns = 1 << 20;
    (EXTRA.to_owned(), vec![48, columns], vec![0.5; 48 * columns])
}

/// A checkpoint that takes a while to package: the miniature with a large tensor that no SAM 3 has.
fn large_checkpoint(folder: &Folder) -> PathBuf {
    let mut tensors = support::tensors();
    tensors.push(extra_tensor());
    let path = folder.path("src/large.safetensors");
    support::write_checkpoint(&path, &tensors);
    path
}

/// Starts `sam3 package` and hands it over once its temporary file has grown. `env` becomes it, after it set `signals`
/// as it is told: the shell that runs the tests may have some ignored.
fn package_under_way(folder: &Folder, source: &Path, signals: &str) -> Child {
    let output = folder.path("x.pth");
    let mut child = Command::new("env")
        .args([signals, env!("CARGO_BIN_EXE_sam3")])
        .args(["package", "--checkpoint-path", text(source), "--output", text(&output)])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = format!(".x.pth.sam3-tmp-{}-", child.id());
    let has_grown = |name: &String| {
        name.starts_with(&start) && fs::metadata(folder.path(name)).is_ok_and(|metadata| metadata.len() >= 1 << 20)
    };
    while !folder.names().iter().any(has_grown) {
        assert!(child.try_wait().unwrap().is_none(), "ended before it was seen");
        thread::yield_now();
    }
    child
}

#[test]
fn an_interrupted_run_removes_what_it_was_writing() {
    let folder = Folder::new();
    let source = large_checkpoint(&folder);
    for signal in ["INT", "TERM", "HUP"] {
        let mut child = package_under_way(&folder, &source, &format!("--default-signal={signal}"));
        send(signal, &child);
        assert_eq!(
            child.wait().unwrap().code(),
            None,
            "ended by SIG{signal} as the shell expects"
        );
        assert_eq!(folder.names(), ["src"], "after SIG{signal}");
    }
}

/// `nohup sam3 …` outlives its terminal, and what a script starts in the background its Ctrl-C.
#[test]
fn a_signal_that_was_to_be_ignored_is() {
    let folder = Folder::new();
    let source = large_checkpoint(&folder);
    for signal in ["INT", "HUP"] {
        let mut child = package_under_way(&folder, &source, &format!("--ignore-signal={signal}"));
        send(signal, &child);
        assert_eq!(child.wait().unwrap().code(), Some(0), "after SIG{signal}");
        assert_whole(&folder.path(""));
        for name in ["x.pth", "x_metadata.json", "x.tar.gz"] {
            fs::remove_file(folder.path(name)).unwrap();
        }
    }
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill")
        .args(["-s", signal, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// A map whose file shrinks faults as one does whose drive is gone: of several maps, the one at fault is named.
#[test]
fn a_source_that_goes_away_is_named_and_ends_with_3() {
    let folder = Folder::new();
    let large = large_checkpoint(&folder);
    let index = folder.path("src/all.safetensors.index.json");
    let small = folder.path("src/small.safetensors");
    support::write_checkpoint(&small, &support::tensors());
    let shard = |(name, _, _): &support::Tensor| (name.clone(), "small.safetensors".into());
    let mut shards: serde_json::Map<_, _> = support::tensors().iter().map(shard).collect();
    shards.insert(EXTRA.to_owned(), "extra.safetensors".into());
    fs::write(&index, serde_json::json!({"weight_map": shards}).to_string()).unwrap();
    let extra = folder.path("src/extra.safetensors");
    support::write_checkpoint(&extra, &[extra_tensor()]);
    for (source, cut) in [(&large, &large), (&index, &extra)] {
        let child = package_under_way(&folder, source, "--default-signal=BUS");
        fs::OpenOptions::new()
            .write(true)
            .open(cut)
            .unwrap()
            .set_len(4096)
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        for word in [text(cut), "its drive is gone", "hint:"] {
            assert!(said.contains(word), "expected {word:?} in {said}");
        }
        assert_eq!(
            said.matches("error: ").count(),
            1,
            "several threads fault at once: {said}"
        );
    }
    let named: Vec<_> = folder
        .names()
        .into_iter()
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert_eq!(named, ["src"]);
    check(
        &[
            "package",
            "--checkpoint-path",
            text(&checkpoint(&folder)),
            "--output",
            text(&folder.path("y.pth")),
        ],
        0,
        &[],
    );
    assert!(
        folder.names().iter().all(|name| !name.starts_with('.')),
        "the next run cleans up"
    );
}

/// The shell's limit on a file's size, in blocks of 512 bytes, acts as a full disk does.
#[test]
fn a_file_beyond_the_limit_of_the_shell_is_told_and_leaves_nothing() {
    let folder = Folder::new();
    let source = checkpoint(&folder);
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 10; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_sam3")])
        .args(["package", "--checkpoint-path", text(&source)])
        .args(["--output", text(&folder.path("x.pth"))])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for word in ["cannot write", "x.pth", "ulimit -f"] {
        assert!(said.contains(word), "expected {word:?} in {said}");
    }
    assert_eq!(folder.names(), ["src"]);
}

/// A place to write that is removed with its mount.
struct Mount(Folder);

impl Mount {
    fn tmpfs(options: &str) -> Self {
        let folder = Folder::new();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs", text(&folder.path(""))])
            .status()
            .unwrap();
        assert!(mounted.success(), "mounting needs root");
        Self(folder)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path("")).status();
    }
}

/// From no room at all to almost enough: whichever phase runs out, it ends with 3 and leaves nothing.
#[test]
#[ignore = "mounts small file systems, which needs root: cargo test -p sam3-cli --test crash -- --ignored"]
fn a_full_disk_leaves_nothing() {
    let folder = Folder::new();
    let source = checkpoint(&folder);
    let x = package(&folder, "x.pth", "none");
    let archive = folder.path("x.tar.gz");
    let (bytes, packed) = (fs::metadata(&x).unwrap().len(), fs::metadata(&archive).unwrap().len());
    let mut seen = [0; 3];
    for kilobytes in (8..(bytes + packed) / 1024 + 200).step_by(60) {
        let mount = Mount::tmpfs(&format!("size={kilobytes}k"));
        let place = mount.0.path("");
        let output = place.join("x.pth");
        let runs: [&[&str]; 3] = [
            &[
                "package",
                "--quantize",
                "none",
                "--checkpoint-path",
                text(&source),
                "--output",
                text(&output),
            ],
            &["unpack", text(&archive), "-C", text(&place)],
            &["copy", text(&archive), text(&place)],
        ];
        for (run, seen) in runs.iter().zip(&mut seen) {
            let result = sam3(run);
            if result.status.success() {
                assert_whole(&place);
                fs::read_dir(&place)
                    .unwrap()
                    .for_each(|entry| fs::remove_file(entry.unwrap().path()).unwrap());
                continue;
            }
            let said = String::from_utf8_lossy(&result.stderr);
            assert_eq!(result.status.code(), Some(3), "{run:?} with {kilobytes} kB: {said}");
            assert!(said.contains("space") || said.contains("are free"), "{said}");
            assert!(said.contains("free some space"), "{said}");
            assert_eq!(mount.0.names(), [""; 0], "{run:?} with {kilobytes} kB");
            *seen += 1;
        }
    }
    assert!(seen.iter().all(|failures| *failures > 2), "{seen:?}");
}

#[test]
#[ignore = "mounts a read-only file system, which needs root: cargo test -p sam3-cli --test crash -- --ignored"]
fn a_read_only_target_is_told_before_the_work() {
    let folder = Folder::new();
    let source = checkpoint(&folder);
    package(&folder, "x.pth", "fp16");
    let archive = folder.path("x.tar.gz");
    let mount = Mount::tmpfs("ro");
    let place = mount.0.path("");
    let output = place.join("x.pth");
    let run = ["package", "--checkpoint-path", text(&source), "--output", text(&output)];
    check(&run, 3, &["cannot write", "x.pth", "Read-only", "hint:"]);
    check(
        &["unpack", text(&archive), "-C", text(&place)],
        3,
        &["Read-only", "hint:"],
    );
    check(&["copy", text(&archive), text(&place)], 3, &["hint:"]);
}
