//! How `sam3` knows its own results again: `generator` in the JSON, `Software` in a PNG, a comment in a video, the names
//! in raw outputs.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use sam3_model::report::GENERATOR;
use serde::Deserialize;

/// What every version's begins with.
const PROGRAM: &str = "sam3 ";
/// PNG's keyword for the program that made a picture.
const KEYWORD: &[u8] = b"Software\0";
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// The signature and the header, which has to come first: 13 bytes between a length, a name and a checksum.
const HEADER: usize = SIGNATURE.len() + 4 + 4 + 13 + 4;
/// What the comment of a video begins with, before the program's name.
pub const OVERLAY: &str = "overlay by ";
/// What a JPEG of ours begins with: its start, and 18 bytes of JFIF. A comment follows.
const JFIF: usize = 2 + 18;
/// Bytes at a video's start and at its end among which its comment is.
const EDGE: u64 = 1 << 16;
/// No text chunk of ours is longer.
const MAX_TEXT: u32 = 100;

/// A PNG's bytes with the program's name in a text chunk behind the header.
pub fn png(mut png: Vec<u8>) -> Vec<u8> {
    let mut chunk = b"tEXt".to_vec();
    chunk.extend(KEYWORD);
    chunk.extend(GENERATOR.as_bytes());
    let length = (chunk.len() - 4) as u32;
    let checksum = crc32fast::hash(&chunk);
    let framed = [&length.to_be_bytes()[..], &chunk, &checksum.to_be_bytes()].concat();
    png.splice(HEADER..HEADER, framed);
    png
}

/// A JPEG's bytes with the program's name in a comment.
pub fn jpeg(mut jpeg: Vec<u8>) -> Vec<u8> {
    let length = (GENERATOR.len() as u16 + 2).to_be_bytes();
    let comment = [b"\xff\xfe", &length[..], GENERATOR.as_bytes()].concat();
    jpeg.splice(JFIF..JFIF, comment);
    jpeg
}

/// Whether a file may be replaced by what `sam3` writes: it is a result of some version, or empty.
///
/// An empty file is what a power cut leaves of a result, and has nothing to lose.
pub fn is_ours(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
        || is_stamped(path)
}

/// Whether a file is a result of some version of this program; false where it cannot be read.
pub fn is_stamped(path: &Path) -> bool {
    if !path.is_file() {
        return false;
    }
    let Ok(file) = File::open(path) else {
        return false;
    };
    let mut file = BufReader::new(file);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => holds_raw_outputs(&mut file).unwrap_or(false),
        Some("mp4" | "m4v" | "mkv") => is_stamped_video(&mut file).unwrap_or(false),
        Some("mjpeg" | "mjpg") => {
            let start = file.fill_buf().unwrap_or_default().get(JFIF..);
            start.is_some_and(|start| {
                start.starts_with(b"\xff\xfe")
                    && start.get(4..).is_some_and(|text| text.starts_with(PROGRAM.as_bytes()))
            })
        }
        _ if file.fill_buf().is_ok_and(|start| start.starts_with(SIGNATURE)) => {
            is_stamped_png(&mut file).unwrap_or(false)
        }
        _ => is_stamped_json(file),
    }
}

/// The stamp stands first in what `sam3` writes: one that is cut is known, too. Others' tools may put it elsewhere.
fn is_stamped_json(mut json: impl Read) -> bool {
    #[derive(Deserialize)]
    struct Stamp {
        generator: String,
    }
    let mut start = Vec::new();
    if json.by_ref().take(64).read_to_end(&mut start).is_err() {
        return false;
    }
    let words = [b"{".as_slice(), b"\"generator\"", b":", b"\"", PROGRAM.as_bytes()];
    let after = words
        .iter()
        .try_fold(&start[..], |rest, word| rest.trim_ascii_start().strip_prefix(*word));
    after.is_some()
        || serde_json::from_reader(start.chain(json)).is_ok_and(|stamp: Stamp| stamp.generator.starts_with(PROGRAM))
}

/// Whether a PNG is a result of this program that was written to its end.
pub fn is_whole_png(path: &Path) -> bool {
    const END: &[u8] = b"IEND\xaeB`\x82";
    let end = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::End(-(END.len() as i64)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(end)
    });
    end.is_ok_and(|end| end == END) && is_stamped(path)
}

