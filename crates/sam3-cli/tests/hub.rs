//! `sam3 package` without a checkpoint: the cache, the flags and what is said without a network.

mod support;

use std::{fs, process::Command};

use support::{Folder, check, miniature, text};

const COMMIT: &str = "3c879f39826c281e95690f02c7821c4de09afae7";

/// Runs `sam3 package` with a cache of the test's own and no network to reach.
fn run(folder: &Folder, more: &[&str], offline: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sam3"))
        .args(["package", "--no-tarball", "--output", text(&folder.path("x.pth"))])
        .args(more)
        .env("HF_HOME", folder.path("home"))
        .env("HF_HUB_OFFLINE", offline)
        .env("HF_ENDPOINT", "http://127.0.0.1:1")
        .env_remove("HF_HUB_CACHE")
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
    )
}

#[test]
fn what_python_cached_is_packaged_offline() {
    let folder = Folder::new();
    let repository = folder.path("home/hub/models--facebook--sam3");
    let snapshot = repository.join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), COMMIT).unwrap();
    fs::copy(miniature("odd.pt"), snapshot.join("sam3.pt")).unwrap();
    fs::copy(miniature("config.json"), snapshot.join("config.json")).unwrap();
    for (flags, offline) in [
        (&["--offline"][..], ""),
        (&["--force"], "1"),
        (&["--force", "--revision", COMMIT], "true"),
    ] {
        let (code, said) = run(&folder, flags, offline);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("packaged sam3.pt"), "{said}");
    }
}

#[test]
fn without_a_checkpoint_the_next_step_is_said() {
    let folder = Folder::new();
    let (code, said) = run(&folder, &["--offline"], "");
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("no checkpoint of facebook/sam3") && said.contains("--checkpoint-path"),
        "{said}"
    );
    let (code, said) = run(&folder, &["--repo", "../../etc"], "");
    assert_eq!(code, Some(2), "{said}");
    check(
        &[
            "package",
            "--output",
            "x.pth",
            "--checkpoint-path",
            "y.pt",
            "--repo",
            "a/b",
        ],
        2,
        &["--repo"],
    );
    assert!(!folder.path("x.pth").exists());
}
