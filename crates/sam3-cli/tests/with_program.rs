//! `sam3 package --with-program`: the program and licences in the archive, what plain `tar` makes of it, and what is
//! refused.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use support::{
    Folder, check, checkpoint, elf, package, package_with, packaging,
    tar::{Entry, file, gzip, tar},
    text,
};

const SAM_LICENSE: &str = "SAM License\nLast Updated: November 19, 2025\n";

/// A released program: `sam3-0.1.0-MACHINE-linux.tar.gz`.
fn release(folder: &Folder, machine: u16) -> PathBuf {
    let program = elf::program(machine);
    let entries = [
        Entry("sam3-0.1.0/", b'5', "", 0, b""),
        file("sam3-0.1.0/LICENSE-program.txt", b"MIT, and of others\n"),
        file("sam3-0.1.0/README.md", b"# sam3\n"),
        file("sam3-0.1.0/completions/sam3.bash", b"complete\n"),
        file("sam3-0.1.0/sam3", &program),
    ];
    let path = folder.path(&format!("sam3-0.1.0-{machine}-linux.tar.gz"));
    fs::write(&path, gzip(&tar(&entries))).unwrap();
    path
}

/// Runs a shell's lines in a folder.
fn shell(folder: &Path, script: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", script])
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{script}:\n{said}");
    said
}

/// Whether a file may be run.
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o111 != 0
}

#[test]
fn plain_tar_gives_a_program_that_runs_and_a_list_that_holds() {
    let (folder, plain) = (Folder::new(), Folder::new());
    let release = release(&folder, elf::AARCH64);
    package(&plain, "x.pth", "fp16");
    for (format, join, unpack) in [
        ("gz", "cat ../x.tar.gz", "tar -xzf -"),
        ("zst", "cat ../x.tar.zst", "zstd -dc | tar -xf -"),
        ("gz --split 200K", "cat ../x.tar.gz.*", "tar -xzf -"),
    ] {
        let archive = [&["--archive"], &*format.split(' ').collect::<Vec<_>>()].concat();
        let flags = [&["--with-program", text(&release), "--force"], &archive[..]].concat();
        package_with(&folder, "x.pth", "fp16", &flags);
        for name in ["x.pth", "x_metadata.json"] {
            assert!(
                fs::read(folder.path(name)).unwrap() == fs::read(plain.path(name)).unwrap(),
                "{name}"
            );
        }
        let (out, _) = (folder.path("out"), fs::remove_dir_all(folder.path("out")));
        fs::create_dir(&out).unwrap();
        if format == "zst" && Command::new("zstd").arg("--version").output().is_err() {
            continue;
        }
        shell(&out, &format!("{join} | {unpack} && sha256sum -c --strict SHA256SUMS"));
        let mut names: Vec<_> = fs::read_dir(&out)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        let expected = [
            "LICENSE-program.txt",
            "LICENSE-weights.txt",
            "SHA256SUMS",
            "sam3",
            "x.pth",
            "x_metadata.json",
        ];
        assert_eq!(names, expected, "{format}");
        assert!(
            is_executable(&out.join("sam3")) && !is_executable(&out.join("x.pth")),
            "{format}"
        );
        assert!(fs::read(out.join("sam3")).unwrap() == elf::program(elf::AARCH64));
        assert_eq!(
            fs::read(out.join("LICENSE-program.txt")).unwrap(),
            b"MIT, and of others\n"
        );
        assert!(fs::read(out.join("x.pth")).unwrap() == fs::read(folder.path("x.pth")).unwrap());
    }
}

