//! `sam3 unpack` and `verify` on archives that are damaged or mean harm.

mod support;

use std::{fs, path::PathBuf};

use support::{
    Folder, check, package,
    tar::{Entry, gzip, tar},
    text,
};

fn archive(folder: &Folder, entries: &[Entry<'_>]) -> PathBuf {
    let path = folder.path("evil.tar.gz");
    fs::write(&path, gzip(&tar(entries))).unwrap();
    path
}

/// Everything in the folder but what the test put there.
fn nothing_was_written(folder: &Folder) {
    let names: Vec<_> = folder
        .names()
        .into_iter()
        .filter(|name| name != "evil.tar.gz" && name != "out")
        .collect();
    assert!(names.is_empty(), "{names:?}");
    let out = folder.path("out");
    let left = fs::read_dir(out).map_or(0, |entries| {
        entries.filter(|e| e.as_ref().unwrap().path().is_file()).count()
    });
    assert_eq!(left, 0);
}

#[test]
fn entries_that_would_leave_the_folder_are_refused_by_name() {
    let file = |name| Entry(name, b'0', "", 1, b"x");
    let absolute = std::env::temp_dir().join("sam3-evil.pth");
    let cases = [
        (vec![file("../evil.pth")], vec!["../evil.pth", "leave"]),
        (vec![file("a/../../evil.pth")], vec!["a/../../evil.pth", "leave"]),
        (vec![file(text(&absolute))], vec!["sam3-evil.pth", "leave"]),
        (
            vec![Entry("x.pth", b'2', "/etc/passwd", 0, b"")],
            vec!["x.pth", "symbolic link"],
        ),
        (
            vec![Entry("x.pth", b'1', "/etc/passwd", 0, b"")],
            vec!["x.pth", "hard link"],
        ),
        (vec![Entry("x.pth", b'3', "", 0, b"")], vec!["x.pth", "device"]),
        (vec![Entry("x.pth", b'6', "", 0, b"")], vec!["x.pth", "pipe"]),
        (
            vec![file("x_metadata.json"), file("./X_metadata.json")],
            vec!["./X_metadata.json", "twice"],
        ),
        (
            vec![Entry("x.pth", b'0', "", 1 << 32, b"x")],
            vec!["x.pth", "claims 4294967296 bytes"],
        ),
        (
            vec![Entry("x_metadata.json", b'0', "", 1 << 30, b"{}")],
            vec!["x_metadata.json", "claims"],
        ),
        (vec![file("x_metadata.json")], vec!["no .pth"]),
        (vec![file("x.pth")], vec!["x.pth"]),
        (
            vec![Entry("x.safetensors", b'0', "", 16, &[0; 16])],
            vec!["x.safetensors", "header is malformed"],
        ),
    ];
    for (entries, words) in cases {
        let folder = Folder::new();
        let archive = archive(&folder, &entries);
        check(&["unpack", text(&archive), "-C", text(&folder.path("out"))], 1, &words);
        nothing_was_written(&folder);
        check(&["verify", text(&archive)], 1, &words);
    }
    assert!(!absolute.exists());
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_a_link_in_the_folder() {
    let folder = Folder::new();
    let archive = archive(&folder, &[Entry("d/x_metadata.json", b'0', "", 1, b"x")]);
    fs::create_dir_all(folder.path("out")).unwrap();
    let elsewhere = Folder::new();
    std::os::unix::fs::symlink(elsewhere.path(""), folder.path("out/d")).unwrap();
    check(
        &["unpack", text(&archive), "-C", text(&folder.path("out"))],
        1,
        &[
            "d/x_metadata.json",
            "link",
            "hint: remove the link, or choose another folder",
        ],
    );
    assert!(elsewhere.names().is_empty());
}

/// Folders that were made for an archive go with it, others stay.
#[test]
fn an_archive_that_is_refused_leaves_no_folder() {
    let folder = Folder::new();
    let archive = archive(
        &folder,
        &[
            Entry("d/x_metadata.json", b'0', "", 1, b"x"),
            Entry("y", b'0', "", 1, b"x"),
        ],
    );
    let out = folder.path("a/b");
    check(&["unpack", text(&archive), "-C", text(&out)], 1, &["entry \"y\""]);
    assert_eq!(folder.names(), ["evil.tar.gz"]);
    fs::create_dir(folder.path("a")).unwrap();
    check(&["unpack", text(&archive), "-C", text(&out)], 1, &["entry \"y\""]);
    assert!(folder.path("a").exists() && !out.exists());
}

#[test]
fn damaged_archives_are_refused_and_leave_nothing() {
    let folder = Folder::new();
    package(&folder, "x.pth", "none");
    let path = folder.path("x.tar.gz");
    let sound = fs::read(&path).unwrap();
    let out = folder.path("out");
    let refused = |bytes: &[u8], words: &[&str]| {
        fs::write(&path, bytes).unwrap();
        check(&["verify", text(&path)], 1, words);
        check(&["unpack", text(&path), "-C", text(&out)], 1, words);
        assert!(!out.exists());
    };
    for length in [2, 11, 600, sound.len() / 2, sound.len() - 9, sound.len() - 1] {
        refused(&sound[..length], &["x.tar.gz", "cut off"]);
    }
    for at in (20..sound.len()).step_by(sound.len() / 23) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x04;
        refused(&damaged, &["x.tar.gz"]);
    }
    fs::write(&path, &sound).unwrap();
    check(&["unpack", text(&path), "-C", text(&out)], 0, &["verified"]);
    check(
        &["unpack", text(&path), "-C", text(&out)],
        2,
        &["exists already", "--force"],
    );
    check(&["unpack", text(&path), "-C", text(&out), "--force"], 0, &["verified"]);
}

/// Opening a pipe waits for someone to write to it.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_at_once() {
    let folder = Folder::new();
    let pipe = folder.path("x.tar.gz");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success(), "mkfifo is of POSIX and has to be there");
    check(&["verify", text(&pipe)], 1, &["expected a regular file, found a pipe"]);
    check(&["unpack", text(&pipe)], 1, &["expected a regular file"]);
    check(&["inspect", text(&pipe)], 1, &["expected a regular file, found a pipe"]);
    package(&folder, "y.pth", "none");
    let occupied = folder.path("y.pth");
    check(
        &["unpack", text(&folder.path("y.tar.gz")), "-C", text(&occupied)],
        3,
        &["cannot write", "y.pth", "in the way"],
    );
    check(
        &["verify", text(&folder.path("y_metadata.json"))],
        1,
        &["metadata of a package", ".pth"],
    );
}

