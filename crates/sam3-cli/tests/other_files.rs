//! What is no package, and what was a package once: each is told with its own next step.

mod support;

use std::fs;

use support::{
    Folder, check, elf, package, package_trained,
    tar::{file, gzip, tar},
    text, trained,
};

#[test]
fn the_archive_of_the_program_is_no_damaged_package() {
    let folder = Folder::new();
    let program = elf::program(elf::AARCH64);
    let release = folder.path("sam3-0.1.0-aarch64-linux.tar.gz");
    let entries = [
        file("sam3-0.1.0-aarch64-linux/README.md", b"# sam3"),
        file("sam3-0.1.0-aarch64-linux/sam3", &program),
    ];
    fs::write(&release, gzip(&tar(&entries))).unwrap();
    let out = folder.path("out");
    let words = [
        "the archive of the program sam3, with no package",
        "hint: `sha256sum -c",
    ];
    check(&["verify", text(&release)], 1, &words);
    check(&["unpack", text(&release), "-C", text(&out)], 1, &words);
    assert!(!out.exists());
}

#[test]
fn a_list_of_digests_is_told_from_a_damaged_checkpoint() {
    let folder = Folder::new();
    let list = folder.path("SHA256SUMS");
    fs::write(&list, format!("{}  x.tar.gz\n", "ab".repeat(32))).unwrap();
    let said = check(
        &["verify", text(&list)],
        1,
        &["a list of SHA-256 digests", "`sha256sum -c`"],
    );
    assert!(!said.contains("copy or download"), "{said}");
}

#[test]
fn bytes_behind_a_package_are_found() {
    let folder = Folder::new();
    for name in ["x.pth", "y.safetensors"] {
        let path = package(&folder, name, "fp16");
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(b"0123456789");
        fs::write(&path, bytes).unwrap();
        check(
            &["verify", text(&path)],
            1,
            &["10 bytes after", "bytes were added in copying"],
        );
    }
}

#[test]
fn inspect_shows_what_a_package_did_to_a_picture() {
    let folder = Folder::new();
    let tried = [
        "--no-tarball",
        "--test-image",
        text(&trained().scene),
        "--test-prompt",
        "boat",
    ];
    package_trained(&folder, "x.pth", &tried);
    let path = folder.path("x.pth");
    check(
        &["inspect", text(&path)],
        0,
        &["tried on scene.png with \"boat\" (cpu, ", "3 matched, lowest mask IoU "],
    );
}