/// MPEG-4 has its comment at the end, Matroska at the start.
fn is_stamped_video(file: &mut (impl Read + Seek)) -> io::Result<bool> {
    let words = [OVERLAY, PROGRAM].concat();
    let length = file.seek(SeekFrom::End(0))?;
    for start in [0, length.saturating_sub(EDGE)] {
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.by_ref().take(EDGE).read_to_end(&mut bytes)?;
        if bytes.windows(words.len()).any(|window| window == words.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Looks through the chunks before the pixels.
fn is_stamped_png(png: &mut (impl Read + Seek)) -> io::Result<bool> {
    png.seek(SeekFrom::Start(SIGNATURE.len() as u64))?;
    loop {
        let mut head = [0; 8];
        png.read_exact(&mut head)?;
        let [a, b, c, d, name @ ..] = head;
        let length = u32::from_be_bytes([a, b, c, d]);
        if &name == b"IDAT" {
            return Ok(false);
        }
        if &name == b"tEXt" && length <= MAX_TEXT {
            let mut text = vec![0; length as usize];
            png.read_exact(&mut text)?;
            let ours = text.strip_prefix(KEYWORD);
            if ours.is_some_and(|program| program.starts_with(PROGRAM.as_bytes())) {
                return Ok(true);
            }
            png.seek_relative(4)?;
        } else {
            png.seek_relative(i64::from(length) + 4)?;
        }
    }
}

/// Raw outputs have names that no checkpoint has.
fn holds_raw_outputs(file: &mut impl Read) -> io::Result<bool> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut header = Vec::new();
    file.take(length.min(10_000)).read_to_end(&mut header)?;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&header)?;
    let kinds: [&[&str]; 4] = [
        &["pred_masks", "pred_logits", "presence_logits"],
        &["low_res_masks", "iou_scores", "object_score_logits"],
        &["mask_input", "iou_scores", "object_score_logits"],
        &["low_res_masks", "object_ids"],
    ];
    Ok(kinds
        .iter()
        .any(|names| names.iter().all(|name| header.contains_key(*name))))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sam3_model::masks::Mask;

    use super::*;

    #[test]
    fn own_results_are_known_again_and_others_are_not() {
        let folder = std::env::temp_dir().join(format!("sam3-stamp-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let plain = Mask::new(70, 3).to_png();
        let stamped = png(plain.clone());
        let image = sam3_model::image::Image::decode(&stamped).unwrap();
        assert_eq!(image.width(), 70);
        assert_eq!(
            sam3_model::image::Image::decode(&jpeg(image.to_jpeg(50)))
                .unwrap()
                .width(),
            70
        );
        for (name, bytes, ours) in [
            ("a.png", &stamped[..], true),
            ("a.png", &plain, false),
            ("a.png", &stamped[..HEADER + 3], false),
            ("a.png", b"", true),
            ("a.json", b"{\"generator\": \"sam3 0.1.0\", \"more\": [1]}", true),
            ("a.json", b"{\"generator\": \"labeller\"}", false),
            ("a.json", b"{\n  \"generator\": \"sam3 0.1.0\",\n  \"ima", true),
            ("a.json", b"{\"more\": [1], \"generator\": \"sam3 0.1.0\"}", true),
            ("a.json", b"{\"generator\": \"sam\"", false),
            ("a.json", b"[]", false),
            ("a.json", &stamped, true),
            ("a.mjpeg", &jpeg(image.to_jpeg(50)), true),
            ("a.mjpeg", &image.to_jpeg(50), false),
            ("a.mjpeg", &image.to_jpeg(50)[..23], false),
            (
                "a.mp4",
                &[&[0; 70_000], &b"overlay by sam3 0.1.0"[..], &[0; 90]].concat(),
                true,
            ),
            (
                "a.mkv",
                &[&[0; 90], &b"overlay by sam3 0.1.0"[..], &[0; 70_000]].concat(),
                true,
            ),
            ("a.mkv", &[0; 70_000], false),
            ("a.safetensors", b"\x02\0\0\0\0\0\0\0{}", false),
        ] {
            let path = folder.join(name);
            fs::write(&path, bytes).unwrap();
            assert_eq!(is_ours(&path), ours, "{name}: {}", String::from_utf8_lossy(bytes));
            assert_eq!(is_stamped(&path), ours && !bytes.is_empty());
        }
        for (bytes, whole) in [
            (&stamped[..], true),
            (&stamped[..stamped.len() - 1], false),
            (&plain, false),
            (b"", false),
        ] {
            let path = folder.join("b.png");
            fs::write(&path, bytes).unwrap();
            assert_eq!(is_whole_png(&path), whole, "{} bytes", bytes.len());
        }
        assert!(!is_ours(&folder) && !is_ours(&folder.join("none.png")));
        fs::remove_dir_all(folder).unwrap();
    }
}