#[test]
fn every_command_knows_the_program_in_an_archive() {
    let folder = Folder::new();
    let release = release(&folder, elf::AARCH64);
    for (flags, name) in [
        (&["--archive", "gz"][..], "x.tar.gz"),
        (&["--archive", "zst"], "x.tar.zst"),
        (&["--split", "200K"], "x.tar.gz.001"),
    ] {
        let flags = [&["--with-program", text(&release), "--force"], flags].concat();
        package_with(&folder, "x.pth", "fp16", &flags);
        let archive = folder.path(name);
        let words = [
            "sam3 for aarch64 (100 kB)",
            "LICENSE-program.txt",
            "LICENSE-weights.txt",
            "SHA256SUMS",
        ];
        check(&["verify", text(&archive)], 0, &[&["verified"], &words[..]].concat());
        check(
            &["inspect", text(&archive)],
            0,
            &[&["package of", "fp16"], &words[..]].concat(),
        );
        let json = check(&["inspect", "--json", text(&archive)], 0, &[]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["extras"][0]["path"], "sam3");
        assert_eq!(json["extras"][0]["machine"], "aarch64");
        assert_eq!(json["extras"][3]["machine"], serde_json::Value::Null);
        let drive = Folder::new();
        check(&["copy", text(&archive), text(&drive.path(""))], 0, &["read back"]);
        let out = Folder::new();
        check(
            &["unpack", text(&drive.path(name)), "-C", text(&out.path(""))],
            0,
            &words,
        );
        assert!(is_executable(&out.path("sam3")) && !is_executable(&out.path("SHA256SUMS")));
        assert!(fs::read(out.path("x.pth")).unwrap() == fs::read(folder.path("x.pth")).unwrap());
        shell(&out.path(""), "sha256sum -c --strict SHA256SUMS");
    }
}

#[test]
fn unpack_replaces_a_program_by_force_only() {
    let folder = Folder::new();
    let release = release(&folder, elf::AARCH64);
    package_with(&folder, "x.pth", "fp16", &["--with-program", text(&release)]);
    let (archive, out) = (folder.path("x.tar.gz"), Folder::new());
    fs::write(out.path("sam3"), "an older one").unwrap();
    let unpack = ["unpack", text(&archive), "-C", text(&out.path(""))].map(str::to_owned);
    let unpack = unpack.each_ref().map(String::as_str);
    check(&unpack, 2, &["sam3 exists already", "--force"]);
    assert_eq!(out.names(), ["sam3"]);
    assert_eq!(fs::read(out.path("sam3")).unwrap(), b"an older one");
    check(&[&unpack[..], &["--force"]].concat(), 0, &["verified"]);
    assert!(fs::read(out.path("sam3")).unwrap() == elf::program(elf::AARCH64));
    assert!(is_executable(&out.path("sam3")));
    let occupied = Folder::new();
    fs::create_dir(occupied.path("sam3")).unwrap();
    let unpack = ["unpack", text(&archive), "--force", "-C", text(&occupied.path(""))].map(str::to_owned);
    check(
        &unpack.each_ref().map(String::as_str),
        3,
        &["sam3", "a folder of that name is in the way"],
    );
    assert_eq!(occupied.names(), ["sam3"]);
}

#[test]
fn the_same_program_and_weights_give_the_same_bytes() {
    let (first, second) = (Folder::new(), Folder::new());
    for flags in [&["--archive", "gz"][..], &["--archive", "zst"]] {
        let archives = [&first, &second].map(|folder| {
            let release = release(folder, elf::AARCH64);
            package_with(
                folder,
                "x.pth",
                "int8",
                &[&["--force", "--with-program", text(&release)], flags].concat(),
            );
            fs::read(folder.path(&format!("x.tar.{}", flags[1]))).unwrap()
        });
        assert!(archives[0] == archives[1], "{flags:?}");
    }
}

