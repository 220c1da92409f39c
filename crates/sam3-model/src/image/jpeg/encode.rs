//! JPEG written: baseline, with colours at half the size, and the tables of the standard's Annex K.
//!
//! Blocks of 8 x 8 samples become frequencies, which are divided by a step each and rounded; what is left is written as
//! runs of zeros and numbers. One pair of Huffman tables, that of brightness, serves colours, too.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

/// Samples of a block's side.
const SIDE: usize = 8;
const BLOCK: usize = SIDE * SIDE;

/// Steps at a quality of 50, row by row: table K.1.
const LUMA_STEPS: [u16; BLOCK] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
];

/// The same of colours, of which the lowest rows and columns alone are not 99: table K.2.
const CHROMA_STEPS: [[u16; 4]; 4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]];

/// How many codes of each length from 1 there are, and what they stand for: tables K.3 and K.5.
const DC_LENGTHS: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
const DC_VALUES: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const AC_LENGTHS: [u8; 16] = [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125];
/// The values of the short codes; the long ones are all others, in order.
const AC_SHORT: [u8; 37] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71, 0x14,
    0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72, 0x82,
];

/// A JPEG file's bytes: JFIF, of a quality from 1 to 100 as libjpeg counts it.
///
/// # Panics
/// When the sides are not 1 to 65,535, or there are not as many samples.
pub fn encode(width: u32, height: u32, rgb: &[u8], quality: u8) -> Vec<u8> {
    let side = |side: u32| u16::try_from(side).ok().filter(|&side| side > 0);
    let sides = side(width).zip(side(height)).expect("a JPEG's sides are 1 to 65,535");
    assert_eq!(rgb.len(), 3 * width as usize * height as usize);
    let steps = [
        scaled(&LUMA_STEPS, quality),
        scaled(&std::array::from_fn(chroma_step), quality),
    ];
    let (dc, ac) = (
        Codes::new(&DC_LENGTHS, &DC_VALUES),
        Codes::new(&AC_LENGTHS, &ac_values()),
    );

    let mut bytes = vec![0xff, 0xd8];
    segment(&mut bytes, 0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    for (table, steps) in (0..).zip(&steps) {
        let places = zigzag().map(|place| steps[place] as u8);
        segment(&mut bytes, 0xdb, &[&[table], &places[..]].concat());
    }
    let [width_bytes, height_bytes] = [sides.0, sides.1].map(u16::to_be_bytes);
    let planes = [1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1];
    segment(
        &mut bytes,
        0xc0,
        &[&[8], &height_bytes[..], &width_bytes, &[3], &planes].concat(),
    );
    segment(&mut bytes, 0xc4, &[&[0], &DC_LENGTHS[..], &DC_VALUES].concat());
    segment(&mut bytes, 0xc4, &[&[0x10], &AC_LENGTHS[..], &ac_values()].concat());
    segment(&mut bytes, 0xda, &[3, 1, 0, 2, 0, 3, 0, 0, 63, 0]);

    let mut bits = Bits {
        bytes,
        held: 0,
        count: 0,
    };
    let cosines = cosines();
    let order = zigzag();
    let mut before = [0; 3];
    for top in (0..height as usize).step_by(2 * SIDE) {
        for left in (0..width as usize).step_by(2 * SIDE) {
            let tile = Tile::of(rgb, (width as usize, height as usize), (left, top));
            for (plane, block) in tile.blocks() {
                let found = frequencies(block, &cosines);
                let steps = &steps[plane.min(1)];
                let levels = order.map(|place| (found[place] / f32::from(steps[place])).round() as i32);
                bits.block(&levels, &mut before[plane], &dc, &ac);
            }
        }
    }
    bits.end()
}

fn segment(bytes: &mut Vec<u8>, marker: u8, content: &[u8]) {
    bytes.extend([0xff, marker]);
    bytes.extend((content.len() as u16 + 2).to_be_bytes());
    bytes.extend(content);
}

fn chroma_step(place: usize) -> u16 {
    let row = CHROMA_STEPS.get(place / SIDE);
    *row.and_then(|row| row.get(place % SIDE)).unwrap_or(&99)
}

fn scaled(steps: &[u16; BLOCK], quality: u8) -> [u16; BLOCK] {
    let quality = u32::from(quality.clamp(1, 100));
    let percent = if quality < 50 {
        5000 / quality
    } else {
        200 - 2 * quality
    };
    steps.map(|step| ((u32::from(step) * percent + 50) / 100).clamp(1, 255) as u16)
}

fn ac_values() -> Vec<u8> {
    let all = (0..16u8).flat_map(|run| (1..=10).map(move |size| run << 4 | size));
    let long = all.filter(|value| !AC_SHORT.contains(value));
    AC_SHORT.into_iter().chain(long).collect()
}

/// The places of a block in the order in which they are written: along the diagonals, there and back.
fn zigzag() -> [usize; BLOCK] {
    let mut places: Vec<(usize, usize)> = (0..BLOCK).map(|place| (place / SIDE, place % SIDE)).collect();
    places.sort_by_key(|&(y, x)| {
        let diagonal = x + y;
        (diagonal, if diagonal % 2 == 0 { x } else { y })
    });
    std::array::from_fn(|at| places[at].0 * SIDE + places[at].1)
}

/// 16 x 16 pixels: four blocks of brightness, and one of each colour.
struct Tile {
    luma: [[f32; BLOCK]; 4],
    chroma: [[f32; BLOCK]; 2],
}

impl Tile {
    /// Behind the picture's edge its last pixels go on.
    fn of(rgb: &[u8], (width, height): (usize, usize), (left, top): (usize, usize)) -> Self {
        let mut tile = Self {
            luma: [[0.0; BLOCK]; 4],
            chroma: [[0.0; BLOCK]; 2],
        };
        for y in 0..2 * SIDE {
            for x in 0..2 * SIDE {
                let at = (top + y).min(height - 1) * width + (left + x).min(width - 1);
                let [r, g, b] = [0, 1, 2].map(|channel| f32::from(rgb[3 * at + channel]));
                let inside = y % SIDE * SIDE + x % SIDE;
                tile.luma[y / SIDE * 2 + x / SIDE][inside] = 0.299 * r + 0.587 * g + 0.114 * b - 128.0;
                // The mean of four.
                let half = y / 2 * SIDE + x / 2;
                tile.chroma[0][half] += (-0.168_736 * r - 0.331_264 * g + 0.5 * b) / 4.0;
                tile.chroma[1][half] += (0.5 * r - 0.418_688 * g - 0.081_312 * b) / 4.0;
            }
        }
        tile
    }

    /// With the number of its plane each.
    fn blocks(&self) -> impl Iterator<Item = (usize, &[f32; BLOCK])> {
        let luma = self.luma.iter().map(|block| (0, block));
        luma.chain((1..).zip(&self.chroma))
    }
}

/// Row u holds the samples of the cosine of frequency u, of length 1.
fn cosines() -> [[f32; SIDE]; SIDE] {
    let cosine = |u: usize, x: usize| {
        let scale = if u == 0 { FRAC_1_SQRT_2 / 2.0 } else { 0.5 };
        scale * ((2 * x + 1) as f32 * u as f32 * PI / 16.0).cos()
    };
    std::array::from_fn(|u| std::array::from_fn(|x| cosine(u, x)))
}

fn frequencies(block: &[f32; BLOCK], cosines: &[[f32; SIDE]; SIDE]) -> [f32; BLOCK] {
    let mut rows = [0.0; BLOCK];
    for y in 0..SIDE {
        for u in 0..SIDE {
            rows[y * SIDE + u] = (0..SIDE).map(|x| block[y * SIDE + x] * cosines[u][x]).sum();
        }
    }
    let mut both = [0.0; BLOCK];
    for v in 0..SIDE {
        for u in 0..SIDE {
            both[v * SIDE + u] = (0..SIDE).map(|y| rows[y * SIDE + u] * cosines[v][y]).sum();
        }
    }
    both
}

/// The code and its length of each value.
struct Codes([(u16, u8); 256]);

impl Codes {
    fn new(lengths: &[u8; 16], values: &[u8]) -> Self {
        let mut codes = [(0, 0); 256];
        let (mut code, mut rest) = (0, values.iter());
        for (length, &count) in (1..).zip(lengths) {
            for &value in rest.by_ref().take(count.into()) {
                codes[usize::from(value)] = (code, length);
                code += 1;
            }
            code <<= 1;
        }
        Self(codes)
    }
}

/// Bits, the highest first.
struct Bits {
    bytes: Vec<u8>,
    held: u32,
    count: u8,
}

impl Bits {
    fn push(&mut self, bits: u16, count: u8) {
        self.held = self.held << count | u32::from(bits);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.held >> self.count) as u8;
            self.bytes.push(byte);
            if byte == 0xff {
                // It begins no marker.
                self.bytes.push(0);
            }
        }
        self.held &= (1 << self.count) - 1;
    }

    /// The code of a run of zeros with a number's length in bits, and the number.
    fn number(&mut self, number: i32, run: u8, codes: &Codes) {
        let length = (32 - number.unsigned_abs().leading_zeros()) as u8;
        let (code, count) = codes.0[usize::from(run << 4 | length)];
        self.push(code, count);
        // One below for negative ones: their highest bit is 0.
        let bits = if number < 0 { number - 1 } else { number };
        self.push((bits & ((1 << length) - 1)) as u16, length);
    }

    fn block(&mut self, levels: &[i32; BLOCK], before: &mut i32, dc: &Codes, ac: &Codes) {
        // Of the first one its difference to the block before.
        let first = levels[0].clamp(-1024, 1023);
        self.number(first - *before, 0, dc);
        *before = first;
        let mut run = 0;
        for &level in &levels[1..] {
            if level == 0 {
                run += 1;
                continue;
            }
            while run > 15 {
                self.number(0, 15, ac);
                run -= 16;
            }
            self.number(level.clamp(-1023, 1023), run, ac);
            run = 0;
        }
        if run > 0 {
            // The rest is zeros.
            self.number(0, 0, ac);
        }
    }

    fn end(mut self) -> Vec<u8> {
        self.push(0x7f, 7);
        self.bytes.extend([0xff, 0xd9]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;

    /// A drawing with slopes and edges.
    fn picture(width: u32, height: u32) -> Image {
        let mut rgb = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let inside = (x / 20 + y / 15) % 2 == 0;
                rgb.extend([
                    (x * 255 / width) as u8,
                    (y * 255 / height) as u8,
                    if inside { 200 } else { 60 },
                ]);
            }
        }
        Image::new(width, height, rgb).unwrap()
    }

    /// How far libjpeg's own are off, as Pillow writes them.
    #[test]
    fn what_is_written_is_read_as_near_as_libjpegs() {
        for (width, height, errors) in [
            (1, 1, [0.577, 0.577, 0.577]),
            (7, 9, [7.744, 6.121, 5.157]),
            (160, 120, [15.898, 12.110, 10.171]),
            (131, 77, [16.521, 12.669, 10.728]),
        ] {
            let image = picture(width, height);
            for (quality, expected) in [40, 75, 95].into_iter().zip(errors) {
                let read = Image::decode(&image.to_jpeg(quality)).unwrap();
                assert_eq!((read.width(), read.height()), (width, height));
                let squares = image
                    .rgb()
                    .iter()
                    .zip(read.rgb())
                    .map(|(&a, &b)| f64::from(a.abs_diff(b)).powi(2));
                let error = (squares.sum::<f64>() / image.rgb().len() as f64).sqrt();
                assert!(
                    error < 1.03 * expected + 0.25,
                    "{width}x{height} at {quality}: {error}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn noise_fills_every_code() {
        let mut state = 1u32;
        let noise = (0..3 * 64 * 64).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 31 == 0 { 0 } else { 255 }
        });
        let rgb: Vec<u8> = noise.collect();
        let read = Image::decode(&encode(64, 64, &rgb, 100)).unwrap();
        // Colours are halved: brightness stays.
        let brightness = |rgb: &[u8]| -> Vec<f64> {
            let weigh = |p: &[u8]| 0.299 * f64::from(p[0]) + 0.587 * f64::from(p[1]) + 0.114 * f64::from(p[2]);
            rgb.chunks(3).map(weigh).collect()
        };
        let (before, after) = (brightness(&rgb), brightness(read.rgb()));
        let mean = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).sum::<f64>() / before.len() as f64;
        assert!(mean < 40.0, "{mean}");
    }
}
