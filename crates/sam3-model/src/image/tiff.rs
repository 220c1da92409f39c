//! TIFF: the first picture of a scan, a map or a microscope; the raw files of cameras, which are TIFFs too, by name.

use std::io::Cursor;

use tiff::{
    ColorType, TiffError,
    decoder::{Decoder, DecodingResult, Limits},
    tags::Tag,
};

use super::{
    Image, MAX_PIXELS, exif,
    orientation::Orientation,
    samples::{self, Admit},
};

/// What stands in the errors about the raw files of cameras.
pub const RAW: &str = "a camera's raw file, whose first picture is but a preview; develop it, for example: \
                       darktable-cli FILE out.png";

const CONVERT: &str = "write it as 8-bit RGB, for example: magick FILE out.png";

/// A sample takes 8 bytes at most, and what is read here has at most 5 of them for a pixel.
const MOST_BYTES: usize = 40;

type Reader<'a> = Decoder<Cursor<&'a [u8]>>;

/// The first picture of a TIFF or BigTIFF file.
pub fn decode(bytes: &[u8], admit: Admit<'_>) -> Result<(Image, Orientation), String> {
    if is_camera_raw(bytes) {
        return Err(format!("expected a picture, found {RAW}"));
    }
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(failed)?;
    let (width, height) = decoder.dimensions().map_err(failed)?;
    let pixels = admit(width, height)?;
    // Before the limit is raised: it is that of a tag's values, too, and a tag may claim any number of them.
    let orientation = decoder.find_tag_unsigned(Tag::Orientation).ok().flatten();
    let xmp = decoder.get_tag_u8_vec(Tag::Unknown(700)).ok();
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MOST_BYTES * pixels;
    // A strip may hold the whole picture.
    limits.intermediate_buffer_size = 8 * MAX_PIXELS as usize;
    decoder = decoder.with_limits(limits);
    let color = decoder.colortype().map_err(failed)?;
    let mut raw = read(&mut decoder, pixels)?;
    if let ColorType::Gray(bits @ (1 | 2 | 4)) = color {
        raw = widen(&raw, bits, width as usize)?;
    }
    let channels = raw.len() / pixels;
    let rgb = match (color, channels) {
        (ColorType::Gray(1 | 2 | 4 | 8 | 16), 1..) => samples::to_rgb(raw, channels, [0; 3]),
        // Grey with alpha.
        (ColorType::Multiband { num_samples: 2, .. }, 2) => samples::to_rgb(raw, channels, [0; 3]),
        (ColorType::RGB(8 | 16) | ColorType::RGBA(8 | 16), 3..) => samples::to_rgb(raw, channels, [0, 1, 2]),
        (ColorType::CMYK(8 | 16), 4) => samples::cmyk_to_rgb(&raw),
        _ => Err(format!("this kind of TIFF is not read: {color:?}; {CONVERT}")),
    }?;
    if rgb.len() != 3 * pixels {
        return Err("damaged TIFF: it holds fewer pixels than it says; copy it again".to_owned());
    }
    let image = Image { width, height, rgb };
    Ok((image, Orientation::of(orientation, xmp.as_deref())))
}

fn failed(error: TiffError) -> String {
    match error {
        TiffError::UnsupportedError(what) => format!("this kind of TIFF is not read: {what}; {CONVERT}"),
        error => format!("damaged TIFF: {error}; copy it again"),
    }
}

/// All samples, a pixel's side by side; of 16 bits the upper 8. Those of fewer than 8 bits stay packed.
fn read(decoder: &mut Reader, pixels: usize) -> Result<Vec<u8>, String> {
    let layout = decoder.image_buffer_layout().map_err(failed)?;
    if layout.complete_len > MOST_BYTES * pixels {
        return Err(format!("a TIFF of so many samples a pixel is not read; {CONVERT}"));
    }
    let mut result = DecodingResult::U8(Vec::new());
    decoder.read_image_to_buffer(&mut result).map_err(failed)?;
    let raw = match result {
        DecodingResult::U8(samples) => samples,
        DecodingResult::U16(samples) => samples.into_iter().map(|sample| (sample >> 8) as u8).collect(),
        _ => {
            return Err(format!(
                "a TIFF of 32 bits, signed numbers or floats is not read; {CONVERT}"
            ));
        }
    };
    if layout.planes > 1 {
        return interleave(&raw, layout.planes);
    }
    Ok(raw)
}

/// The first picture is a preview, or what the sensor saw before it became colours.
fn is_camera_raw(bytes: &[u8]) -> bool {
    const DNG_VERSION: u16 = 50706;
    let number = |tag: Tag| exif::number(bytes, tag.to_u16()).map(|number| number as u32);
    let is_canon = bytes.get(8..10) == Some(b"CR");
    let is_reduced = number(Tag::NewSubfileType).is_some_and(|kind| kind & 1 == 1);
    // A mosaic of colour filters, or what was made of one and not yet developed.
    let is_sensor = matches!(number(Tag::PhotometricInterpretation), Some(32803 | 34892));
    is_canon || is_reduced || is_sensor || exif::number(bytes, DNG_VERSION).is_some()
}

/// Planes, one behind the other, as pixels.
fn interleave(planes: &[u8], count: usize) -> Result<Vec<u8>, String> {
    let pixels = planes.len() / count;
    let mut interleaved = samples::buffer(pixels * count)?;
    for (i, pixel) in interleaved.chunks_exact_mut(count).enumerate() {
        for (plane, sample) in pixel.iter_mut().enumerate() {
            *sample = planes[plane * pixels + i];
        }
    }
    Ok(interleaved)
}

/// Samples of a few bits, in rows of whole bytes, as samples of 8 bits.
fn widen(packed: &[u8], bits: u8, width: usize) -> Result<Vec<u8>, String> {
    let bits = usize::from(bits);
    let row_bytes = (width * bits).div_ceil(8);
    let most = (1 << bits) - 1;
    let mut wide = samples::buffer(packed.len() / row_bytes * width)?;
    for (to, from) in wide.chunks_exact_mut(width).zip(packed.chunks_exact(row_bytes)) {
        for (x, sample) in to.iter_mut().enumerate() {
            let shift = 8 - bits - x * bits % 8;
            *sample = (from[x * bits / 8] >> shift & most) * (255 / most);
        }
    }
    Ok(wide)
}
