//! What a file is that is no picture sam3 reads, by its content, and what to do with it.

use super::tiff;

const READ: &str = "expected a JPEG, PNG, WebP, BMP, GIF or TIFF picture";

/// Why these bytes, which no decoder here reads, are no picture.
pub fn reason(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return format!("{READ}, found an empty file; copy it again");
    }
    let found = by_start(bytes)
        .or_else(|| of_text(bytes))
        .or_else(|| by_box(bytes))
        .or_else(|| of_archive(bytes));
    match found {
        Some(found) => format!("{READ}, found {found}"),
        None if bytes.iter().all(|&byte| byte == 0) => format!("{READ}, found nothing but zeros; copy it again"),
        None => {
            format!("{READ}, found none of these; if it is a picture, convert it, for example: magick FILE out.png")
        }
    }
}

/// Whether a file that begins so is a video.
pub fn is_video(start: &[u8]) -> bool {
    by_start(start).or_else(|| by_box(start)) == Some(VIDEO)
}

const HEIC: &str = "HEIC, the format of iPhones; convert it: heif-convert FILE out.jpg";
const AVIF: &str = "AVIF; convert it: avifdec FILE out.png";
const JXL: &str = "JPEG XL; convert it: djxl FILE out.png";
const JPEG_2000: &str = "JPEG 2000; convert it: opj_decompress -i FILE -o out.png";
const VIDEO: &str = "a video; take a frame of it: ffmpeg -i FILE -frames:v 1 out.png";

/// Formats with a signature where they begin.
fn by_start(bytes: &[u8]) -> Option<&'static str> {
    const STARTS: [(&[u8], &str); 32] = [
        (b"\0\0\0\x0cJXL \r\n\x87\n", JXL),
        (b"\xff\x0a", JXL),
        (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG_2000),
        (b"\xff\x4f\xff\x51", JPEG_2000),
        (b"\x1a\x45\xdf\xa3", VIDEO), // Matroska and WebM
        (b"\0\0\x01\xba", VIDEO),     // MPEG
        (b"\0\0\x01\xb3", VIDEO),
        (b"OggS", VIDEO),
        (b"FLV\x01", VIDEO),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", VIDEO), // Windows Media
        (b"DKIF", VIDEO),                             // AV1 and VP9 alone
        (b"YUV4MPEG2", VIDEO),
        (b"IIRO", tiff::RAW), // Olympus
        (b"IIRS", tiff::RAW),
        (b"IIU\0", tiff::RAW), // Panasonic
        (b"FUJIFILMCCD-RAW", tiff::RAW),
        (b"FOVb", tiff::RAW),                 // Sigma
        (b"\0MRM", tiff::RAW),                // Minolta
        (b"II\x1a\0\0\0HEAPCCDR", tiff::RAW), // Canon
        (b"%PDF", "a PDF; make pictures of its pages: pdftoppm -png FILE out"),
        (b"8BPS", "a Photoshop file; convert it: magick 'FILE[0]' out.png"),
        (b"gimp xcf", "a GIMP file; convert it: magick FILE -flatten out.png"),
        (b"v/1\x01", "OpenEXR; convert it: magick FILE out.png"),
        (b"#?RADIANCE", "Radiance HDR; convert it: magick FILE out.png"),
        (b"qoif", "QOI; convert it: magick FILE out.png"),
        (b"DDS ", "a DirectDraw texture; convert it: magick FILE out.png"),
        (b"\0\0\x01\0", "a Windows icon; convert it: magick 'FILE[0]' out.png"),
        (
            b"%!PS",
            "PostScript; make pictures of its pages: magick -density 150 FILE out.png",
        ),
        (
            b"\x93NUMPY",
            "a NumPy array; write it as a picture: Image.fromarray(np.load(FILE)).save(\"out.png\")",
        ),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file; write the picture in it as a PNG"),
        (b"SIMPLE  =", "a FITS file; convert it: magick FILE out.png"),
        (
            b"PK\x03\x04",
            "a zip archive or a PyTorch checkpoint; neither is a picture: unpack the one, take the other as the model",
        ),
    ];
    let found = STARTS
        .iter()
        .find(|(start, _)| bytes.starts_with(start))
        .map(|(_, found)| *found);
    found.or_else(|| match bytes {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => Some(VIDEO),
        // H.264 and H.265 alone begin by a unit of parameters.
        [0, 0, 0, 1, 0x67 | 0x27 | 0x40 | 0x09, ..] => Some(VIDEO),
        // The packets of an MPEG transport stream.
        [0x47, ..] if bytes.get(188) == Some(&0x47) => Some(VIDEO),
        [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n', ..] => {
            Some("a PBM, PGM or PPM; convert it: magick FILE out.png")
        }
        _ if bytes.get(128..132) == Some(b"DICM") => Some("DICOM; convert it: dcmj2pnm +on FILE out.png"),
        _ => None,
    })
}

