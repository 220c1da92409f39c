//! Kinds of file that people name where a checkpoint or an archive belongs, told by their first bytes.

use std::path::Path;

use crate::Error;

/// A file of another kind: what it is, and the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// With its article: "a JPEG picture".
    pub what: &'static str,
    /// What to do about it.
    pub next: &'static str,
}

impl Foreign {
    /// Refuses the file.
    pub fn error(self, path: &Path) -> Error {
        Error::AnotherKind {
            path: path.to_owned(),
            what: self.what,
            next: self.next,
        }
    }
}

const MODEL: &str = "SAM 3 is read from PyTorch files (.pt, .pth) and safetensors: get sam3.pt or model.safetensors";
const MEDIA: &str = "a checkpoint, a package or an archive of one is expected here";
const UNPACK: &str = "unpack it with its own program, and name the file in it";
const DOWNLOAD: &str = "the download needs a login or another address";

/// Where a signature begins, its bytes, what it means, the next step.
#[rustfmt::skip]
const SIGNATURES: [(usize, &[u8], &str, &str); 38] = [
    (0, b"version https://git-lfs", "a git-lfs pointer, not the file itself", "run git lfs pull"),
    (0, b"GGUF", "a GGUF model", MODEL),
    (0, b"ftrt", "a TensorRT engine", MODEL),
    (0, b"ptrt", "a TensorRT engine", MODEL),
    (4, b"ORTM", "an ONNX Runtime model", MODEL),
    (4, b"TFL3", "a TensorFlow Lite model", MODEL),
    (0, b"\x08\x01\x12", "a TensorFlow model", MODEL),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", MODEL),
    (0, b"\x93NUMPY", "a NumPy array (.npy)", MODEL),
    (0, b"\xff\xd8\xff", "a JPEG picture", MEDIA),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture", MEDIA),
    (0, b"GIF8", "a GIF picture", MEDIA),
    (8, b"WEBP", "a WebP picture", MEDIA),
    (0, b"II*\0", "a TIFF picture", MEDIA),
    (0, b"MM\0*", "a TIFF picture", MEDIA),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture", MEDIA),
    (0, b"\xff\x0a", "a JPEG XL picture", MEDIA),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture", MEDIA),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture", MEDIA),
    (4, b"ftypavi", "an AVIF picture", MEDIA),
    (4, b"ftyphe", "a HEIC picture", MEDIA),
    (4, b"ftypmif1", "a HEIF picture", MEDIA),
    (4, b"ftypmsf1", "a HEIF picture", MEDIA),
    (4, b"ftyp", "a video", MEDIA),
    (8, b"AVI LIST", "a video", MEDIA),
    (0, b"\x1a\x45\xdf\xa3", "a video", MEDIA),
    (0, b"8BPS", "a Photoshop picture", MEDIA),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture", MEDIA),
    (0, b"qoif", "a QOI picture", MEDIA),
    (0, b"%PDF", "a PDF document", MEDIA),
    (0, b"\x7fELF", "a program", MEDIA),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (0, b"BZh", "a bzip2 archive", UNPACK),
    (0, b"\x04\x22\x4d\x18", "an LZ4 archive", UNPACK),
    (0, b"LZIP", "an lzip archive", UNPACK),
    (0, b"\xed\xab\xee\xdb", "an RPM package", UNPACK),
];

/// Names a kind of file that is neither checkpoint, package nor archive of ours; `None` for those and for what is
/// not known. `head` is the beginning of the file: 512 bytes tell every kind.
pub(crate) fn foreign(head: &[u8]) -> Option<Foreign> {
    let known = |(at, magic, ..): &&(usize, &[u8], &str, &str)| head.get(*at..).is_some_and(|h| h.starts_with(magic));
    if let Some(&(_, _, what, next)) = SIGNATURES.iter().find(known) {
        return Some(Foreign { what, next });
    }
    let (what, next) = if is_onnx(head) {
        ("an ONNX model", MODEL)
    } else if is_engine_with_metadata(head) {
        ("a TensorRT engine", MODEL)
    } else if is_bmp(head) {
        ("a BMP picture", MEDIA)
    } else {
        of_text(head)?
    };
    Some(Foreign { what, next })
}

/// A protobuf `ModelProto`: its first field is the IR version, 3 or later, and then comes a field that ONNX has there.
fn is_onnx(head: &[u8]) -> bool {
    let &[0x08, 3..=32, tag, length, ..] = head else {
        return false;
    };
    match tag {
        // producer_name: a short word.
        0x12 => {
            let name = head.get(4..4 + usize::from(length)).unwrap_or(&[]);
            !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic() || *b == b' ')
        }
        // graph, opset_import
        0x3a | 0x42 => true,
        _ => false,
    }
}

