//! Archives that others' tools, drives and browsers have made again: `verify` and `unpack` read them alike or refuse
//! them alike.

mod support;

use std::{fs, path::Path};

use support::{
    Folder, check, package, package_trained, package_with,
    tar::{Entry, file, gzip, tar, zstd},
    text, trained,
};

/// A package, its archive's bytes, and the tar in it.
struct Made {
    folder: Folder,
    package: Vec<u8>,
    metadata: Vec<u8>,
}

impl Made {
    fn new() -> Self {
        let folder = Folder::new();
        package(&folder, "x.pth", "fp16");
        Self {
            package: fs::read(folder.path("x.pth")).unwrap(),
            metadata: fs::read(folder.path("x_metadata.json")).unwrap(),
            folder,
        }
    }

    /// The tar that others make of the two files.
    fn tar(&self) -> Vec<u8> {
        tar(&[file("x_metadata.json", &self.metadata), file("x.pth", &self.package)])
    }

    fn write(&self, name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = self.folder.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Both commands read it, and unpacking gives the two files and no other; returns what `unpack` says.
    fn is_read(&self, archive: &Path) -> String {
        check(&["verify", text(archive)], 0, &["verified"]);
        let out = Folder::new();
        let said = check(&["unpack", text(archive), "-C", text(&out.path(""))], 0, &["verified"]);
        assert_eq!(out.names(), ["x.pth", "x_metadata.json"], "{}", archive.display());
        assert!(fs::read(out.path("x.pth")).unwrap() == self.package);
        assert!(fs::read(out.path("x_metadata.json")).unwrap() == self.metadata);
        said
    }

    /// Both commands refuse it with these words, and nothing is left.
    fn is_refused(&self, archive: &Path, words: &[&str]) {
        check(&["verify", text(archive)], 1, words);
        let out = Folder::new();
        check(&["unpack", text(archive), "-C", text(&out.path(""))], 1, words);
        assert!(out.names().is_empty(), "{:?}", out.names());
    }
}

/// `gzip -t` and GNU tar ignore the zeros; a line end comes from an editor or a transfer as text.
#[test]
fn what_follows_the_end_of_gzip_does_not_matter() {
    let made = Made::new();
    let sound = fs::read(made.folder.path("x.tar.gz")).unwrap();
    let behind = |rest: &[u8]| made.write("behind.tar.gz", &[&sound, rest].concat());
    for rest in [&[0][..], &vec![0; 1 << 20], b"\n", b"\r\n", b"\0\0\0\n"] {
        let said = made.is_read(&behind(rest));
        assert!(!said.contains("warning"), "{said}");
    }
    for rest in [&b"<!-- cached -->"[..], b"\0\0\0more", b"\x1fx"] {
        let said = made.is_read(&behind(rest));
        assert!(
            said.contains("warning: ") && said.contains("ignored, as gzip does"),
            "{said}"
        );
        check(&["verify", text(&made.folder.path("behind.tar.gz"))], 0, &["warning: "]);
    }
    // In the place of what is missing, the same is damage.
    for length in [sound.len() / 2, sound.len() - 4] {
        let path = made.write("cut.tar.gz", &[&sound[..length], &[0; 4096]].concat());
        made.is_refused(&path, &["cut.tar.gz", "copy it again"]);
    }
    let tar = made.tar();
    let half = gzip(&tar[..tar.len() / 2]);
    let path = made.write("half.tar.gz", &[&half, &b"else"[..]].concat());
    made.is_refused(&path, &["damaged", "ends at byte"]);
    made.is_refused(&made.write("half.tar.gz", &half), &["cut off"]);
}

#[test]
fn an_archive_is_known_by_what_it_holds() {
    let made = Made::new();
    let tar = made.tar();
    // A browser decompresses and keeps the name; a server compresses what is compressed.
    for (name, bytes) in [
        ("plain.tar.gz", tar.clone()),
        ("plain.tar", tar.clone()),
        (
            "members.tar.gz",
            [gzip(&tar[..100_000]), gzip(&tar[100_000..])].concat(),
        ),
        ("twice.tar.gz", gzip(&gzip(&tar))),
        ("both.tar.gz", gzip(&zstd(&tar, 20))),
        ("x.tar.zst", zstd(&tar, 27)),
        ("wrong.tar.zst", gzip(&tar)),
        ("behind.tar.zst", [zstd(&tar, 20), vec![0; 100]].concat()),
    ] {
        let path = made.write(name, &bytes);
        made.is_read(&path);
        check(&["inspect", text(&path)], 0, &["fp16", "of a package"]);
    }
    let path = made.write("wide.tar.zst", &zstd(&tar, 28));
    made.is_refused(
        &path,
        &["wide.tar.zst", "window of 268435456 bytes", "zstd -d --long=31"],
    );
    let path = made.write("thrice.tar.gz", &gzip(&gzip(&gzip(&tar))));
    made.is_refused(&path, &["thrice.tar.gz", "not a tar"]);
    let mut damaged = tar;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    made.is_refused(&made.write("plain.tar.gz", &damaged), &["expected sha256"]);
}

/// macOS's tar writes a file's attributes before the file: as `._NAME`, in pax headers, or both.
#[test]
fn what_a_desktop_adds_is_passed_over() {
    let made = Made::new();
    let attributes = b"\0\x05\x16\x07\0\x02\0\0Mac OS X        ".repeat(20);
    let record = |key: &str, value: &str| {
        let rest = format!(" {key}={value}\n");
        let length = (rest.len()..).find(|length| length.to_string().len() + rest.len() == *length);
        format!("{}{rest}", length.unwrap())
    };
    let pax = [
        record("LIBARCHIVE.xattr.com.apple.quarantine", &"MDA4MTs2NTAw".repeat(6000)),
        record("SCHILY.xattr.com.apple.provenance", "\u{1}\u{2}"),
        record("mtime", "1700000000.123"),
    ]
    .concat();
    let extension = || Entry("PaxHeader/x", b'x', "", pax.len() as u64, pax.as_bytes());
    let entries = [
        Entry("./", b'5', "", 0, b""),
        file("./._.DS_Store", &attributes),
        file("./.DS_Store", b"\0\0\0\x01Bud1"),
        extension(),
        file("./._x_metadata.json", &attributes),
        extension(),
        file("./x_metadata.json", &made.metadata),
        file("./._x.pth", &attributes),
        extension(),
        file("./x.pth", &made.package),
        Entry("__MACOSX/", b'5', "", 0, b""),
        file("__MACOSX/._x.pth", &attributes),
        // What was joined of two archives has it twice.
        file("./.DS_Store", b"\0\0\0\x01Bud1"),
        file("Thumbs.db", b"\xd0\xcf\x11\xe0"),
    ];
    let path = made.write("mac.tar.gz", &gzip(&tar(&entries)));
    made.is_read(&path);
    check(&["inspect", text(&path)], 0, &["fp16"]);
}

/// docs/FORMAT.md: the package and its metadata, and no third file.
#[test]
fn a_third_file_is_refused_and_takes_nothing_s_place() {
    let made = Made::new();
    let (x, beside) = (file("x.pth", &made.package), file("x_metadata.json", &made.metadata));
    let third = |name| Entry(name, b'0', "", made.metadata.len() as u64, &made.metadata);
    let other = |name| Entry(name, b'0', "", made.package.len() as u64, &made.package);
    let there = [
        ("y.pth", &b"another"[..]),
        ("y_metadata.json", b"{}"),
        ("x.pth", b"an older one"),
    ];
    for (entries, name) in [
        (vec![beside, x, third("y_metadata.json")], "y_metadata.json"),
        (vec![third("y_metadata.json"), beside, x], "x_metadata.json"),
        (vec![x, third("y_metadata.json")], "y_metadata.json"),
        (vec![third("y_metadata.json"), x], "x.pth"),
        (vec![beside, x, other("y.pth")], "y.pth"),
        (vec![beside, other("y.pth")], "y.pth"),
        (vec![beside, x, third("config.json")], "config.json"),
        (vec![beside, x, third("a/x_metadata.json")], "a/x_metadata.json"),
    ] {
        let path = made.write("third.tar.gz", &gzip(&tar(&entries)));
        made.is_refused(&path, &["third.tar.gz", name, "one package and its metadata"]);
        let out = Folder::new();
        there
            .iter()
            .for_each(|(name, bytes)| fs::write(out.path(name), bytes).unwrap());
        check(
            &["unpack", "--force", text(&path), "-C", text(&out.path(""))],
            1,
            &[name],
        );
        for (name, bytes) in there {
            assert_eq!(fs::read(out.path(name)).unwrap(), bytes, "{name}");
        }
        let files = out.names().into_iter().filter(|name| out.path(name).is_file());
        assert_eq!(files.count(), there.len());
    }
}

/// `x.safetensors` has its metadata in a file of the same name.
#[test]
fn the_metadata_of_another_package_stays() {
    let made = Made::new();
    let out = Folder::new();
    let other = package(&out, "x.safetensors", "int8");
    fs::remove_file(out.path("x.tar.gz")).unwrap();
    let before = out.names();
    let archive = made.folder.path("x.tar.gz");
    let unpack = ["unpack", "--force", text(&archive), "-C", text(&out.path(""))].map(str::to_owned);
    let unpack = unpack.each_ref().map(String::as_str);
    check(&unpack, 2, &["x_metadata.json", "x.safetensors", "another folder"]);
    assert_eq!(out.names(), before);
    check(&["verify", text(&other)], 0, &["x_metadata.json equal"]);
    // To package there by force is to replace the metadata, and is told.
    let (source, output) = (out.path("src/in.safetensors"), out.path("x.pth"));
    let files = ["--checkpoint-path", text(&source), "--output", text(&output)];
    let says = ["warning: ", "metadata of", "x.safetensors"];
    check(&[&["package", "--force"], &files[..]].concat(), 0, &says);
    fs::remove_file(&other).unwrap();
    check(&unpack, 0, &["verified"]);
}

#[test]
fn volumes_of_7_zip_and_names_in_upper_case_are_parts_too() {
    let made = Made::new();
    let whole = fs::read(made.folder.path("x.tar.gz")).unwrap();
    let cut = |name: &dyn Fn(usize) -> String| -> Vec<_> {
        let pieces = whole.chunks(whole.len() / 3 + 1).enumerate();
        pieces.map(|(number, piece)| made.write(&name(number), piece)).collect()
    };
    let volumes = cut(&|number| format!("v.tar.gz.{:03}", number + 1));
    volumes.iter().for_each(|volume| _ = made.is_read(volume));
    made.is_read(&made.folder.path("v.tar.gz"));
    check(&["inspect", text(&volumes[1])], 0, &["tar.gz in 3 parts"]);
    let drive = made.folder.path("drive");
    fs::create_dir(&drive).unwrap();
    check(
        &["copy", text(&volumes[2]), text(&drive)],
        0,
        &["v.tar.gz.001", "v.tar.gz.002", "v.tar.gz.003"],
    );
    fs::remove_file(&volumes[1]).unwrap();
    made.is_refused(&volumes[0], &["v.tar.gz.002", "part 2 of 3 is missing"]);

    // Ours begin with .000: without it the others are no archive.
    let parts = cut(&|number| format!("p.tar.gz.{number:03}"));
    fs::remove_file(&parts[0]).unwrap();
    made.is_refused(&parts[1], &["p.tar.gz.000", "part 1 of 3 is missing"]);

    let parts = cut(&|number| format!("U.TAR.GZ.{number:03}"));
    parts.iter().for_each(|part| _ = made.is_read(part));
    // A drive that changes some names only.
    fs::rename(&parts[1], made.folder.path("u.tar.gz.001")).unwrap();
    made.is_read(&parts[0]);
    made.is_read(&made.folder.path("u.tar.gz.001"));
}

#[test]
fn a_list_in_upper_case_names_the_part_at_fault() {
    let folder = Folder::new();
    package_with(&folder, "x.pth", "none", &["--split", "200K"]);
    let archive = folder.names().into_iter().filter(|name| name.starts_with("x.tar.gz."));
    for name in archive {
        fs::rename(folder.path(&name), folder.path(&name.to_ascii_uppercase())).unwrap();
    }
    let first = folder.path("X.TAR.GZ.000");
    check(
        &["verify", text(&first), text(&folder.path("X.TAR.GZ.SHA256"))],
        0,
        &["verified"],
    );
    let drive = folder.path("drive");
    fs::create_dir(&drive).unwrap();
    check(
        &["copy", text(&first), text(&drive)],
        0,
        &["X.TAR.GZ.SHA256", "X.TAR.GZ.001"],
    );
    let second = folder.path("X.TAR.GZ.001");
    let mut bytes = fs::read(&second).unwrap();
    bytes[100] ^= 1;
    fs::write(&second, bytes).unwrap();
    check(&["verify", text(&first)], 1, &["X.TAR.GZ.001: expected sha256"]);
    check(
        &["copy", "--force", text(&first), text(&drive)],
        1,
        &["X.TAR.GZ.001: expected sha256"],
    );
}

/// FAT and some tools turn names into upper case: the metadata is beside the package all the same.
#[test]
fn a_package_in_upper_case_keeps_its_metadata() {
    let folder = Folder::new();
    package_trained(&folder, "sam3.pth", &[]);
    let (package, beside) = (folder.path("SAM3.PTH"), folder.path("SAM3_METADATA.JSON"));
    fs::rename(folder.path("sam3.pth"), &package).unwrap();
    fs::rename(folder.path("sam3_metadata.json"), &beside).unwrap();
    check(
        &["verify", text(&package)],
        0,
        &["SAM3_METADATA.JSON equal to the metadata inside"],
    );
    let drive = folder.path("drive");
    fs::create_dir(&drive).unwrap();
    check(
        &["copy", text(&package), text(&drive)],
        0,
        &["SAM3.PTH", "SAM3_METADATA.JSON"],
    );
    check(
        &["verify", text(&drive.join("SAM3.PTH"))],
        0,
        &["equal to the metadata inside"],
    );
    let segment = [
        "segment",
        "--checkpoint-path",
        text(&package),
        "--prompt",
        "boat",
        "--image",
        text(&trained().scene),
        "--output",
        text(&folder.path("out")),
    ]
    .map(str::to_owned);
    let segment = segment.each_ref().map(String::as_str);
    check(&segment, 0, &["3 instances"]);

    let (bytes, metadata) = (fs::read(&package).unwrap(), fs::read(&beside).unwrap());
    let archive = folder.path("SAM3.TAR.GZ");
    let entries = [file("SAM3.PTH", &bytes), file("SAM3_METADATA.JSON", &metadata)];
    fs::write(&archive, gzip(&tar(&entries))).unwrap();
    check(
        &["verify", text(&archive)],
        0,
        &["SAM3_METADATA.JSON equal to the metadata inside"],
    );
    let out = folder.path("unpacked");
    check(
        &["unpack", text(&archive), "-C", text(&out)],
        0,
        &["SAM3.PTH", "SAM3_METADATA.JSON"],
    );

    fs::write(&beside, String::from_utf8(metadata).unwrap().replace("fp16", "bf16")).unwrap();
    check(&["verify", text(&package)], 1, &["SAM3_METADATA.JSON", "differs"]);
    check(&segment, 1, &["SAM3_METADATA.JSON", "differs"]);
    let anew = folder.path("anew.pth");
    check(
        &["package", "--checkpoint-path", text(&package), "--output", text(&anew)],
        1,
        &["SAM3_METADATA.JSON", "differs"],
    );
}

/// A login page, a pointer, a picture: named by content, whatever the name is, and not carried under a package's name.
#[test]
fn what_is_no_archive_is_named_with_the_next_step() {
    let folder = Folder::new();
    let (drive, out) = (folder.path("drive"), folder.path("out"));
    fs::create_dir(&drive).unwrap();
    for (content, words) in [
        (
            &b"<!DOCTYPE html>\n<title>Sign in</title>"[..],
            ["a web page", "needs a login"],
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            ["a git-lfs pointer", "git lfs pull"],
        ),
        (
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            ["a HEIC picture", "is expected here"],
        ),
    ] {
        for name in ["x.tar.gz", "x.tar.zst.000", "X.TAR.GZ", "x.pth"] {
            let path = folder.path(name);
            fs::write(&path, content).unwrap();
            let words = [name, words[0], words[1]];
            check(&["unpack", text(&path), "-C", text(&out)], 1, &words);
            check(&["copy", text(&path), text(&drive)], 1, &words);
            check(&["verify", text(&path)], 1, &[name]);
        }
        let path = folder.path("notes.txt");
        fs::write(&path, content).unwrap();
        check(&["copy", "--force", text(&path), text(&drive)], 0, &["read back"]);
    }
    assert!(!out.exists());
    for (content, word) in [
        (&b""[..], "it is empty"),
        (&[0; 5000], "begins with zeros"),
        (b"what", "expected a .tar.gz"),
    ] {
        let path = folder.path("x.tar.gz");
        fs::write(&path, content).unwrap();
        check(&["unpack", text(&path), "-C", text(&out)], 1, &["x.tar.gz", word]);
    }
}
