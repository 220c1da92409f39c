//! Files made to swell: none may take more memory than its size and 64 MB, nor much time, whatever it claims.
//!
//! One test, as the peak is that of the process.

#![cfg(target_os = "linux")]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use sam3_package::{
    Precision, StateDict, contents,
    package::{Options, draft},
    unpack, verify,
};

/// What an input may cost beyond its own size.
const MEMORY: u64 = 64 << 20;
/// Unoptimised, on a busy machine.
const TIME: Duration = Duration::from_secs(60);

#[test]
fn nothing_swells() {
    let folder = std::env::temp_dir().join(format!("sam3-memory-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    // What is loaded once is no input's.
    check(&folder.join("warm.tar.gz"), &tar_gz(&[("x.pth", b"x")]), &["x.pth"]);

    let zeros = format!("[0{}]", ",0".repeat(1_900_000));
    let objects = format!(r#"[{{"a":0}}{}]"#, r#",{"a":0}"#.repeat(400_000));
    let records = format!(
        "[{}{{}}]",
        r#"{"name":"","dtype":"","shape":[],"sha256":""},"#.repeat(80_000)
    );
    let texts = format!(r#"[""{}]"#, r#","""#.repeat(1_300_000));
    let huge = " ".repeat(100 << 20);
    for (name, metadata, words) in [
        ("config", described("config", &zeros), "values; at most"),
        ("objects", described("config", &objects), "values; at most"),
        (
            "small objects",
            described("config", &objects[..objects.len() / 2]),
            "values; at most",
        ),
        ("records", described("tensors", &records), "values; at most"),
        ("prompts", described("baked_prompts", &texts), "values; at most"),
        ("blank", described("config", &huge), "bytes; at most"),
    ] {
        let zip = pth(&[
            ("data.pkl", PICKLE),
            ("data/0", &[0; 4]),
            ("sam3_metadata.json", metadata.as_bytes()),
        ]);
        check(&folder.join(format!("{name}.pth")), &zip, &[words]);
        let words = if metadata.len() > 4 << 20 { "claims" } else { "" };
        let archive = tar_gz(&[("x_metadata.json", metadata.as_bytes()), ("x.pth", &zip)]);
        check(&folder.join(format!("{name}.tar.gz")), &archive, &[words]);
        let archive = tar_gz(&[("x.pth", &zip)]);
        check(&folder.join(format!("{name} inside.tar.gz")), &archive, &[]);
        let text = serde_json::to_string(&metadata).unwrap();
        let header = format!(r#"{{"__metadata__":{{"sam3_metadata":{text}}}}}"#);
        check(&folder.join(format!("{name}.safetensors")), &safetensors(&header), &[]);
        let archive = tar_gz(&[("x.safetensors", &safetensors(&header))]);
        check(
            &folder.join(format!("{name} safetensors.tar.gz")),
            &archive,
            &["x.safetensors"],
        );
    }

    for (name, header) in [
        ("list", format!(r#"{{"a":{zeros}}}"#)),
        ("names", format!(r#"{{"a":{}}}"#, "[".repeat(11 << 20))),
        (
            "dtype",
            format!(
                r#"{{"a":{{"dtype":"{}","shape":[],"data_offsets":[0,4]}}}}"#,
                "F".repeat(11 << 20)
            ),
        ),
        ("long", format!(r#"{{"a":{}}}"#, " ".repeat(60 << 20))),
    ] {
        check(
            &folder.join(format!("{name}.safetensors")),
            &safetensors(&header),
            &["header"],
        );
        let archive = tar_gz(&[("x.safetensors", &safetensors(&header))]);
        check(&folder.join(format!("{name}.tar.gz")), &archive, &["x.safetensors"]);
    }

    // A page around each of many small tensors, a directory of nothing, pickles that make much of little.
    let body = [0; 8192];
    let records: Vec<(String, &[u8])> = (0..20_000)
        .map(|number| (format!("data/{number}"), &body[..]))
        .collect();
    let mut entries = vec![("data.pkl", PICKLE)];
    entries.extend(records.iter().map(|(name, body)| (name.as_str(), *body)));
    let promise = described("total", r#"{"tensors":1,"elements":1,"bytes":9000000000}"#);
    let pages = tar_gz(&[("x_metadata.json", promise.as_bytes()), ("x.pth", &pth(&entries))]);
    check(&folder.join("pages.tar.gz"), &pages, &["x.pth", "beside its tensors"]);
    for (name, op) in [
        ("dicts", &b"}NNs"[..]),
        ("dropped dicts", b"}NNs0"),
        ("lists", b"]Na"),
        ("tuples", b")\x85"),
        ("memo", b"N\x94"),
        ("marks", b"("),
    ] {
        let pickle = [b"\x80\x04", &op.repeat(2_000_000)[..], b"."].concat();
        let zip = pth(&[("data.pkl", &pickle), ("data/0", &[0; 4])]);
        check(&folder.join(format!("{name}.pth")), &zip, &["pickle"]);
        check(
            &folder.join(format!("{name}.tar.gz")),
            &tar_gz(&[("x.pth", &zip)]),
            &["x.pth"],
        );
    }

    // Many of what one may have, and more heads than anybody needs.
    let some = " ".repeat(3 << 20);
    let names: Vec<String> = (0..40).map(|number| format!("x{number}_metadata.json")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), some.as_bytes())).collect();
    check(
        &folder.join("many.tar.gz"),
        &tar_gz(&many),
        &["x1_metadata.json", "does not belong"],
    );
    for (kind, words) in [(b'5', "files and folders"), (b'g', "extensions")] {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        let heads = head("d", kind, 0).repeat(2000);
        (0..50).for_each(|_| gzip.write_all(&heads).unwrap());
        check(&folder.join("heads.tar.gz"), &gzip.finish().unwrap(), &[words]);
    }
    let promise = described("total", r#"{"tensors":1,"elements":1,"bytes":9000000000000000000}"#);
    let mut tar = entry("x_metadata.json", promise.as_bytes());
    tar.extend(head("x.pth", b'0', 1 << 60));
    check(&folder.join("claim.tar.gz"), &gzip(&tar), &["x.pth", "claims"]);
    packaging_lets_go(&folder);
    fs::remove_dir_all(folder).unwrap();
}

/// A tensor that is written counts as this process's memory no longer: packages are made of files larger than it.
fn packaging_lets_go(folder: &Path) {
    let (path, count, length) = (folder.join("large.safetensors"), 48, 4 << 20);
    let entry = |i: usize| {
        let (begin, end) = (i * length, (i + 1) * length);
        format!(r#""detector.t{i}.weight":{{"dtype":"F32","shape":[1024,1024],"data_offsets":[{begin},{end}]}}"#)
    };
    let header = format!("{{{}}}", (0..count).map(entry).collect::<Vec<_>>().join(","));
    let bytes = safetensors(&header);
    fs::write(&path, &bytes).unwrap();
    // The rest is a hole, which reads as zeros.
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len((bytes.len() + count * length) as u64).unwrap();
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS");
    let source = StateDict::open(&path).unwrap();
    let options = Options::new(folder.join("large.pth"), Precision::Fp16);
    drop(draft(&source, &options, &()).unwrap());
    let extra = memory("VmHWM").saturating_sub(before);
    assert!(extra <= MEMORY, "packaging {} bytes took {extra}", count * length);
}

/// Reads it in every way there is; each has to fail, one of them with these words.
fn check(path: &Path, bytes: &[u8], words: &[&str]) {
    fs::write(path, bytes).unwrap();
    let out: PathBuf = path.with_extension("out");
    let ways: [(&str, &dyn Fn() -> Option<String>); 4] = [
        ("open", &|| StateDict::open(path).err().map(|error| error.to_string())),
        ("verify", &|| verify(path, &()).err().map(|error| error.to_string())),
        ("contents", &|| contents(path).err().map(|error| error.to_string())),
        ("unpack", &|| {
            unpack(path, &out, true, &()).err().map(|error| error.to_string())
        }),
    ];
    let mut said = Vec::new();
    for (way, run) in ways {
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let (before, start) = (memory("VmRSS"), Instant::now());
        let error = run();
        let extra = memory("VmHWM").saturating_sub(before);
        let limit = MEMORY + bytes.len() as u64;
        assert!(
            extra <= limit,
            "{way} {}: {extra} bytes of memory, {error:?}",
            path.display()
        );
        assert!(
            start.elapsed() < TIME,
            "{way} {}: {:?}",
            path.display(),
            start.elapsed()
        );
        eprintln!(
            "{way} {}: {} kB, {:?}, {error:?}",
            path.file_name().unwrap().display(),
            extra >> 10,
            start.elapsed()
        );
        said.extend(error);
    }
    let said = said.join("\n");
    for word in words {
        assert!(said.contains(word), "{}: expected {word:?} in {said}", path.display());
    }
    fs::remove_file(path).unwrap();
    let _ = fs::remove_dir_all(out);
}

/// Bytes of this process, now or at the most since that was reset.
fn memory(what: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    digits.parse::<u64>().unwrap() << 10
}

/// `{"w": tensor}` over storage 0 of one float.
const PICKLE: &[u8] =
    b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n\
    X\x01\0\0\x000X\x03\0\0\0cpuK\x01tQK\0K\x01\x85K\x01\x85\x89}tRs.";

/// Metadata of a package but for one field.
fn described(field: &str, value: &str) -> String {
    let tally = r#"{"tensors":1,"elements":1,"bytes":4}"#;
    let source = r#"{"file":"","bytes":0,"sha256":"","published":"custom","repo":null,"revision":null}"#;
    let mut fields = vec![
        ("format", r#""sam3-package""#),
        ("format_version", "1"),
        ("tool", r#""""#),
        ("tool_version", r#""""#),
        ("created", r#""""#),
        ("license", r#""""#),
        ("source", source),
        (
            "quantization",
            r#"{"scheme":"none","description":"","changed":0,"worst":[]}"#,
        ),
        ("total", tally),
        ("dtypes", "{}"),
        ("components", "{}"),
        ("tensors", "[]"),
    ];
    fields.retain(|(name, _)| *name != field);
    fields.push((field, value));
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn safetensors(header: &str) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
}

/// A zip of stored records in the folder `x`, sizes in the local headers.
fn pth(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let (name, length) = (format!("x/{name}"), (data.len() as u32).to_le_bytes());
        let mut common = vec![0; 14];
        common.splice(10.., crc32fast::hash(data).to_le_bytes());
        common.extend([length, length].concat());
        common.extend((name.len() as u16).to_le_bytes());
        directory.extend(b"PK\x01\x02\0\0");
        directory.extend(&common);
        directory.extend([0; 12]);
        directory.extend((out.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(common);
        out.extend([0; 2]);
        out.extend(name.as_bytes());
        out.extend(*data);
    }
    let (at, count) = (out.len() as u32, (entries.len() as u16).to_le_bytes());
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count, count].concat());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0; 2]);
    out
}

fn head(name: &str, kind: u8, size: u64) -> [u8; 512] {
    let mut head = [0u8; 512];
    head[..name.len()].copy_from_slice(name.as_bytes());
    head[124] = 0x80;
    head[128..136].copy_from_slice(&size.to_be_bytes());
    head[156] = kind;
    head[148..156].fill(b' ');
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    head
}

fn entry(name: &str, data: &[u8]) -> Vec<u8> {
    let mut out = head(name, b'0', data.len() as u64).to_vec();
    out.extend(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(tar).unwrap();
    gzip.finish().unwrap()
}

fn tar_gz(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar: Vec<u8> = entries.iter().flat_map(|(name, data)| entry(name, data)).collect();
    tar.resize(tar.len() + 1024, 0);
    gzip(&tar)
}
