//! Files as programs, phones and cameras write them, against Pillow: `tools/fixtures/make_pictures.py`.

use std::cell::Cell;

use sam3_model::image::Image;

#[derive(serde::Deserialize)]
struct Reference {
    jpegs: Vec<File>,
    exact: Vec<File>,
    refused: Vec<Refused>,
}

#[derive(serde::Deserialize)]
struct File {
    name: String,
    file: String,
    size: [u32; 2],
    /// Of `size`, every `step`-th column and row is in `rgb`, from (1, 1); all of them where it is 1.
    step: usize,
    rgb: String,
}

#[derive(serde::Deserialize)]
struct Refused {
    name: String,
    words: String,
    file: String,
}

/// Decoders round inverse transform and upsampling differently: the most that was seen in 6,600 files of all samplings.
const JPEG_TOLERANCE: u8 = 4;

fn reference() -> Reference {
    serde_json::from_str(include_str!("fixtures/files.json")).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

/// A JPEG of the reference.
fn jpeg(name: &str) -> Vec<u8> {
    let found = reference().jpegs.into_iter().find(|file| file.name == name);
    bytes(&found.unwrap_or_else(|| panic!("no JPEG {name}")).file)
}

fn check(file: &File, tolerance: u8) {
    let image = Image::decode_named(&bytes(&file.file), &file.name).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!([image.width(), image.height()], file.size, "{}", file.name);
    let rows = image.rgb().chunks_exact(3 * file.size[0] as usize);
    let first = usize::from(file.step > 1);
    let found = rows.skip(first).step_by(file.step);
    let found = found.flat_map(|row| row.chunks_exact(3).skip(first).step_by(file.step).flatten());
    let expected = bytes(&file.rgb);
    assert_eq!(found.clone().count(), expected.len(), "{}", file.name);
    let differ = found.zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(differ <= Some(tolerance), "{}: differs by {differ:?}", file.name);
}

#[test]
fn jpegs_of_every_sampling_and_scan_are_read_as_pillow_reads_them() {
    let files = reference().jpegs;
    assert!(files.len() > 80, "{} JPEGs", files.len());
    files.iter().for_each(|file| check(file, JPEG_TOLERANCE));
}

#[test]
fn other_formats_are_read_bit_for_bit_as_pillow_reads_them() {
    let files = reference().exact;
    assert!(files.len() > 70, "{} files", files.len());
    for file in files {
        let tolerance = if file.name.starts_with("jpeg") {
            JPEG_TOLERANCE
        } else {
            0
        };
        check(&file, tolerance);
    }
}

/// Every kind of file tells its size, before or after it is turned upright, and then may be refused.
#[test]
fn who_admits_pictures_is_asked_once() {
    let Reference { jpegs, exact, .. } = reference();
    for File { name, file, size, .. } in jpegs.into_iter().chain(exact) {
        let (file, asked) = (bytes(&file), Cell::new(0));
        let refused = Image::decode_if(&file, |width, height| {
            asked.set(asked.get() + 1);
            let mut sides = [width, height];
            if sides != size {
                sides.reverse();
            }
            Err(format!("refused: {}x{}", sides[0], sides[1]))
        });
        let error = refused.expect_err(&name).to_string();
        assert_eq!(error, format!("image: refused: {}x{}", size[0], size[1]), "{name}");
        assert_eq!(asked.get(), 1, "{name}");
        let admitted = Image::decode_if(&file, |_, _| Ok(())).unwrap();
        assert_eq!([admitted.width(), admitted.height()], size, "{name}");
    }
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let files = reference().refused;
    assert!(files.len() > 15, "{} files", files.len());
    for Refused { name, words, file } in files {
        let error = Image::decode_named(&bytes(&file), "street").unwrap_err().to_string();
        assert!(
            error.starts_with("street: ") && error.contains(&words),
            "{name}: {error}"
        );
    }
}

/// Bytes that look like nothing, the same every time: markers of JPEG occur by chance.
fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| byte()).collect()
}

