//! Reading, resizing, masks and RLE against Pillow, torchvision, torch and pycocotools: `tools/image_reference.py`.

use std::path::{Path, PathBuf};

use sam3_model::image::Image;
use sam3_model::masks::{Mask, Rle};

#[derive(serde::Deserialize)]
struct Reference {
    files: Vec<File>,
    resized: Vec<Resized>,
    upsampled: Vec<Upsampled>,
    masks: Vec<Inside>,
}

#[derive(serde::Deserialize)]
struct File {
    name: String,
    file: String,
    size: [u32; 2],
    rgb: String,
}

#[derive(serde::Deserialize)]
struct Resized {
    size: [u32; 2],
    rgb: String,
    to: u32,
    resized: String,
    bicubic: String,
}

#[derive(serde::Deserialize)]
struct Upsampled {
    from: [usize; 2],
    logits: Vec<f32>,
    to: [u32; 2],
    rle: Rle,
}

#[derive(serde::Deserialize)]
struct Inside {
    /// Row-major indices of the pixels inside.
    inside: Vec<u32>,
    rle: Rle,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("fixtures/pictures.json")).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

#[test]
fn files_are_read_as_pillow_reads_them() {
    for case in reference().files {
        let image = Image::decode(&bytes(&case.file)).unwrap();
        assert_eq!([image.width(), image.height()], case.size, "{}", case.name);
        // JPEG decoders may differ by rounding.
        let allowed = if case.name.starts_with("jpeg") { 1 } else { 0 };
        let differ = image
            .rgb()
            .iter()
            .zip(bytes(&case.rgb))
            .map(|(a, b)| a.abs_diff(b))
            .max();
        assert!(differ <= Some(allowed), "{}: differs by {differ:?}", case.name);
    }
}

#[test]
fn resizing_is_torchvisions_and_bicubic_pillows_bit_for_bit() {
    for case in reference().resized {
        let [width, height] = case.size;
        let image = Image::new(width, height, bytes(&case.rgb)).unwrap();
        let resized = image.resize(case.to, case.to).unwrap();
        assert_eq!(resized.rgb(), bytes(&case.resized), "{width}x{height} to {}", case.to);
        let bicubic = image.resize_bicubic(case.to, case.to).unwrap();
        assert_eq!(bicubic.rgb(), bytes(&case.bicubic), "{width}x{height} to {}", case.to);
    }
}

/// The official loader's frames of a video that is followed by clicks.
#[test]
fn frames_are_resized_as_officially() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/tracker");
    for frame in 0..24 {
        let open = |folder: PathBuf| Image::open(folder.join(format!("{frame:02}.png"))).unwrap();
        let resized = open(folder.join("video")).resize_bicubic(224, 224).unwrap();
        assert_eq!(resized, open(folder.join("video_224")), "frame {frame}");
    }
}

#[test]
fn masks_are_torchs_and_their_rle_pycocotools() {
    for case in reference().upsampled {
        let mask = Mask::from_logits(&case.logits, case.from.into(), case.to.into()).unwrap();
        assert_eq!(mask.to_rle(), case.rle, "{:?} to {:?}", case.from, case.to);
    }
}

#[test]
fn rle_goes_both_ways() {
    for case in reference().masks {
        let [height, width] = case.rle.size;
        let mut mask = Mask::new(width, height);
        case.inside.iter().for_each(|i| mask.insert(i % width, i / width));
        assert_eq!(mask.to_rle(), case.rle, "{width}x{height}");
        assert_eq!(Mask::from_rle(&case.rle).unwrap(), mask, "{width}x{height}");
    }
}