/// Formats that consist of boxes, as MP4 does: the first says which.
fn by_box(bytes: &[u8]) -> Option<&'static str> {
    match bytes.get(4..8)? {
        b"ftyp" => {}
        b"moov" | b"mdat" | b"wide" | b"free" | b"skip" => return Some(VIDEO),
        _ => return None,
    }
    let length = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    let brands = bytes.get(8..length.min(bytes.len()))?.as_chunks::<4>().0;
    let any = |names: &[&[u8; 4]]| brands.iter().any(|brand| names.contains(&brand));
    Some(if any(&[b"crx "]) {
        tiff::RAW
    } else if any(&[b"avif", b"avis"]) {
        AVIF
    } else if any(&[b"jxl "]) {
        JXL
    } else if any(&[b"jp2 ", b"jpx "]) {
        JPEG_2000
    } else if any(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"]) {
        HEIC
    } else {
        VIDEO
    })
}

/// Text: mostly the answer of a server instead of the file that was asked for.
fn of_text(bytes: &[u8]) -> Option<&'static str> {
    let start = &bytes[..bytes.len().min(1024)];
    let start = start
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(start)
        .trim_ascii_start()
        .to_ascii_lowercase();
    let has = |word: &[u8]| start.windows(word.len()).any(|part| part == word);
    if start.starts_with(b"version https://git-lfs") {
        Some("a pointer of git-lfs in place of the file; fetch it: git lfs pull")
    } else if start.starts_with(b"<") && has(b"<svg") {
        Some("an SVG drawing; make pixels of it: rsvg-convert FILE -o out.png")
    } else if start.starts_with(b"<") && (has(b"<!doctype html") || has(b"<html") || has(b"<head") || has(b"<body")) {
        Some("a web page, such as a login or an error in place of the download; download the file itself")
    } else if start.starts_with(b"<?xml") || start.starts_with(b"<error") {
        Some("XML, which may be a server's error in place of the download; download the file itself")
    } else if start.starts_with(b"{") || start.starts_with(b"[") {
        Some("JSON, which may be a server's error in place of the download; download the file itself")
    } else {
        let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace() || *byte >= 0x80;
        // The last letter may be cut off with the rest.
        let is_utf8 = std::str::from_utf8(&start).map_or_else(|error| error.error_len().is_none(), |_| true);
        let text = !start.is_empty() && is_utf8 && start.iter().all(is_text);
        text.then_some("text; download or copy the picture itself")
    }
}