#[test]
fn what_is_no_release_of_the_program_is_refused_by_name() {
    let folder = Folder::new();
    let (arm, x86) = (elf::program(elf::AARCH64), elf::program(elf::X86_64));
    let whole = fs::read(release(&folder, elf::AARCH64)).unwrap();
    let of = |entries: &[Entry<'_>]| gzip(&tar(entries));
    let (sam3, twice) = (file("sam3", &arm), file("bin/sam3", &arm));
    let claim = Entry("sam3", b'0', "", 257 << 20, b"");
    package(&folder, "y.pth", "fp16");
    let cases = [
        (of(&[file("notes.txt", b"")]), 1, "no program sam3 is in it"),
        (
            of(&[Entry("sam3/", b'5', "", 0, b""), file("sam3/x.txt", b"")]),
            1,
            "no program sam3 is in it",
        ),
        (of(&[file("a/b/c/sam3", &arm)]), 1, "no program sam3 is in it"),
        (of(&[sam3, twice]), 1, "\"bin/sam3\" is there twice"),
        (of(&[file("sam3", b"#!/bin/sh\n")]), 1, "sam3 in it is a script"),
        (of(&[file("sam3", b"")]), 1, "sam3 in it is empty"),
        (of(&[file("sam3", &arm[..5000])]), 1, "sam3 in it is cut off"),
        (of(&[file("sam3", &elf::program(243))]), 1, "RISC-V"),
        (
            of(&[file("sam3", &x86)]),
            2,
            "the program in it is for x86-64, and a Jetson is aarch64",
        ),
        (of(&[Entry("sam3", b'2', "/bin/ls", 0, b"")]), 1, "symbolic link"),
        (of(&[file("../sam3", &arm)]), 1, "leave the folder"),
        (of(&[claim]), 1, "claims 269484032 bytes"),
        (
            fs::read(folder.path("y.tar.gz")).unwrap(),
            1,
            "the archive of a package",
        ),
        (whole[..whole.len() / 2].to_vec(), 1, "cut off"),
        (whole[..whole.len() - 4].to_vec(), 1, "cut off"),
        (arm, 1, "a program and not the archive"),
        (b"<!DOCTYPE html>".to_vec(), 1, "a web page"),
        (b"what".to_vec(), 1, "no archive"),
        (Vec::new(), 1, "empty"),
    ];
    let (source, output, given) = (checkpoint(&folder), folder.path("x.pth"), folder.path("given.tar.gz"));
    let run = [&packaging(&source, &output)[..], &["--with-program"]].concat();
    for (bytes, code, words) in cases {
        fs::write(&given, bytes).unwrap();
        let words = [
            "--with-program",
            "given.tar.gz",
            words,
            "hint: name sam3-VERSION-aarch64-linux.tar.gz",
        ];
        check(&[&run[..], &[text(&given)]].concat(), code, &words);
        assert!(!output.exists());
    }
    check(
        &[&run[..], &[text(&folder.path(""))]].concat(),
        1,
        &["expected a regular file"],
    );
    check(
        &[&run[..], &["nowhere.tar.gz"]].concat(),
        1,
        &["nowhere.tar.gz", "No such file"],
    );
    check(
        &[&run[..], &["self", "--no-tarball"]].concat(),
        2,
        &["--no-tarball", "cannot be used with"],
    );
    check(&[&run[..5], &["--any-machine"]].concat(), 2, &["--with-program"]);
    check(
        &[&run[..5], &["--license-file", text(&source), "--no-tarball"]].concat(),
        2,
        &["cannot be used with"],
    );
    let taken = folder.path("x.tar.gz");
    fs::write(&taken, &whole).unwrap();
    check(
        &[&run[..], &[text(&taken), "--force"]].concat(),
        2,
        &["--with-program", "would replace it"],
    );
    assert!(fs::read(&taken).unwrap() == whole);
}

#[test]
fn another_machine_s_program_goes_along_when_that_is_said() {
    let folder = Folder::new();
    let release = release(&folder, elf::X86_64);
    package_with(
        &folder,
        "x.pth",
        "fp16",
        &["--with-program", text(&release), "--any-machine"],
    );
    check(&["verify", text(&folder.path("x.tar.gz"))], 0, &["sam3 for x86-64"]);
}

/// Where the running program is a Jetson's, `self` needs no more; elsewhere that is said.
#[test]
fn the_running_program_goes_along() {
    let folder = Folder::new();
    let (source, output) = (checkpoint(&folder), folder.path("x.pth"));
    let run = [&packaging(&source, &output)[..], &["--with-program", "self"]].concat();
    if !cfg!(target_arch = "aarch64") {
        check(
            &run,
            2,
            &[
                "--with-program self: this program is for x86-64, and a Jetson is aarch64",
                "--any-machine",
            ],
        );
        assert!(!output.exists());
    }
    check(
        &[&run[..], &["--any-machine"]].concat(),
        0,
        &["warning: no LICENSE-program.txt", "the archive also holds sam3"],
    );
    let out = folder.path("out");
    fs::create_dir(&out).unwrap();
    let said = shell(
        &out,
        "tar -xzf ../x.tar.gz && ./sam3 verify x.pth && cat LICENSE-program.txt",
    );
    assert!(
        said.contains("equal to the metadata inside") && said.contains("MIT") && said.contains("UBUNTU FONT LICENCE"),
        "{said}"
    );
}

#[test]
fn the_licence_of_the_weights_travels() {
    let folder = Folder::new();
    let release = release(&folder, elf::AARCH64);
    let source = checkpoint(&folder);
    let beside = source.with_file_name("LICENSE");
    let packaged = |more: &[&str], words: &[&str]| {
        let output = folder.path("x.pth");
        let run = [
            "package",
            "--force",
            "--checkpoint-path",
            text(&source),
            "--output",
            text(&output),
        ];
        let said = check(&[&run[..], more].concat(), 0, words);
        let out = Folder::new();
        check(
            &["unpack", text(&folder.path("x.tar.gz")), "-C", text(&out.path(""))],
            0,
            &["verified"],
        );
        (
            fs::read_to_string(out.path("LICENSE-weights.txt")).unwrap_or_default(),
            said,
        )
    };
    let with = ["--with-program", text(&release)];
    let (license, _) = packaged(
        &with,
        &[
            "warning: no LICENSE is beside",
            "--license-file",
            "pass a copy of it on",
        ],
    );
    assert!(
        license.contains("https://github.com/facebookresearch/sam3/blob/main/LICENSE"),
        "{license}"
    );
    fs::write(&beside, "MIT License").unwrap();
    let (license, _) = packaged(&with, &["src/LICENSE does not call itself the SAM License"]);
    assert!(license.contains("https://"), "{license}");
    fs::write(&beside, SAM_LICENSE).unwrap();
    let (license, said) = packaged(&with, &["the archive holds the copy"]);
    assert_eq!(license, SAM_LICENSE);
    assert!(!said.contains("warning"), "{said}");
    let own = folder.path("terms.txt");
    fs::write(&own, "what we agreed on").unwrap();
    let (license, _) = packaged(&[&with[..], &["--license-file", text(&own)]].concat(), &[]);
    assert_eq!(license, "what we agreed on");
    // Without a program only what was named: older versions read what they always read.
    let (license, _) = packaged(&[], &["pass a copy of it on"]);
    assert_eq!(license, "");
    let (license, _) = packaged(&["--license-file", text(&own)], &["LICENSE-weights.txt"]);
    assert_eq!(license, "what we agreed on");

    let output = folder.path("y.pth");
    let run = [&packaging(&source, &output)[..], &["--license-file"]].concat();
    for (bytes, words) in [
        (&b"\n "[..], "nothing but space"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a\0b", "not UTF-8"),
    ] {
        fs::write(&own, bytes).unwrap();
        check(
            &[&run[..], &[text(&own)]].concat(),
            1,
            &["terms.txt", "the text of a licence", words],
        );
    }
    check(
        &[&run[..], &[text(&folder.path("src"))]].concat(),
        1,
        &["expected a regular file"],
    );
    check(
        &[&run[..], &[text(&folder.path("nowhere"))]].concat(),
        1,
        &["nowhere", "No such file"],
    );
    assert!(!output.exists());
}

#[test]
fn copied_programs_can_be_run() {
    let folder = Folder::new();
    let (program, notes) = (folder.path("sam3"), folder.path("notes.txt"));
    fs::write(&program, elf::program(elf::AARCH64)).unwrap();
    fs::write(&notes, "text").unwrap();
    shell(&folder.path(""), "chmod 755 sam3; mkdir drive");
    let drive = folder.path("drive");
    check(&["copy", text(&program), text(&notes), text(&drive)], 0, &["read back"]);
    assert!(is_executable(&drive.join("sam3")) && !is_executable(&drive.join("notes.txt")));
}
