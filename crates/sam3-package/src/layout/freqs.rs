//! `freqs_cis`, the rotary table of a ViT block: a buffer of the official model that transformers computes instead.

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
