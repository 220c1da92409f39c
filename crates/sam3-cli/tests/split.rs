//! Archives in parts: what `cat` and `tar` make of them, and which part is named when one is wrong.

mod support;

use std::{fs, path::PathBuf, process::Command};

use support::{Folder, check, package, package_with, packaging, text};

/// A package whose archive is in several parts.
fn split(folder: &Folder) -> Vec<PathBuf> {
    package_with(folder, "x.pth", "none", &["--split", "200K"]);
    let parts: Vec<_> = (0..)
        .map(|number| folder.path(&format!("x.tar.gz.{number:03}")))
        .take_while(|part| part.exists())
        .collect();
    assert!(parts.len() >= 4, "{parts:?}");
    assert!(parts.iter().all(|part| fs::metadata(part).unwrap().len() <= 200 << 10));
    assert!(folder.path("x.tar.gz.sha256").exists() && !folder.path("x.tar.gz").exists());
    parts
}

#[test]
fn the_parts_are_the_archive() {
    let folder = Folder::new();
    let parts = split(&folder);
    let whole = Folder::new();
    package(&whole, "x.pth", "none");
    let joined: Vec<u8> = parts.iter().flat_map(|part| fs::read(part).unwrap()).collect();
    assert!(joined == fs::read(whole.path("x.tar.gz")).unwrap());
    for name in ["x.tar.gz.000", "x.tar.gz.002", "x.tar.gz.sha256", "x.tar.gz"] {
        let path = folder.path(name);
        check(&["verify", text(&path)], 0, &["verified"]);
        let kind = format!("tar.gz in {} parts of a package", parts.len());
        check(&["inspect", text(&path)], 0, &["none", &kind]);
    }
    let out = folder.path("out");
    check(&["unpack", text(&parts[0]), "-C", text(&out)], 0, &["verified"]);
    assert!(fs::read(out.join("x.pth")).unwrap() == fs::read(folder.path("x.pth")).unwrap());
}

/// The list matches the glob: it must be something that gzip passes over.
#[cfg(unix)]
#[test]
fn plain_tools_read_them() {
    let folder = Folder::new();
    split(&folder);
    let run = |script: &str| {
        let output = Command::new("sh")
            .arg("-ec")
            .arg(script)
            .current_dir(folder.path(""))
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        output
    };
    let output = run("mkdir out && cat x.tar.gz.* | tar -xz -C out && cmp out/x.pth x.pth");
    assert!(output.stderr.is_empty(), "{output:?}");
    run("cat x.tar.gz.* | gzip -t");
    let checked = run("LC_ALL=C sha256sum -c x.tar.gz.sha256");
    assert!(String::from_utf8_lossy(&checked.stdout).contains("x.tar.gz.003: OK"));
    // Of the line that gzip needs, and of no other.
    assert!(
        !String::from_utf8_lossy(&checked.stderr).contains("lines"),
        "{checked:?}"
    );
}

#[test]
fn zstandard_parts_are_read_and_the_list_passed_over() {
    let folder = Folder::new();
    package_with(&folder, "x.pth", "none", &["--split", "200K", "--archive", "zst"]);
    let parts: Vec<_> = folder
        .names()
        .into_iter()
        .filter(|name| name.starts_with("x.tar.zst."))
        .collect();
    assert!(
        parts.len() >= 5 && parts.last().unwrap() == "x.tar.zst.sha256",
        "{parts:?}"
    );
    let first = folder.path("x.tar.zst.000");
    check(&["verify", text(&first)], 0, &["verified"]);
    check(&["inspect", text(&first)], 0, &["none", "tar.zst in"]);
    let joined: Vec<u8> = parts
        .iter()
        .flat_map(|part| fs::read(folder.path(part)).unwrap())
        .collect();
    let whole = folder.path("joined.tar.zst");
    fs::write(&whole, joined).unwrap();
    let out = folder.path("out");
    check(&["unpack", text(&whole), "-C", text(&out)], 0, &["verified"]);
    assert!(fs::read(out.join("x.pth")).unwrap() == fs::read(folder.path("x.pth")).unwrap());

    let second = folder.path("x.tar.zst.001");
    let mut damaged = fs::read(&second).unwrap();
    damaged[4321] ^= 8;
    fs::write(&second, damaged).unwrap();
    check(&["verify", text(&first)], 1, &["x.tar.zst.001: expected sha256"]);
    fs::remove_file(&second).unwrap();
    check(
        &["verify", text(&first)],
        1,
        &["x.tar.zst.001: part 2 of", "is missing"],
    );
}

