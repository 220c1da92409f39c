//! Whether the numbers of a config belong together. Each alone is in its range already.

use super::{Config, DetectorConfig, limits};

/// # Errors
/// The first contradiction, as a sentence.
pub fn fits(config: &Config) -> Result<(), String> {
    let vit = &config.vit;
    // Axial RoPE rotates pairs, half of them by x and half by y.
    divides("image encoder", vit.width, vit.heads, 4)?;
    if vit.width / vit.heads > limits::HEAD {
        return Err(format!(
            "image encoder: expected at most {} channels a head, found {} in {} heads; {HEADS}",
            limits::HEAD,
            vit.width,
            vit.heads
        ));
    }
    if let Some(detector) = &config.detector {
        fits_detector(detector, config.d_model)?;
    }
    if !config.d_model.is_multiple_of(8) {
        return Err(format!(
            "model width: expected a multiple of GroupNorm's 8 groups, found {}",
            config.d_model
        ));
    }
    let is_too_large = vit.image_size > limits::IMAGE_SIZE || vit.grid() > limits::GRID;
    if is_too_large || !vit.image_size.is_multiple_of(vit.patch_size) {
        return Err(format!(
            "image size: expected a multiple of the patch size {}, at most {} patches and {} pixels, found {}",
            vit.patch_size,
            limits::GRID,
            limits::IMAGE_SIZE,
            vit.image_size
        ));
    }
    Ok(())
}

fn fits_detector(detector: &DetectorConfig, d_model: usize) -> Result<(), String> {
    if let Some(text) = &detector.text {
        divides("text encoder", text.width, text.heads, 1)?;
    }
    for (what, heads) in [
        ("geometry encoder", detector.geometry.heads),
        ("fusion encoder", detector.fusion.heads),
        ("decoder", detector.decoder.heads),
        ("mask head", detector.mask_heads),
    ] {
        divides(what, d_model, heads, 1)?;
    }
    Ok(())
}

pub const HEADS: &str = "put a config.json with the right num_attention_heads beside the checkpoint";

fn divides(what: &str, width: usize, heads: usize, unit: usize) -> Result<(), String> {
    if !width.is_multiple_of(heads * unit) {
        return Err(format!(
            "{what}: expected a width that is a multiple of {unit} × {heads} heads, found {width}; {HEADS}"
        ));
    }
    Ok(())
}
