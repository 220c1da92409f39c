//! `sam3 package` without a checkpoint: the cache, the flags and what is said without a network.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::PathBuf,
    process::Command,
    thread,
};

use support::{Folder, check, miniature, text};

const COMMIT: &str = "3c879f39826c281e95690f02c7821c4de09afae7";

/// Runs `sam3 package` with a cache of the test's own and no network to reach.
fn run(folder: &Folder, more: &[&str], offline: &str) -> (Option<i32>, String) {
    let home = folder.path("home");
    run_with(folder, more, &[("HF_HOME", text(&home)), ("HF_HUB_OFFLINE", offline)])
}

/// The same with these variables, and none else that tells where to look.
fn run_with(folder: &Folder, more: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sam3"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["HF_", "HUGGING", "XDG_", "SSL_"]
            .iter()
            .any(|start| name.starts_with(start))
        {
            command.env_remove(&*name);
        }
    }
    let output = command
        .args(["package", "--no-tarball", "--output", text(&folder.path("x.pth"))])
        .args(more)
        .env("HF_ENDPOINT", "http://127.0.0.1:1")
        .env("NO_PROXY", "127.0.0.1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
    )
}

/// A checkpoint in a cache, as Python lays it out; returns its snapshot.
fn cache(folder: &Folder, hub: &str) -> PathBuf {
    let repository = folder.path(hub).join("models--facebook--sam3");
    let snapshot = repository.join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), COMMIT).unwrap();
    fs::copy(miniature("odd.pt"), snapshot.join("sam3.pt")).unwrap();
    fs::copy(miniature("config.json"), snapshot.join("config.json")).unwrap();
    snapshot
}

#[test]
fn what_python_cached_is_packaged_offline() {
    let folder = Folder::new();
    cache(&folder, "home/hub");
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

/// Each variable by which `huggingface_hub` finds its cache, with `~` and other variables in it.
#[test]
fn the_cache_is_where_the_variables_say() {
    let folder = Folder::new();
    let root = folder.path("");
    let root = text(&root).trim_end_matches('/');
    for hub in ["own/hub", "home/.cache/huggingface/hub", "xdg/huggingface/hub", "cache"] {
        cache(&folder, hub);
    }
    let home = format!("{root}/home");
    let cases: [&[(&str, &str)]; 9] = [
        &[],
        &[("XDG_CACHE_HOME", "~/../xdg")],
        &[("HF_HOME", "~/../own")],
        &[("HF_HOME", "$ROOT/own")],
        &[("HF_HOME", "${ROOT}/own/")],
        &[("HF_HUB_CACHE", "${ROOT}/cache"), ("HF_HOME", "/nowhere")],
        &[("HF_HUB_CACHE", "~/../cache")],
        &[("HUGGINGFACE_HUB_CACHE", "$ROOT/cache"), ("HF_HOME", "/nowhere")],
        &[("HF_HUB_CACHE", "$ROOT/cache"), ("HUGGINGFACE_HUB_CACHE", "/nowhere")],
    ];
    for case in cases {
        let variables = [&[("HOME", home.as_str()), ("ROOT", root)], case].concat();
        let (code, said) = run_with(&folder, &["--force", "--offline"], &variables);
        assert_eq!(code, Some(0), "{case:?}: {said}");
    }
    let (code, said) = run_with(
        &folder,
        &["--offline", "--force"],
        &[("HOME", home.as_str()), ("HF_HOME", "~nobody-of-this-name/$NOT_SET")],
    );
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("~nobody-of-this-name/$NOT_SET/hub"), "{said}");
}

/// A link of the cache whose bytes are gone is no misspelt name.
#[test]
fn a_link_whose_blob_was_pruned_is_told() {
    let folder = Folder::new();
    let snapshot = cache(&folder, "home/hub");
    let checkpoint = snapshot.join("sam3.pt");
    fs::remove_file(&checkpoint).unwrap();
    std::os::unix::fs::symlink("../../blobs/ab12", &checkpoint).unwrap();
    let (code, said) = run(&folder, &["--offline"], "");
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("blobs/ab12, which is gone") && said.contains("without --offline"),
        "{said}"
    );
    let said = check(
        &["inspect", text(&checkpoint)],
        1,
        &["sam3.pt", "hint: it is a link to ../../blobs/ab12, which is gone"],
    );
    assert!(!said.contains("spelling"), "{said}");
}

/// Answers every request as a gated repository does, and tells each token that came.
fn gated() -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request) = (stream.unwrap(), Vec::new());
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
                request.push(byte[0]);
            }
            let head = "HTTP/1.1 401 Unauthorized\r\nX-Error-Code: GatedRepo\r\n\
                        Content-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            let request = String::from_utf8(request).unwrap();
            let token = request
                .lines()
                .find(|line| line.to_lowercase().starts_with("authorization:"));
            tell.send(token.unwrap_or("none").to_owned()).unwrap();
        }
    });
    (endpoint, told)
}

#[test]
fn the_token_is_found_where_python_finds_it() {
    let folder = Folder::new();
    let root = folder.path("");
    fs::create_dir(folder.path("home")).unwrap();
    fs::write(folder.path("home/token"), "hf_home\n").unwrap();
    fs::write(folder.path("token"), "hf_path\r\n").unwrap();
    let (endpoint, told) = gated();
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[], "Bearer hf_home"),
        (&[("HF_TOKEN_PATH", "~/token")], "Bearer hf_path"),
        (
            &[
                ("HF_TOKEN_PATH", "${HOME}/token"),
                ("HUGGING_FACE_HUB_TOKEN", " hf_old "),
            ],
            "Bearer hf_old",
        ),
        (
            &[("HF_TOKEN", "hf_new"), ("HUGGING_FACE_HUB_TOKEN", "hf_old")],
            "Bearer hf_new",
        ),
        (
            &[("HF_TOKEN", "hf_new"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")],
            "none",
        ),
        (&[("HF_TOKEN_PATH", "/nowhere/token")], "none"),
    ];
    for (case, expected) in cases {
        let fixed = [
            ("HOME", text(&root)),
            ("HF_HOME", "~/home"),
            ("HF_ENDPOINT", endpoint.as_str()),
        ];
        let (code, said) = run_with(&folder, &[], &[&fixed, case].concat());
        assert_eq!(code, Some(3), "{case:?}: {said}");
        assert!(said.contains("it is gated"), "{case:?}: {said}");
        let told = told.recv().unwrap();
        assert!(told.ends_with(expected), "{case:?}: {told}");
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
