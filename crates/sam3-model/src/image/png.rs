//! PNG: read with its checksums, EXIF and XMP; written for results.

use std::{borrow::Cow, io::Cursor};

use png::{BitDepth, ColorType, DecodeOptions, Decoder, Info, Limits, Transformations, chunk};

use super::{
    Image, exif,
    orientation::Orientation,
    samples::{self, Admit},
};

/// A PNG's picture; of an animation, the one that programs without animation show.
pub fn decode(bytes: &[u8], admit: Admit<'_>) -> Result<(Image, Orientation), String> {
    let damaged = |error| format!("damaged PNG: {error}; copy it again");
    let checked = check(bytes)?;
    let mut options = DecodeOptions::default();
    // Some writers put wrong checksums on the pixels' chunks. The stream inside has its own, which must then be right.
    options.set_ignore_crc(!checked);
    options.set_ignore_adler32(checked);
    options.set_ignore_iccp_chunk(true); // which would be unpacked for nobody
    let mut decoder = Decoder::new_with_options(Cursor::new(bytes), options);
    // Palettes become colours, grey of a few bits becomes 8.
    decoder.set_transformations(Transformations::EXPAND);
    // `admit` limits the picture, however it is stored, and the decoder limits text chunks by itself.
    decoder.set_limits(Limits { bytes: usize::MAX });
    let header = decoder.read_header_info().map_err(damaged)?;
    let (width, height) = (header.width, header.height);
    admit(width, height)?;
    let mut reader = decoder.read_info().map_err(damaged)?;
    let size = reader
        .output_buffer_size()
        .ok_or("it is too large for this system's memory; make it smaller")?;
    let mut raw = samples::buffer(size)?;
    let frame = reader.next_frame(&mut raw).map_err(damaged)?;
    raw.truncate(frame.buffer_size());
    // Metadata may lie behind the pixels; where they are damaged, those before count.
    let _ = reader.finish();
    let orientation = orientation(reader.info());
    let rgb = match (frame.color_type, frame.bit_depth) {
        (ColorType::Grayscale, BitDepth::Sixteen) => samples::to_rgb(raw, 2, [0; 3]),
        (ColorType::GrayscaleAlpha, BitDepth::Sixteen) => samples::to_rgb(raw, 4, [0; 3]),
        (ColorType::Rgb, BitDepth::Sixteen) => samples::to_rgb(raw, 6, [0, 2, 4]),
        (ColorType::Rgba, BitDepth::Sixteen) => samples::to_rgb(raw, 8, [0, 2, 4]),
        (ColorType::Grayscale, _) => samples::to_rgb(raw, 1, [0; 3]),
        (ColorType::GrayscaleAlpha, _) => samples::to_rgb(raw, 2, [0; 3]),
        (ColorType::Rgba, _) => samples::to_rgb(raw, 4, [0, 1, 2]),
        (ColorType::Rgb | ColorType::Indexed, _) => samples::to_rgb(raw, 3, [0, 1, 2]),
    }?;
    Ok((Image { width, height, rgb }, orientation))
}

/// Whether the checksums of all chunks with pixels are right. Those of the header and the palette have to be.
fn check(bytes: &[u8]) -> Result<bool, String> {
    let (mut at, mut right) = (8, true);
    // What is no whole chunk is the decoder's to judge.
    while let Some(&[l0, l1, l2, l3, t0, t1, t2, t3]) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let (length, name) = (u32::from_be_bytes([l0, l1, l2, l3]) as usize, [t0, t1, t2, t3]);
        let Some(end) = at.checked_add(8).and_then(|start| start.checked_add(length)) else {
            break;
        };
        let Some(&checksum) = bytes.get(end..).and_then(<[u8]>::first_chunk) else {
            break;
        };
        let is_right = || crc32fast::hash(&bytes[at + 4..end]) == u32::from_be_bytes(checksum);
        match chunk::ChunkType(name) {
            chunk::IEND => break,
            chunk::IDAT if right => right = is_right(),
            chunk::IHDR | chunk::PLTE if !is_right() => {
                let name = name.escape_ascii();
                return Err(format!(
                    "damaged PNG: the checksum of its {name} is wrong; copy it again"
                ));
            }
            _ => {}
        }
        at = end + 4;
    }
    Ok(right)
}

/// From an eXIf chunk, from ImageMagick's text in its place, or from XMP.
fn orientation(info: &Info) -> Orientation {
    const RAW: &str = "Raw profile type exif";
    const XMP: &str = "XML:com.adobe.xmp";
    let plain = || {
        info.uncompressed_latin1_text
            .iter()
            .find(|text| text.keyword == RAW)
            .map(|t| t.text.clone())
    };
    let packed = || {
        info.compressed_latin1_text
            .iter()
            .find(|text| text.keyword == RAW)?
            .get_text()
            .ok()
    };
    let raw = || plain().or_else(packed).as_deref().and_then(raw_profile);
    let exif = info.exif_metadata.as_deref().map(<[u8]>::to_vec).or_else(raw);
    let xmp = info
        .utf8_text
        .iter()
        .find(|text| text.keyword == XMP)
        .and_then(|text| text.get_text().ok());
    Orientation::of(
        exif.as_deref().and_then(exif::orientation),
        xmp.as_deref().map(str::as_bytes),
    )
}

/// The bytes of a `Raw profile`: an empty line, its name, its length, then hexadecimal digits over many lines.
fn raw_profile(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .split('\n')
        .skip(3)
        .flat_map(str::bytes)
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

/// Pixels to write, row by row.
pub enum Samples<'a> {
    Rgb8(&'a [u8]),
    Grey8(&'a [u8]),
    Grey16(&'a [u16]),
    /// Places in a palette of 256 colours.
    Indexed8(&'a [u8], &'a [[u8; 3]; 256]),
}

/// A PNG file's bytes.
///
/// # Panics
/// When there are not as many samples as the size needs.
pub fn encode(width: u32, height: u32, samples: &Samples) -> Vec<u8> {
    let (color, depth, data) = match samples {
        Samples::Rgb8(rgb) => (ColorType::Rgb, BitDepth::Eight, Cow::Borrowed(*rgb)),
        Samples::Grey8(grey) => (ColorType::Grayscale, BitDepth::Eight, Cow::Borrowed(*grey)),
        Samples::Grey16(grey) => {
            let bytes = grey.iter().flat_map(|value| value.to_be_bytes()).collect();
            (ColorType::Grayscale, BitDepth::Sixteen, Cow::Owned(bytes))
        }
        Samples::Indexed8(indices, _) => (ColorType::Indexed, BitDepth::Eight, Cow::Borrowed(*indices)),
    };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    encoder.set_compression(png::Compression::Fast);
    encoder.set_filter(png::Filter::Adaptive);
    if let Samples::Indexed8(_, palette) = samples {
        encoder.set_palette(palette.concat());
        // Indices are no brightness: neighbours do not foretell them.
        encoder.set_filter(png::Filter::NoFilter);
    }
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&data)?;
        writer.finish()
    });
    written.expect("writing to memory, with as many samples as the size needs");
    bytes
}