#[cfg(unix)]
#[test]
fn what_lies_beside_a_package_may_be_anything() {
    let folder = Folder::new();
    let x = package(&folder, "x.pth", "none");
    let (beside, endless) = (folder.path("x_metadata.json"), "expected a regular file");
    fs::remove_file(&beside).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &beside).unwrap();
    check(&["verify", text(&x)], 1, &["x_metadata.json", endless]);
    fs::remove_file(&beside).unwrap();
    fs::File::create(&beside).unwrap().set_len(1 << 30).unwrap();
    check(
        &["verify", text(&x)],
        1,
        &["x_metadata.json", "more than 4194304 bytes"],
    );
    fs::remove_file(&beside).unwrap();
    let picture = [
        "segment",
        "-p",
        "boat",
        "--checkpoint-path",
        text(&x),
        "--image",
        "/dev/zero",
    ];
    check(&picture, 1, &["/dev/zero", "pipe or a device"]);
}

#[test]
fn a_file_without_a_digest_is_refused_by_name() {
    let folder = Folder::new();
    let x = package(&folder, "x.safetensors", "fp16");
    let package = fs::read(&x).unwrap();
    let sound = || Entry("x.safetensors", b'0', "", package.len() as u64, &package);
    for (name, words) in [
        (".ssh/authorized_keys", [".ssh/authorized_keys", "neither a package"]),
        (
            "\x1b[2Jx_metadata.json",
            ["\\u{1b}[2Jx_metadata.json", "control characters"],
        ),
    ] {
        let path = archive(&folder, &[sound(), Entry(name, b'0', "", 1, b"x")]);
        check(&["verify", text(&path)], 1, &words);
        let out = folder.path("out");
        check(&["unpack", text(&path), "-C", text(&out)], 1, &words);
        assert!(!out.exists());
    }
}