/// Checkpoints and archives.
fn of_archive(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [_, _, _, _, _, _, 0, 0, b'{', ..] => Some("a safetensors checkpoint, which is a model and no picture"),
        [0x1f, 0x8b, ..]
        | [0x28, 0xb5, 0x2f, 0xfd, ..]
        | [b'7', b'z', 0xbc, 0xaf, ..]
        | [b'R', b'a', b'r', b'!', ..]
        | [0xfd, b'7', b'z', b'X', b'Z', 0, ..]
        | [b'B', b'Z', b'h', ..]
        | [0x04, 0x22, 0x4d, 0x18, ..]
        | [b'L', b'Z', b'I', b'P', ..] => Some("an archive; unpack it, and give the pictures in it"),
        _ if bytes.get(257..262) == Some(b"ustar") => Some("a tar archive; unpack it, and give the pictures in it"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::image::Image;

    #[test]
    fn each_is_named_with_the_next_step() {
        let cases: [(&[u8], &str); 45] = [
            (b"", "an empty file; copy it again"),
            (&[0; 64], "nothing but zeros; copy it again"),
            (b"\x05\x06\x07\x08", "found none of these; if it is a picture"),
            (b"hello, I am no image at all", "text; download or copy"),
            (b"The free world", "text; "),
            (b"BM is how this text begins, and it is long", "text; "),
            (b"<!DOCTYPE html><html><title>Sign in", "a web page"),
            (b"\xef\xbb\xbf \n<HTML lang=\"en\">", "a web page"),
            (b"<!-- x --><html>", "a web page"),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied", "XML, which may be"),
            (b"{\"error\": \"Repository not found\"}", "JSON, which may be"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:",
                "git lfs pull",
            ),
            (b"<svg xmlns=\"http://www.w3.org/2000/svg\">", "rsvg-convert"),
            (b"<?xml version=\"1.0\"?>\n<!-- x --><svg>", "rsvg-convert"),
            (b"%PDF-1.7", "pdftoppm"),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heif-convert"),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heif-convert"),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "avifdec"),
            (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "avifdec"),
            (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "a camera's raw file"),
            (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "ffmpeg"),
            (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "ffmpeg"),
            (b"\0\0\0\x08wide\0\0\0\x10mdat", "ffmpeg"),
            (b"\x1a\x45\xdf\xa3\x01\0\0\0", "ffmpeg"),
            (b"RIFF\x10\0\0\0AVI LIST", "ffmpeg"),
            (b"YUV4MPEG2 W16 H16\n", "ffmpeg"),
            (b"\0\0\0\x01\x67\x64\0\x1f", "ffmpeg"),
            (&[0x47; 200], "ffmpeg"),
            (b"DKIF\0\0 \0AV01", "ffmpeg"),
            (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9", "ffmpeg"),
            (b"\xff\x0a\xfa\x1f", "djxl"),
            (b"\0\0\0\x0cJXL \r\n\x87\n", "djxl"),
            (b"\0\0\0\x0cjP  \r\n\x87\n", "opj_decompress"),
            (b"\xff\x4f\xff\x51\0\x2f", "opj_decompress"),
            (
                b"II*\0\x10\0\0\0CR\x02\0\0\0\0\0\0\0\0\0\0\0\0\0",
                "a camera's raw file",
            ),
            (b"IIU\0\x18\0\0\0", "a camera's raw file"),
            (b"FUJIFILMCCD-RAW 0201", "a camera's raw file"),
            (b"P6\n2 2\n255\n", "PBM, PGM or PPM"),
            (b"8BPS\0\x01", "Photoshop"),
            (b"\x93NUMPY\x01\0", "NumPy"),
            (b"PK\x03\x04\0\0", "a PyTorch checkpoint"),
            (b"\x08\0\0\0\0\0\0\0{\"a\":{}}", "a safetensors checkpoint"),
            (b"\x1f\x8b\x08\0", "an archive"),
            (b"\x28\xb5\x2f\xfd", "an archive"),
            (b"\xfd7zXZ\0", "an archive"),
        ];
        for (bytes, expected) in cases {
            let error = Image::decode_named(bytes, "stdin").unwrap_err().to_string();
            assert!(
                error.starts_with("stdin: expected a") && error.contains(expected),
                "{error}"
            );
        }
    }
}
