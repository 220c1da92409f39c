//! A small checkpoint through everything: packaged, archived, cut into parts, verified, unpacked and read again.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use sam3_package::{
    Dtype, Error, Precision, StateDict,
    archive::{Compression, Extra, Machine},
    contents,
    package::{Components, Options, write},
    unpack, verify,
};

const TRUNK: &str = "detector.backbone.vision_backbone.trunk.blocks.0";

/// An empty folder of one test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sam3-round-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A number in [-1, 1), another one for each seed: a compressor finds no more in them than in weights.
fn drawn(seed: usize) -> f32 {
    let mixed = (seed as u32).wrapping_mul(0x9E37_79B9);
    let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x85EB_CA6B);
    ((mixed ^ mixed >> 13) >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// A matrix that int8 applies to, a small one that it does not, a vector, and one of the tracker's.
fn checkpoint(folder: &Path) -> StateDict {
    let tensors: [(String, &[usize]); 4] = [
        (format!("{TRUNK}.mlp.fc1.weight"), &[130, 128]),
        (format!("{TRUNK}.attn.proj.weight"), &[3, 5]),
        (format!("{TRUNK}.mlp.fc1.bias"), &[130]),
        ("tracker.no_mem_embed".to_owned(), &[7]),
    ];
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in tensors {
        let begin = data.len();
        let count = shape.iter().product::<usize>();
        data.extend((0..count).flat_map(|i| drawn(begin + 4 * i).to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert(name, entry);
    }
    let header = serde_json::Value::from(header).to_string();
    let path = folder.join("in.safetensors");
    let head = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    fs::write(&path, [head, data].concat()).unwrap();
    StateDict::open(&path).unwrap()
}

fn values(state: &StateDict, name: &str) -> Vec<f32> {
    let position = state.position(name).unwrap_or_else(|| panic!("no {name}"));
    state.view(position).to_f32().unwrap()
}

fn file_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_packaged_comes_back() {
    let folder = Folder::new("all");
    let source = checkpoint(&folder.0);
    let weight = format!("{TRUNK}.mlp.fc1.weight");
    let exact = values(&source, &weight);
    for (name, precision, dtype, tolerance) in [
        ("a.pth", Precision::None, Dtype::F32, 0.0),
        ("b.pth", Precision::Fp16, Dtype::F16, 1e-3),
        ("c.safetensors", Precision::Bf16, Dtype::BF16, 8e-3),
        ("d.pth", Precision::Int8, Dtype::I8, f32::MAX),
        ("e.safetensors", Precision::Int8, Dtype::I8, f32::MAX),
    ] {
        let mut options = Options::new(folder.0.join(name), precision);
        options.archive = Some(if name < "c" {
            Compression::Gzip
        } else {
            Compression::Zstd
        });
        let report = write(&source, &options, &()).unwrap();
        let [package, metadata, archive] = [0, 1, 2].map(|i| report.files[i].0.clone());
        for (path, bytes) in &report.files {
            assert_eq!(fs::metadata(path).unwrap().len(), *bytes, "{}", path.display());
        }

        let opened = StateDict::open(&package).unwrap();
        let at = opened.position(&weight).unwrap();
        assert_eq!(opened.info(at).dtype, dtype, "{name}");
        if precision != Precision::Int8 {
            let found = values(&opened, &weight);
            let apart = exact.iter().zip(&found).map(|(a, b)| (a - b).abs());
            assert!(apart.fold(0.0, f32::max) <= tolerance, "{name}");
        }
        for exactly in [format!("{TRUNK}.mlp.fc1.bias"), "tracker.no_mem_embed".to_owned()] {
            assert_eq!(
                values(&opened, &exactly),
                values(&source, &exactly),
                "{name}: {exactly}"
            );
        }

        // What the metadata says, counted here: int8 adds a scale a row.
        let (elements, scales) = (130 * 128 + 15 + 130 + 7, if dtype == Dtype::I8 { 130 } else { 0 });
        let small = if dtype == Dtype::F32 { 4 } else { 2 };
        let bytes = 130 * 128 * dtype.size() + 15 * small + (130 + 7 + scales) * 4;
        let total = report.metadata.total;
        let tensors = if scales > 0 { 5 } else { 4 };
        assert_eq!(
            (total.tensors, total.elements, total.bytes),
            (tensors, (elements + scales) as u64, bytes as u64)
        );
        assert_eq!(report.metadata.components["tracker"].elements, 7);
        assert_eq!(
            report.metadata.dtypes["F32"].bytes,
            if dtype == Dtype::F32 { bytes } else { (137 + scales) * 4 } as u64
        );
        assert_eq!(fs::read(&metadata).unwrap(), opened.metadata_json().unwrap());

        for path in [&package, &archive] {
            let verified = verify(path, &()).unwrap();
            assert_eq!(
                (verified.tensors, verified.bytes),
                (total.tensors, total.bytes),
                "{}",
                path.display()
            );
            assert!(verified.beside.is_some(), "{}", path.display());
        }
        let inside = contents(&archive).unwrap();
        assert_eq!((&inside.metadata, inside.extras.len()), (&report.metadata, 0));

        let out = folder.0.join("out");
        let unpacked = unpack(&archive, &out, false, &()).unwrap();
        assert_eq!(unpacked.files.len(), 2);
        for path in [&package, &metadata] {
            let copy = out.join(path.file_name().unwrap());
            assert_eq!(fs::read(copy).unwrap(), fs::read(path).unwrap(), "{}", path.display());
        }
        let again = unpack(&archive, &out, false, &()).unwrap_err();
        assert!(matches!(again, Error::Exists { .. }), "{again}");
        fs::remove_dir_all(out).unwrap();
    }
}

#[test]
fn parts_are_joined_and_a_missing_or_damaged_one_is_named() {
    let folder = Folder::new("parts");
    let source = checkpoint(&folder.0);
    let mut options = Options::new(folder.0.join("x.pth"), Precision::None);
    options.split = Some(10_000);
    let report = write(&source, &options, &()).unwrap();
    let parts: Vec<&Path> = report.files[2..].iter().map(|file| file.0.as_path()).collect();
    assert!(parts.len() > 4, "{parts:?}");
    let names: Vec<String> = (0..parts.len() - 1).map(|i| format!("x.tar.gz.{i:03}")).collect();
    let list = "x.tar.gz.sha256".to_owned();
    assert_eq!(
        parts
            .iter()
            .map(|part| part.file_name().unwrap().to_str().unwrap())
            .collect::<Vec<_>>(),
        names.iter().chain([&list]).map(String::as_str).collect::<Vec<_>>()
    );
    for named in [parts[0], parts[2], parts[parts.len() - 1], &folder.0.join("x.tar.gz")] {
        assert_eq!(verify(named, &()).unwrap().tensors, 4, "{}", named.display());
    }
    // Counted from 1, as 7-Zip does it, and without our list.
    let other = folder.0.join("other");
    fs::create_dir(&other).unwrap();
    for (i, name) in names.iter().enumerate() {
        fs::copy(folder.0.join(name), other.join(format!("x.tar.gz.{:03}", i + 1))).unwrap();
    }
    assert_eq!(verify(&other.join("x.tar.gz.001"), &()).unwrap().tensors, 4);

    let whole = fs::read(parts[2]).unwrap();
    let mut damaged = whole.clone();
    damaged[5_000] ^= 1;
    fs::write(parts[2], damaged).unwrap();
    let error = verify(parts[0], &()).unwrap_err().to_string();
    assert!(error.contains("x.tar.gz.002"), "{error}");
    fs::remove_file(parts[2]).unwrap();
    let error = verify(parts[0], &()).unwrap_err();
    let count = parts.len() - 1;
    assert!(
        matches!(error, Error::MissingPart { number: 3, count: found, .. } if found == count),
        "{error}"
    );
}

/// One bit anywhere in a package's tensors, and the tensor is named.
#[test]
fn damage_is_found_where_it_is() {
    let folder = Folder::new("damage");
    let source = checkpoint(&folder.0);
    for name in ["x.pth", "y.safetensors"] {
        let mut options = Options::new(folder.0.join(name), Precision::None);
        options.archive = None;
        let package = write(&source, &options, &()).unwrap().files[0].0.clone();
        let whole = fs::read(&package).unwrap();
        let bias: Vec<u8> = values(&source, "tracker.no_mem_embed")
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let at = whole.windows(bias.len()).position(|window| window == bias);
        let at = at.expect("it is in the package");
        let mut damaged = whole;
        damaged[at] ^= 1;
        fs::write(&package, damaged).unwrap();
        let error = verify(&package, &()).unwrap_err();
        let Error::Mismatch { mismatches, .. } = &error else {
            panic!("{name}: {error}");
        };
        assert!(
            mismatches.len() == 1 && mismatches[0].contains("tracker.no_mem_embed"),
            "{name}: {error}"
        );
    }
}

#[test]
fn parts_of_the_model_are_left_out() {
    let folder = Folder::new("components");
    let source = checkpoint(&folder.0);
    for (components, names) in [(Components::All, 4), (Components::Image, 3), (Components::Click, 4)] {
        let mut options = Options::new(folder.0.join(format!("{names}{components:?}.pth")), Precision::None);
        options.components = components;
        options.archive = None;
        let report = write(&source, &options, &()).unwrap();
        assert_eq!(report.metadata.tensors.len(), names, "{components:?}");
    }
}

/// The smallest program for aarch64 Linux: an ELF header and one segment that is all of it.
fn program() -> Vec<u8> {
    let mut program = vec![0; 120];
    program[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    program[16] = 3;
    program[18] = 183;
    (program[32], program[54], program[56]) = (64, 56, 1);
    program[64 + 32] = 120;
    program
}

#[test]
fn a_program_travels_along_under_a_list_of_digests() {
    let folder = Folder::new("extras");
    let source = checkpoint(&folder.0);
    let mut options = Options::new(folder.0.join("x.pth"), Precision::None);
    options.extras = vec![
        (Extra::Program, Arc::from(program())),
        (Extra::WeightsLicense, Arc::from(&b"the licence\n"[..])),
    ];
    let archive = write(&source, &options, &()).unwrap().files[2].0.clone();
    let verified = verify(&archive, &()).unwrap();
    let extras: Vec<_> = verified
        .extras
        .iter()
        .map(|extra| (extra.path.to_str().unwrap(), extra.bytes))
        .collect();
    assert_eq!(extras[..2], [("sam3", 120), ("LICENSE-weights.txt", 12)]);
    assert_eq!(extras[2].0, "SHA256SUMS");
    assert_eq!(verified.extras[0].machine, Some(Machine::Aarch64));
    assert_eq!(contents(&archive).unwrap().extras.len(), 3);
    let out = folder.0.join("out");
    unpack(&archive, &out, false, &()).unwrap();
    assert_eq!(
        file_names(&out),
        ["LICENSE-weights.txt", "SHA256SUMS", "sam3", "x.pth", "x_metadata.json"]
    );
    assert_eq!(fs::read(out.join("sam3")).unwrap(), program());
}
