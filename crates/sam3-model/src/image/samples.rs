//! From what decoders return to 8-bit RGB, and how large a picture may be.

use super::MAX_PIXELS;

/// What a picture of this width and height is asked for before memory is taken for it: its number of pixels, or why it
/// is refused.
pub type Admit<'a> = &'a dyn Fn(u32, u32) -> Result<usize, String>;

/// The number of pixels of a picture of this size, or why there can be no such picture.
pub fn pixels(width: u32, height: u32) -> Result<usize, String> {
    if width == 0 || height == 0 {
        return Err(format!("the picture has no pixels: {width}x{height}"));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS {
        return Err(format!(
            "{width}x{height} is more than {MAX_PIXELS} pixels; make it smaller"
        ));
    }
    Ok(pixels as usize)
}

/// Zeros for a decoder to write to: a picture that does not fit into memory is an error and not the end.
pub fn buffer(len: usize) -> Result<Vec<u8>, String> {
    let mut buffer = reserved(len)?;
    buffer.resize(len, 0);
    Ok(buffer)
}

/// Whether there is memory for a decoder that asks for it in a way that ends the process where there is none.
pub fn room(len: usize) -> Result<(), String> {
    reserved(len).map(drop)
}

fn reserved(len: usize) -> Result<Vec<u8>, String> {
    let mut buffer = Vec::new();
    buffer
        .try_reserve_exact(len)
        .map_err(|_| format!("out of memory: the picture takes {len} bytes; make it smaller"))?;
    Ok(buffer)
}

/// As Pillow's `convert("RGB")`: alpha is dropped, not blended, and of 16 bits the upper 8 stay.
///
/// A pixel is `size` bytes, of which those at `places` are red, green and blue. (Pillow keeps the upper 8 bits of
/// 16-bit colour but clips 16-bit grey at 255, which makes it white; not so here.)
pub fn to_rgb(samples: Vec<u8>, size: usize, places: [usize; 3]) -> Result<Vec<u8>, String> {
    if (size, places) == (3, [0, 1, 2]) {
        return Ok(samples);
    }
    let mut rgb = buffer(samples.len() / size * 3)?;
    for (to, from) in rgb.chunks_exact_mut(3).zip(samples.chunks_exact(size)) {
        to.copy_from_slice(&places.map(|place| from[place]));
    }
    Ok(rgb)
}

/// As Pillow's `convert("RGB")` of inks, each from 0, which is none, to 255.
pub fn cmyk_to_rgb(inks: &[u8]) -> Result<Vec<u8>, String> {
    let mut rgb = buffer(inks.len() / 4 * 3)?;
    for (to, ink) in rgb.chunks_exact_mut(3).zip(inks.chunks_exact(4)) {
        let white = 255 - u32::from(ink[3]);
        for (to, &ink) in to.iter_mut().zip(ink) {
            // The product over 255, rounded.
            let product = u32::from(ink) * white + 128;
            *to = (white - ((product + (product >> 8)) >> 8)) as u8;
        }
    }
    Ok(rgb)
}
