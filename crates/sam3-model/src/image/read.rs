//! A file's bytes to a picture that stands upright, by what they are and not by what their name says.

use std::io::Cursor;

use image::{ColorType, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::{
    Image, MAX_PIXELS, exif, foreign, jpeg,
    orientation::Orientation,
    png,
    samples::{self, Admit},
    tiff,
};

/// The first picture of a file, or why it has none that can be read, with what to do.
pub fn read(bytes: &[u8], admit: Admit<'_>) -> Result<Image, String> {
    let (image, orientation) = match bytes {
        [0xff, 0xd8, 0xff, ..] => jpeg::decode(bytes, admit),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => png::decode(bytes, admit),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
            decode(bytes, ImageFormat::WebP, "WebP", admit)
        }
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => decode(bytes, ImageFormat::Gif, "GIF", admit),
        [b'B', b'M', ..] if is_bmp(bytes) => decode(bytes, ImageFormat::Bmp, "BMP", admit),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => tiff::decode(bytes, admit),
        _ => Err(foreign::reason(bytes)),
    }?;
    orientation.apply(image)
}

/// "BM" begins many a text: the size of a BMP's second header tells.
fn is_bmp(bytes: &[u8]) -> bool {
    let size = bytes
        .get(14..18)
        .and_then(<[u8]>::first_chunk)
        .map(|size| u32::from_le_bytes(*size));
    size.is_none_or(|size| (12..=124).contains(&size))
}

/// The formats whose decoders the crate `image` holds together.
fn decode(bytes: &[u8], format: ImageFormat, name: &str, admit: Admit<'_>) -> Result<(Image, Orientation), String> {
    let damaged = |error| format!("damaged {name}: {error}; copy it again");
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(4 * MAX_PIXELS);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    let pixels = admit(width, height)?;
    // Damaged metadata are no reason to refuse the picture.
    let exif = decoder.exif_metadata().ok().flatten();
    let xmp = decoder.xmp_metadata().ok().flatten();
    let orientation = Orientation::of(exif.as_deref().and_then(exif::orientation), xmp.as_deref());
    let color = decoder.color_type();
    let mut raw = samples::buffer(pixels * usize::from(color.bytes_per_pixel()))?;
    decoder.read_image(&mut raw).map_err(damaged)?;
    let rgb = match color {
        ColorType::L8 => samples::to_rgb(raw, 1, [0; 3]),
        ColorType::Rgb8 => samples::to_rgb(raw, 3, [0, 1, 2]),
        ColorType::Rgba8 => samples::to_rgb(raw, 4, [0, 1, 2]),
        other => Err(format!("a {name} of {other:?} is not read; write it as 8-bit RGB")),
    }?;
    Ok((Image { width, height, rgb }, orientation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_said_so() {
        for (bytes, expected) in [
            (&b"GIF89a\x01\x00\x01\x00"[..], "damaged GIF"),
            (b"\x89PNG\r\n\x1a\n\x00\x00", "damaged PNG"),
            (b"\xff\xd8\xff\xe0\x00\x10JFIF", "damaged JPEG"),
            (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "damaged WebP"),
            (b"BM\x00\x00", "damaged BMP"),
            (b"II*\x00\x08\x00", "damaged TIFF"),
        ] {
            let error = Image::decode(bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let missing = Image::open("no/such.png").unwrap_err().to_string();
        assert!(missing.starts_with("read no/such.png: "), "{missing}");
    }
}