#[test]
fn what_lies_behind_a_picture_does_not_matter() {
    for name in ["2x2,1x1,1x1 one", "2x2,1x1,1x1 three", "2x2,1x1,1x1 progressive"] {
        let whole = jpeg(name);
        let alone = Image::decode(&whole).unwrap();
        let mut tails = vec![
            whole.clone(),
            whole[..whole.len() / 2].to_vec(),
            b"\xff\xda\0\x0c".repeat(5),
            b"\xff\xd8".to_vec(),
            vec![0; 4096],
            [b"\0\0\0\x18ftypmp42", &noise(5000, 9)[..]].concat(),
        ];
        tails.extend((1..=40).map(|seed| noise(70_000, seed)));
        for (i, tail) in tails.iter().enumerate() {
            let read = Image::decode(&[&whole[..], tail].concat());
            assert_eq!(read.unwrap_or_else(|error| panic!("{name}, tail {i}: {error}")), alone);
        }
    }
    let files = reference().exact;
    assert!(files.len() > 70, "{} files", files.len());
    for file in files {
        let Some(kind) = ["png ", "webp ", "bmp ", "gif "]
            .iter()
            .find(|kind| file.name.starts_with(**kind))
        else {
            continue;
        };
        let whole = bytes(&file.file);
        let alone = Image::decode(&whole).unwrap();
        for tail in [noise(3000, 5), whole.clone()] {
            let read = Image::decode(&[&whole[..], &tail].concat());
            assert_eq!(
                read.unwrap_or_else(|error| panic!("{kind}{}: {error}", file.name)),
                alone
            );
        }
    }
}

#[test]
fn a_cut_picture_is_refused_whatever_lies_behind_it() {
    for name in ["2x2,1x1,1x1 one", "2x2,1x1,1x1 three", "2x2,1x1,1x1 progressive"] {
        let whole = jpeg(name);
        let error = Image::decode(&whole[..whole.len() - 2]).unwrap_err().to_string();
        assert!(error.contains("the file ends before the picture does"), "{error}");
        let first_scan = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        for len in (0..whole.len()).step_by(7) {
            assert!(
                Image::decode(&whole[..len]).is_err(),
                "{name}, {len} of {} bytes",
                whole.len()
            );
            // A segment between two scans would take the second picture's first bytes for its own.
            if len > first_scan && name.ends_with("one") {
                assert!(
                    Image::decode(&[&whole[..len], &whole].concat()).is_err(),
                    "{name}, {len} bytes and a whole one"
                );
            }
        }
    }
    for file in reference().exact.iter().filter(|file| file.name != "tiff pages") {
        let whole = bytes(&file.file);
        // The last few bytes may be padding.
        let cut = &whole[..whole.len() / 2];
        assert!(
            Image::decode(cut).is_err(),
            "{}, {} of {} bytes",
            file.name,
            cut.len(),
            whole.len()
        );
    }
}

/// The segments in front of the first scan for which `keep` holds, and all that follows.
fn with_segments(jpeg: &[u8], keep: impl Fn(u8) -> bool) -> Vec<u8> {
    let (mut at, mut kept) = (2, jpeg[..2].to_vec());
    while jpeg[at + 1] != 0xda {
        let end = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if keep(jpeg[at + 1]) {
            kept.extend(&jpeg[at..end]);
        }
        at = end;
    }
    kept.extend(&jpeg[at..]);
    kept
}

#[test]
fn a_webcams_frame_without_huffman_tables_means_the_standard_ones() {
    let mut without_tables = 0;
    for file in reference().jpegs {
        let name = &file.name;
        // The progressive ones have tables of their own, which nothing stands for.
        if name.ends_with("progressive") {
            let bare = with_segments(&bytes(&file.file), |marker| marker != 0xc4);
            let error = Image::decode(&bare).unwrap_err().to_string();
            assert!(error.contains("without Huffman tables"), "{name}: {error}");
            continue;
        }
        let whole = bytes(&file.file);
        let alone = Image::decode(&whole).unwrap();
        let bare = with_segments(&whole, |marker| marker != 0xc4);
        if bare.windows(2).any(|pair| pair == [0xff, 0xc4]) {
            continue; // more tables between its scans
        }
        without_tables += 1;
        let no_app0 = with_segments(&bare, |marker| marker != 0xe0);
        let mut avi = no_app0.clone();
        avi.splice(2..2, *b"\xff\xe0\0\x10AVI1\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(Image::decode(&bare).unwrap(), alone, "{name}");
        assert_eq!(Image::decode(&no_app0).unwrap(), alone, "{name} without APP0");
        assert_eq!(Image::decode(&avi).unwrap(), alone, "{name} with AVI1");
    }
    assert!(without_tables > 20, "{without_tables} frames");
}