#[test]
fn the_part_at_fault_is_named() {
    let folder = Folder::new();
    let parts = split(&folder);
    let out = folder.path("out");
    let refused = |words: &[&str]| {
        check(&["verify", text(&parts[0])], 1, words);
        check(&["unpack", text(&parts[0]), "-C", text(&out)], 1, words);
        assert_eq!(fs::read_dir(&out).map_or(0, Iterator::count), 0);
    };
    let (one, two) = (fs::read(&parts[1]).unwrap(), fs::read(&parts[2]).unwrap());

    let mut damaged = two.clone();
    damaged[777] ^= 1;
    fs::write(&parts[2], &damaged).unwrap();
    refused(&["x.tar.gz.002: expected sha256", "1 mismatch"]);

    fs::write(&parts[1], &two).unwrap();
    fs::write(&parts[2], &one).unwrap();
    refused(&["x.tar.gz.001: holds part .002", "x.tar.gz.002: holds part .001"]);

    fs::write(&parts[1], &one).unwrap();
    fs::remove_file(&parts[2]).unwrap();
    refused(&["x.tar.gz.002: part 3 of", "is missing"]);

    // Without the list the last part that is there tells that others came before it.
    fs::remove_file(folder.path("x.tar.gz.sha256")).unwrap();
    refused(&["x.tar.gz.002: part 3 of", "is missing"]);
    fs::write(&parts[2], &two).unwrap();
    check(&["verify", text(&parts[0])], 0, &["verified"]);
    fs::remove_file(parts.last().unwrap()).unwrap();
    refused(&["cut off"]);
}

#[test]
fn older_parts_neither_stay_nor_vanish_unasked() {
    let folder = Folder::new();
    let source = support::checkpoint(&folder);
    let parts = split(&folder);
    let output = folder.path("x.pth");
    fs::remove_file(&output).unwrap();
    fs::remove_file(folder.path("x_metadata.json")).unwrap();
    fs::remove_file(&parts[0]).unwrap();
    let run = [&packaging(&source, &output)[..], &["--split", "600K"]].concat();
    check(&run, 2, &["x.tar.gz.001 exists already", "--force"]);
    check(&[&run[..], &["--force"]].concat(), 0, &["x.tar.gz.sha256"]);
    assert!(!parts.last().unwrap().exists());
    check(&["verify", text(&parts[0])], 0, &["verified"]);
    check(
        &[&run[..5], &["--force"]].concat(),
        0,
        &[
            "warning: ",
            "x.tar.gz.000 is there still, with an earlier package in it",
        ],
    );
    check(
        &[&run[..], &["--force"]].concat(),
        0,
        &["warning: ", "x.tar.gz is there still, with an earlier package in it"],
    );
    check(
        &[&run[..6], &["100", "--force"]].concat(),
        2,
        &["1000 parts", "--split"],
    );
    check(&[&run[..6], &["0"]].concat(), 2, &["--split"]);
}

#[test]
fn a_damaged_part_is_named_when_it_is_copied_and_what_is_no_part_at_once() {
    let folder = Folder::new();
    let parts = split(&folder);
    let drive = folder.path("drive");
    fs::create_dir(&drive).unwrap();
    check(&["copy", text(&parts[0]), text(&drive)], 0, &["read back"]);
    let sound = fs::read(&parts[1]).unwrap();
    let mut bytes = sound.clone();
    bytes[100] ^= 1;
    fs::write(&parts[1], bytes).unwrap();
    check(
        &["copy", "--force", text(&parts[0]), text(&drive)],
        1,
        &["x.tar.gz.001: expected sha256", "copy it again"],
    );
    fs::write(&parts[1], sound).unwrap();
    fs::remove_file(&parts[2]).unwrap();
    fs::create_dir(&parts[2]).unwrap();
    for command in ["verify", "unpack"] {
        check(
            &[command, text(&parts[0])],
            1,
            &["x.tar.gz.002", "expected a regular file"],
        );
    }
}
