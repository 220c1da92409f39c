//! `freqs_cis`, the rotary table of a ViT block: a buffer of the official model that transformers computes instead.

use std::collections::HashMap;

use super::{Entry, Recipe};
use crate::{checkpoint::Dtype, error::list_of};

/// How the name of a table ends, and of its halves where real and imaginary parts lie apart.
const TABLE: &str = ".attn.freqs_cis";
const PARTS: [&str; 2] = ["_real", "_imag"];

/// Presents every spelling of the stored tables as complex numbers `[positions, pairs]`: `view_as_real`
/// `[positions, pairs, 2]`, complex numbers of another precision, real and imaginary parts apart. No run reads a
/// table's values, so a table of any other form is left out, with a warning.
pub(super) fn adapt(entries: &mut Vec<Entry>) -> Option<String> {
    join(entries);
    let mut odd = Vec::new();
    entries.retain_mut(|entry| {
        let is_odd = entry.name.ends_with(TABLE) && !present(entry);
        if is_odd {
            odd.push(format!("{}: {} {:?}", entry.name, entry.dtype, entry.shape));
        }
        !is_odd
    });
    (!odd.is_empty()).then(|| {
        format!(
            "ignored, as no rotary tables, which are computed anyway: {}",
            list_of(&odd)
        )
    })
}

/// Makes one entry of the halves of a table that is not there as a whole.
fn join(entries: &mut Vec<Entry>) {
    let is_real = |dtype| matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64);
    let by_name: HashMap<String, usize> = entries.iter().enumerate().map(|(i, e)| (e.name.clone(), i)).collect();
    let mut imaginary = Vec::new();
    for re in 0..entries.len() {
        let Some(name) = entries[re]
            .name
            .strip_suffix(PARTS[0])
            .filter(|name| name.ends_with(TABLE))
        else {
            continue;
        };
        let (name, other) = (name.to_owned(), by_name.get(&format!("{name}{}", PARTS[1])));
        let Some(&im) = other.filter(|_| !by_name.contains_key(&name)) else {
            continue;
        };
        let (a, b) = (&entries[re], &entries[im]);
        let (Recipe::Stored(real), Recipe::Stored(imag)) = (a.source, b.source) else {
            continue;
        };
        if a.shape.len() == 2 && a.shape == b.shape && is_real(a.dtype) && is_real(b.dtype) {
            entries[re] = Entry::new(name, Dtype::C64, a.shape.clone(), Recipe::Complex(real, imag));
            imaginary.push(im);
        }
    }
    let mut at = 0;
    entries.retain(|_| {
        at += 1;
        !imaginary.contains(&(at - 1))
    });
}

/// Presents a table as C64; false for what is none.
fn present(entry: &mut Entry) -> bool {
    match (entry.dtype, entry.shape.as_slice()) {
        (Dtype::C64, [_, _]) => {}
        (Dtype::C32 | Dtype::C128, [_, _]) => entry.dtype = Dtype::C64,
        (Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64, [_, _, 2]) => {
            entry.dtype = Dtype::C64;
            entry.shape.truncate(2);
        }
        _ => return false,
    }
    true
}

/// `[side², pairs]` complex numbers as little-endian f32 pairs: position `y·side + x` turns the first half of the
/// pairs by `x·scale·θ_j` and the second by `y·scale·θ_j`, `θ_j = 10000^(-j / (pairs/2))`.
///
/// Angles are rounded to f32 where the official code (`compute_axial_cis`) rounds them.
pub(super) fn freqs_cis(side: usize, pairs: usize, scale: f32) -> Vec<u8> {
    let half = pairs / 2;
    let theta: Vec<f32> = (0..half).map(|j| 1.0 / 10000f32.powf(j as f32 / half as f32)).collect();
    let mut out = Vec::with_capacity(side * side * pairs * 8);
    for position in 0..side * side {
        for at in [position % side, position / side] {
            for t in &theta {
                let angle = f64::from(at as f32 * scale * t);
                out.extend_from_slice(&(angle.cos() as f32).to_le_bytes());
                out.extend_from_slice(&(angle.sin() as f32).to_le_bytes());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(bytes: &[u8]) -> Vec<f32> {
        bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect()
    }

    #[test]
    fn each_pair_turns_by_its_own_power_of_10000() {
        // Eight pairs, four for x and four for y: θ is 1, 0.1, 0.01 and 0.001.
        let table = numbers(&freqs_cis(3, 8, 0.5));
        let (x, y) = (2.0, 1.0);
        let row = &table[(3 + 2) * 16..(3 + 3) * 16];
        for (j, theta) in [1.0f32, 0.1, 0.01, 0.001].into_iter().enumerate() {
            for (pair, at) in [(j, x), (4 + j, y)] {
                let angle = at * 0.5 * theta;
                let found = [row[2 * pair], row[2 * pair + 1]];
                let expected = [angle.cos(), angle.sin()];
                let far = (0..2).map(|i| (found[i] - expected[i]).abs()).fold(0.0, f32::max);
                assert!(far < 1e-6, "pair {pair}: {found:?}, expected {expected:?}");
            }
        }
    }

    #[test]
    fn every_spelling_of_a_table_becomes_complex() {
        let entry = |name: &str, dtype, shape: &[usize], i| {
            Entry::new(name.to_owned(), dtype, shape.to_vec(), Recipe::Stored(i))
        };
        for (dtype, shape) in [
            (Dtype::C64, &[16, 4][..]),
            (Dtype::C32, &[16, 4]),
            (Dtype::C128, &[16, 4]),
            (Dtype::F32, &[16, 4, 2]),
            (Dtype::F16, &[16, 4, 2]),
            (Dtype::BF16, &[16, 4, 2]),
            (Dtype::F64, &[16, 4, 2]),
        ] {
            let mut entries = vec![entry("b.attn.freqs_cis", dtype, shape, 0)];
            assert_eq!(adapt(&mut entries), None, "{dtype} {shape:?}");
            assert_eq!(
                (entries[0].dtype, &entries[0].shape[..]),
                (Dtype::C64, &[16, 4][..]),
                "{dtype}"
            );
        }
        let mut entries = vec![
            entry("b.attn.freqs_cis_real", Dtype::F16, &[16, 4], 0),
            entry("b.attn.qkv.weight", Dtype::F32, &[1], 1),
            entry("b.attn.freqs_cis_imag", Dtype::F16, &[16, 4], 2),
        ];
        assert_eq!(adapt(&mut entries), None);
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["b.attn.freqs_cis", "b.attn.qkv.weight"]);
        assert_eq!(
            (entries[0].dtype, entries[0].source),
            (Dtype::C64, Recipe::Complex(0, 2))
        );

        let mut entries = vec![entry("b.attn.freqs_cis", Dtype::F32, &[16, 4], 0)];
        let told = adapt(&mut entries).unwrap();
        assert!(
            entries.is_empty() && told.contains("b.attn.freqs_cis: F32 [16, 4]"),
            "{told}"
        );
    }
}
