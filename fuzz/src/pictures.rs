//! Pictures to damage: those of the tests, of every format that is read and of some that are not.

use std::{fs, path::Path, time::Duration};

use sam3_model::image::{Image, MAX_PIXELS};

/// A damaged header may ask for the largest picture there can be, of the kind that takes the most.
pub const MEMORY: u64 = 20 * MAX_PIXELS + (64 << 20);
pub const TIME: Duration = Duration::from_secs(30);

/// Every file in the tests' reference.
pub fn seeds() -> Vec<Vec<u8>> {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/sam3-model/tests/fixtures/files.json");
    let reference = fs::read_to_string(reference).expect("the reference");
    let files = reference
        .split("\"file\": \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    let byte = |hex: &str, i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal digits");
    let seeds: Vec<Vec<u8>> = files
        .map(|hex| (0..hex.len()).step_by(2).map(|i| byte(hex, i)).collect())
        .collect();
    assert!(seeds.len() > 100, "the reference is read wrongly");
    seeds
}

/// Reads the picture and writes it again.
pub fn try_open(path: &Path) -> bool {
    let bytes = fs::read(path).expect("the input");
    let Ok(image) = Image::decode(&bytes) else {
        return false;
    };
    let pixels = u64::from(image.width()) * u64::from(image.height());
    assert_eq!(image.rgb().len() as u64, 3 * pixels);
    assert!((1..=MAX_PIXELS).contains(&pixels));
    if pixels < 1 << 16 {
        assert_eq!(Image::decode(&image.to_png()).ok(), Some(image));
    }
    true
}
