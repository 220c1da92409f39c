//! Archives to damage: the tar inside, with its checksums made right again, or the compression around it.

use std::{fs, path::Path};

use sam3_package::{
    Precision, StateDict,
    archive::{Compression, Extra},
    package::{self, Options},
};

/// A package of a checkpoint: its tar, metadata first; another with a program, a licence and the list of digests; and
/// that archive as it is written with Zstandard.
pub fn seeds(checkpoint: &[u8]) -> [Vec<u8>; 3] {
    let folder = std::env::temp_dir().join(format!("sam3-fuzz-seed-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the seed");
    let input = folder.join("in.safetensors");
    fs::write(&input, checkpoint).expect("write the checkpoint");
    let source = StateDict::open(&input).expect("the checkpoint opens");
    let mut options = Options::new(folder.join("x.pth"), Precision::Fp16);
    options.archive = Some(Compression::Zstd);
    options.force = true;
    options.created = 0;
    options.extras = vec![
        (Extra::Program, program().into()),
        (Extra::WeightsLicense, b"SAM License\n"[..].into()),
    ];
    package::write(&source, &options, &()).expect("the checkpoint is packaged");
    let packed = folder.join("x.tar.zst");
    sam3_package::unpack(&packed, &folder, true, &()).expect("the archive is right");
    let package = ["x_metadata.json", "x.pth"];
    let with = ["x_metadata.json", "sam3", "LICENSE-weights.txt", "SHA256SUMS", "x.pth"];
    let seeds = [
        tar(&folder, &package),
        tar(&folder, &with),
        fs::read(packed).expect("the archive"),
    ];
    fs::remove_dir_all(folder).ok();
    seeds
}

/// The least that is taken for a program: a header.
fn program() -> Vec<u8> {
    let mut program = vec![0; 4096];
    program[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (program[16], program[18]) = (3, 183);
    program
}

fn tar(folder: &Path, names: &[&str]) -> Vec<u8> {
    let mut tar = Vec::new();
    for name in names {
        let bytes = fs::read(folder.join(name)).expect("a file of the package");
        let mut head = [0u8; 512];
        head[..name.len()].copy_from_slice(name.as_bytes());
        head[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        head[156] = b'0';
        head[257..263].copy_from_slice(b"ustar\0");
        tar.extend(head);
        tar.extend(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    right_checksums(&mut tar);
    tar
}

/// Headers whose checksum is wrong are refused before anything else of them is read.
pub fn right_checksums(tar: &mut [u8]) {
    for head in tar.as_chunks_mut::<512>().0 {
        if &head[257..262] == b"ustar" {
            head[148..156].fill(b' ');
            let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
            head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

/// A gzip member of stored blocks.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    for block in bytes.chunks(0xffff) {
        out.push(0);
        out.extend((block.len() as u16).to_le_bytes());
        out.extend((!(block.len() as u16)).to_le_bytes());
        out.extend(block);
    }
    out.extend([1, 0, 0, 0xff, 0xff]);
    out.extend(
        (!bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
            })
        }))
        .to_le_bytes(),
    );
    out.extend((bytes.len() as u32).to_le_bytes());
    out
}

/// A Zstandard frame of raw blocks.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    out.extend((bytes.len() as u32).to_le_bytes());
    for block in bytes.chunks(0x1_0000) {
        out.extend(&((block.len() as u32) << 3).to_le_bytes()[..3]);
        out.extend(block);
    }
    out.extend([1, 0, 0]);
    out
}

/// Shows, checks and unpacks it; nothing may appear outside of the folder.
pub fn try_open(path: &Path) -> bool {
    let around = path.with_extension("around");
    let folder = around.join("in/side");
    fs::create_dir_all(&folder).expect("a folder to unpack into");
    sam3_package::contents(path).ok();
    let checked = sam3_package::verify(path, &()).is_ok();
    let unpacked = sam3_package::unpack(path, &folder, true, &()).is_ok();
    assert_eq!(checked, unpacked, "verify and unpack differ");
    let names = |folder: &Path| fs::read_dir(folder).map_or(0, Iterator::count);
    assert_eq!(
        (names(&around), names(&around.join("in"))),
        (1, 1),
        "it left its folder"
    );
    assert!(unpacked || files(&folder) == 0, "a file of a bad archive got its name");
    fs::remove_dir_all(&around).expect("remove what was unpacked");
    unpacked
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, |entries| {
        entries
            .flatten()
            .map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 })
            .sum()
    })
}