/// Metadata has no digest of its own: what it says of the whole must be what it says of the parts.
#[test]
fn metadata_that_contradicts_itself_is_refused() {
    let folder = Folder::new();
    let x = package(&folder, "x.safetensors", "none");
    fs::remove_file(folder.path("x_metadata.json")).unwrap();
    let sound = fs::read(&x).unwrap();
    let length = u64::from_le_bytes(sound[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&sound[8..8 + length]).unwrap();
    let metadata: serde_json::Value =
        serde_json::from_str(header["__metadata__"]["sam3_metadata"].as_str().unwrap()).unwrap();
    let mut cases = [metadata.clone(), metadata];
    let again = cases[0]["tensors"][0].clone();
    cases[0]["tensors"].as_array_mut().unwrap().push(again);
    cases[1]["total"]["bytes"] = 9.into();
    for (metadata, words) in cases.iter().zip([
        ["twice in the metadata", "detector."],
        ["in all: expected", "and 9 bytes"],
    ]) {
        let mut header = header.clone();
        header["__metadata__"]["sam3_metadata"] = metadata.to_string().into();
        let header = header.to_string().into_bytes();
        let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, &sound[8 + length..]].concat();
        fs::write(&x, bytes).unwrap();
        check(&["verify", text(&x)], 1, &words);
    }
}

/// The package first and its metadata after it, as someone else's `tar -czf` may have it.
#[test]
fn other_orders_and_folders_verify_too() {
    let folder = Folder::new();
    let x = package(&folder, "x.safetensors", "fp16");
    let (package, metadata) = (fs::read(&x).unwrap(), fs::read(folder.path("x_metadata.json")).unwrap());
    let path = archive(
        &folder,
        &[
            Entry("./", b'5', "", 0, b""),
            Entry("./models/x.safetensors", b'0', "", package.len() as u64, &package),
            Entry("./models/x_metadata.json", b'0', "", metadata.len() as u64, &metadata),
        ],
    );
    let out = folder.path("out");
    check(&["unpack", text(&path), "-C", text(&out)], 0, &["verified"]);
    assert_eq!(fs::read(out.join("models/x.safetensors")).unwrap(), package);
}

/// Digests are of the tensors' bytes alone: a shape or a name that is not the metadata's is found all the same, without
/// unpacking.
#[test]
fn names_and_shapes_in_an_archive_are_checked() {
    let folder = Folder::new();
    let x = package(&folder, "x.safetensors", "none");
    let sound = fs::read(&x).unwrap();
    let header =
        String::from_utf8_lossy(&sound[8..sound.windows(2).position(|two| two == b"}}").unwrap()]).into_owned();
    let shape = header
        .match_indices(r#""shape":["#)
        .map(|(at, key)| &header[at..at + key.len() + header[at + key.len()..].find(']').unwrap()])
        .find(|shape| shape.matches(',').count() == 1)
        .unwrap();
    let (rows, columns) = shape[r#""shape":["#.len()..].split_once(',').unwrap();
    let name = "detector.backbone";
    for (old, new) in [
        (shape.to_owned(), format!(r#""shape":[{columns},{rows}"#)),
        (name.to_owned(), name.replace('b', "p")),
    ] {
        let at = sound
            .windows(old.len())
            .position(|piece| piece == old.as_bytes())
            .unwrap();
        let mut changed = sound.clone();
        changed[at..at + old.len()].copy_from_slice(new.as_bytes());
        let path = archive(
            &folder,
            &[Entry("x.safetensors", b'0', "", changed.len() as u64, &changed)],
        );
        check(&["verify", text(&path)], 1, &["evil.tar.gz", "detector."]);
        let out = folder.path("out");
        check(
            &["unpack", text(&path), "-C", text(&out)],
            1,
            &["evil.tar.gz", "detector."],
        );
        assert!(!out.exists());
    }
}