/// An engine as Ultralytics writes it: a length in four bytes, that much JSON, the engine.
fn is_engine_with_metadata(head: &[u8]) -> bool {
    let Some((length, rest)) = head.split_first_chunk::<4>() else {
        return false;
    };
    (2..1 << 20).contains(&u32::from_le_bytes(*length)) && rest.starts_with(b"{\"")
}

/// "BM", and a header of one of the sizes that there are.
fn is_bmp(head: &[u8]) -> bool {
    head.starts_with(b"BM")
        && head.get(6..10) == Some(&[0; 4])
        && matches!(head.get(14), Some(12 | 40..=64 | 108 | 124))
}

/// As `sha256sum` writes it: a digest, two characters, a name.
fn is_list_of_digests(text: &[u8]) -> bool {
    let is_digest = |digest: &[u8]| digest.iter().all(u8::is_ascii_hexdigit);
    text.split_at_checked(64)
        .is_some_and(|(digest, rest)| is_digest(digest) && (rest.starts_with(b"  ") || rest.starts_with(b" *")))
}

fn of_text(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    if is_list_of_digests(text) {
        return Some((
            "a list of SHA-256 digests",
            "`sha256sum -c` checks the files that it names",
        ));
    }
    let has = |words: &[u8]| text.windows(words.len()).any(|w| w.eq_ignore_ascii_case(words));
    if !text.starts_with(b"<") {
        return None;
    }
    Some(if has(b"<svg") {
        ("an SVG picture", MEDIA)
    } else if has(b"<net ") {
        ("an OpenVINO model", MODEL)
    } else if has(b"<Error>") {
        ("a server's error message", DOWNLOAD)
    } else {
        ("a web page", DOWNLOAD)
    })
}

#[cfg(test)]
mod tests {
    use super::foreign;

    #[test]
    fn kinds_are_told_by_their_first_bytes() {
        for (head, what) in [
            (&b"<!DOCTYPE html><html>"[..], "a web page"),
            (b"\xef\xbb\xbf\r\n  <HTML>", "a web page"),
            (
                b"<?xml version=\"1.0\"?><Error><Code>AccessDenied",
                "a server's error message",
            ),
            (
                b"<?xml version=\"1.0\"?>\n<net name=\"sam3\" version=\"11\">",
                "an OpenVINO model",
            ),
            (
                b"version https://git-lfs.github.com/spec/v1\noid",
                "a git-lfs pointer, not the file itself",
            ),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
            (b"\0\0\0\x18ftyphevc", "a HEIC picture"),
            (b"\0\0\0\x1cftypavif", "an AVIF picture"),
            (b"\0\0\0\x18ftypmif1", "a HEIF picture"),
            (b"\0\0\0\x20ftypisom", "a video"),
            (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
            (b"\xff\x0a\xfa\x1f", "a JPEG XL picture"),
            (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
            (b"\xff\x4f\xff\x51\0", "a JPEG 2000 picture"),
            (b"\xff\xd8\xff\xe0", "a JPEG picture"),
            (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
            (b"RIFF\0\0\0\0WEBPVP8 ", "a WebP picture"),
            (b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "a BMP picture"),
            (b"GGUF\x03\0\0\0", "a GGUF model"),
            (b"\x08\x08\x12\x07pytorch\x1a\x052.3.1", "an ONNX model"),
            (b"\x08\x0a\x3a\xd3\x01", "an ONNX model"),
            (b"ftrt\0\0\0\0", "a TensorRT engine"),
            (b"\x20\x01\0\0{\"description\": \"YOLO\"", "a TensorRT engine"),
            (b"\x1c\0\0\0TFL3", "a TensorFlow Lite model"),
            (b"\x08\x01\x12\xab\xcd", "a TensorFlow model"),
            (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
            (b"\x93NUMPY\x01\0", "a NumPy array (.npy)"),
            (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
            (
                b"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae  x.tar.gz\n",
                "a list of SHA-256 digests",
            ),
        ] {
            let found = foreign(head).unwrap_or_else(|| panic!("expected {what} for {head:?}"));
            assert_eq!(found.what, what, "{head:?}");
            assert!(!found.next.is_empty());
        }
    }

    #[test]
    fn what_is_ours_or_unknown_has_no_other_name() {
        for head in [
            &b"PK\x03\x04"[..],
            b"\x1f\x8b\x08\0",
            b"\x28\xb5\x2f\xfd",
            b"\x80\x02}q\0.",
            b"{\"weight_map\": {}}",
            b"\x40\0\0\0\0\0\0\0{\"a\":{}}",
            b"what is this",
            b"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
            b"\x08\x03\x12\x05\0\0\0\0\0",
            b"\x08",
            b"BM",
            b"",
        ] {
            assert_eq!(foreign(head), None, "{head:?}");
        }
    }
}
