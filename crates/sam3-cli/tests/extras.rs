//! Archives with a program that others made again, damaged or meant to harm: `verify` and `unpack` read them alike or
//! refuse them alike.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use sam3_package::sha256;
use support::{
    Folder, check, elf, package,
    tar::{Entry, file, gzip, tar, zstd},
    text,
};

/// A package's files, a program and licences, and the list of their digests.
struct Made {
    folder: Folder,
    package: Vec<u8>,
    metadata: Vec<u8>,
    program: Vec<u8>,
    list: String,
}

const LICENSE: &[u8] = b"SAM License\n";

impl Made {
    fn new() -> Self {
        let folder = Folder::new();
        package(&folder, "x.pth", "fp16");
        let mut made = Self {
            package: fs::read(folder.path("x.pth")).unwrap(),
            metadata: fs::read(folder.path("x_metadata.json")).unwrap(),
            program: elf::program(elf::AARCH64),
            list: String::new(),
            folder,
        };
        let files = [made.metadata(), made.sam3(), made.license(), made.x()];
        let line = |entry: &Entry<'_>| format!("{}  {}\n", sha256(entry.4).unwrap(), entry.0);
        made.list = files.iter().map(line).collect();
        made
    }

    fn x(&self) -> Entry<'_> {
        file("x.pth", &self.package)
    }

    fn metadata(&self) -> Entry<'_> {
        file("x_metadata.json", &self.metadata)
    }

    fn sam3(&self) -> Entry<'_> {
        file("sam3", &self.program)
    }

    fn license(&self) -> Entry<'_> {
        file("LICENSE-weights.txt", LICENSE)
    }

    fn list(&self) -> Entry<'_> {
        file("SHA256SUMS", self.list.as_bytes())
    }

    fn write(&self, entries: &[Entry<'_>]) -> PathBuf {
        let path = self.folder.path("made.tar.gz");
        fs::write(&path, gzip(&tar(entries))).unwrap();
        path
    }

    /// Both commands refuse it with these words, by force too, and nothing is left or replaced.
    fn is_refused(&self, entries: &[Entry<'_>], words: &[&str]) {
        self.file_is_refused(&self.write(entries), words);
    }

    fn file_is_refused(&self, path: &Path, words: &[&str]) {
        check(&["verify", text(path)], 1, words);
        let out = Folder::new();
        fs::write(out.path("sam3"), "mine").unwrap();
        check(&["unpack", "--force", text(path), "-C", text(&out.path(""))], 1, words);
        let files: Vec<_> = out
            .names()
            .into_iter()
            .filter(|name| out.path(name).is_file())
            .collect();
        assert_eq!(files, ["sam3"], "{words:?}");
        assert_eq!(fs::read(out.path("sam3")).unwrap(), b"mine");
    }
}

#[test]
fn any_order_folder_case_and_compression_is_read() {
    let made = Made::new();
    let in_folder = [
        "m/x.pth",
        "m/x_metadata.json",
        "m/sam3",
        "m/LICENSE-weights.txt",
        "m/SHA256SUMS",
    ];
    let upper = ["X.PTH", "X_METADATA.JSON", "SAM3", "LICENSE-WEIGHTS.TXT", "SHA256SUMS"];
    let all = [made.x(), made.metadata(), made.sam3(), made.license(), made.list()];
    let renamed = |names: [&'static str; 5]| {
        let mut entries = all;
        entries.iter_mut().zip(names).for_each(|(entry, name)| entry.0 = name);
        entries
    };
    let mut backwards = all;
    backwards.reverse();
    for entries in [all, backwards, renamed(in_folder), renamed(upper)] {
        let path = made.write(&entries);
        check(&["verify", text(&path)], 0, &["verified", "for aarch64"]);
        let out = Folder::new();
        check(&["unpack", text(&path), "-C", text(&out.path(""))], 0, &["verified"]);
        for Entry(name, .., bytes) in entries {
            assert!(fs::read(out.path(name)).unwrap() == bytes, "{name}");
        }
    }
    // The metadata may be missing, as from any archive, but not where the list has it.
    made.is_refused(
        &[made.sam3(), made.license(), made.list(), made.x()],
        &["lists \"x_metadata.json\""],
    );
    for bytes in [tar(&all), zstd(&tar(&all), 20), gzip(&gzip(&tar(&all)))] {
        let path = made.folder.path("made.tar.zst");
        fs::write(&path, bytes).unwrap();
        check(&["verify", text(&path)], 0, &["for aarch64"]);
    }
}

#[test]
fn a_wrong_digest_is_found_whatever_it_is_of() {
    let made = Made::new();
    let mut other = made.program.clone();
    other[5000] ^= 1;
    for order in 0..2 {
        let mut entries = vec![
            made.list(),
            made.metadata(),
            file("sam3", &other),
            made.license(),
            made.x(),
        ];
        if order == 1 {
            entries.reverse();
        }
        made.is_refused(&entries, &["made.tar.gz", "sam3: expected sha256", "found"]);
        // A list that is wrong of the package, whose own digests are right.
        for (name, bytes) in [
            ("x.pth", &made.package[..]),
            ("x_metadata.json", &made.metadata),
            ("LICENSE-weights.txt", LICENSE),
        ] {
            let digest = sha256(bytes).unwrap();
            let list = made.list.replace(&digest, &"0".repeat(64));
            let mut entries = vec![
                made.metadata(),
                made.sam3(),
                made.license(),
                file("SHA256SUMS", list.as_bytes()),
                made.x(),
            ];
            if order == 1 {
                entries.reverse();
            }
            made.is_refused(&entries, &[&format!("{name}: expected sha256 0000"), &digest]);
        }
    }
}

#[test]
fn what_no_list_vouches_for_is_refused() {
    let made = Made::new();
    let all = || vec![made.metadata(), made.sam3(), made.license(), made.list(), made.x()];
    let without = |name: &str| all().into_iter().filter(|entry| entry.0 != name).collect::<Vec<_>>();
    made.is_refused(&without("SHA256SUMS"), &["it holds sam3 and no SHA256SUMS"]);
    made.is_refused(&without("x.pth"), &["lists \"x.pth\", and no such file"]);
    made.is_refused(&without("sam3"), &["lists \"sam3\", and no such file"]);
    made.is_refused(
        &[&all()[..], &[file("LICENSE-program.txt", b"MIT")]].concat(),
        &["does not list \"LICENSE-program.txt\""],
    );
    for (list, words) in [
        (format!("{}{}", made.list, made.list), "twice"),
        (made.list.replace("  ", " "), "expected a SHA-256 and a name"),
        (made.list.replace("  sam3", "  ../sam3"), "lists \"../sam3\""),
        (String::new(), "does not list"),
    ] {
        let mut entries = all();
        entries[3] = file("SHA256SUMS", list.as_bytes());
        made.is_refused(&entries, &["SHA256SUMS", words]);
    }
    let mut entries = all();
    entries[3] = file("SHA256SUMS", b"\xff\xfe");
    made.is_refused(&entries, &["SHA256SUMS", "not UTF-8"]);
}

#[test]
fn what_means_harm_is_refused_by_name() {
    let made = Made::new();
    let all = [made.metadata(), made.sam3(), made.license(), made.list(), made.x()];
    let with = |entry: Entry<'static>| [&all[..], &[entry]].concat();
    let instead = |entry: Entry<'static>| [made.metadata(), entry, made.license(), made.list(), made.x()];
    for (entry, words) in [
        (file("sam3", b"another"), "twice"),
        (file("SAM3", b"another"), "twice"),
        (file("bin/sam3", b"another"), "does not lie beside"),
        (file("sam3.sh", b"#!/bin/sh"), "neither a package"),
        (file(".bashrc", b"./sam3"), "neither a package"),
        (file("LICENSE", b"MIT"), "neither a package"),
        (file("y.pth", b"another"), "third file"),
        (file("SHA256SUMS", b""), "twice"),
    ] {
        made.is_refused(&with(entry), &[entry.0, words, "one package and its metadata"]);
    }
    for (entry, words) in [
        (file("../sam3", b"x"), "leave the folder"),
        (file("/usr/bin/sam3", b"x"), "leave the folder"),
        (Entry("sam3", b'2', "/bin/sh", 0, b""), "symbolic link"),
        (Entry("sam3", b'1', "x.pth", 0, b""), "hard link"),
        (
            Entry("sam3", b'0', "", 257 << 20, b""),
            "at most 268435456 can be right",
        ),
        (
            Entry("SHA256SUMS", b'0', "", 1 << 20, b""),
            "at most 65536 can be right",
        ),
        (
            Entry("LICENSE-program.txt", b'0', "", 1 << 30, b""),
            "claims 1073741824 bytes",
        ),
    ] {
        made.is_refused(&instead(entry), &[entry.0, words]);
    }
    // Its digest is right, and it is no program for Linux.
    let script = b"#!/bin/sh\nexit\n";
    let list = made
        .list
        .replace(&sha256(&made.program[..]).unwrap(), &sha256(&script[..]).unwrap());
    let entries = [
        made.metadata(),
        file("sam3", script),
        made.license(),
        file("SHA256SUMS", list.as_bytes()),
        made.x(),
    ];
    made.is_refused(&entries, &["sam3 is a script, not a program for Linux"]);
    let whole = gzip(&tar(&all));
    let path = made.folder.path("cut.tar.gz");
    // In the program, in the list, in the package, in gzip's end.
    for length in [
        made.metadata.len() / 2,
        whole.len() / 3,
        whole.len() / 2,
        whole.len() - 3,
    ] {
        fs::write(&path, &whole[..length]).unwrap();
        made.file_is_refused(&path, &["cut.tar.gz", "cut off"]);
    }
    let unpacked = tar(&all);
    let inside = 512 + made.metadata.len().next_multiple_of(512) + 512 + 4000;
    fs::write(&path, &unpacked[..inside]).unwrap();
    made.file_is_refused(&path, &["cut.tar.gz", "cut off"]);
}

/// Before the many bytes of the package are read.
#[test]
fn inspect_shows_what_stands_before_the_package() {
    let made = Made::new();
    let path = made.write(&[made.metadata(), made.sam3(), made.list(), made.x(), made.license()]);
    let said = check(
        &["inspect", text(&path)],
        0,
        &["with it sam3 for aarch64 (100 kB), SHA256SUMS"],
    );
    assert!(!said.contains("LICENSE-weights"), "{said}");
    let path = made.write(&[made.x(), made.license(), made.sam3(), made.metadata(), made.list()]);
    check(
        &["inspect", text(&path)],
        0,
        &["with it LICENSE-weights.txt", "sam3 for aarch64", "SHA256SUMS"],
    );
}
