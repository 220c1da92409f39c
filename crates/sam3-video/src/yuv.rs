//! The colours of a Y4M's samples: BT.601, as ffmpeg takes what says nothing else.
//!
//! Each pixel takes the colour samples that it lies in, and none in between, as ffmpeg's `swscale` does by default:
//! where they are rounds to nothing here. Its own arithmetic on 4:2:0 and 4:2:2 is shorter, and up to 2 of 255 from
//! this.

use std::collections::TryReserveError;

/// How samples of colour lie among those of brightness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Brightness alone.
    Mono,
    /// One for each square of four pixels. `420jpeg`, `420mpeg2` and `420paldv` differ in where in the square it is.
    #[default]
    C420,
    /// One for two pixels of a row.
    C422,
    /// One for four pixels of a row.
    C411,
    /// One for each pixel.
    C444,
}

/// What the numbers of samples mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Range {
    /// 16 is black, 235 is white.
    #[default]
    Limited,
    /// 0 is black, 255 is white.
    Full,
}

impl Layout {
    /// As a header spells it.
    ///
    /// # Errors
    /// The ones that are not read, with what to do.
    pub fn parse(text: &str) -> Result<Self, String> {
        let next = "write it with `ffmpeg … -pix_fmt yuv420p -f yuv4mpegpipe`";
        match text {
            "mono" => Ok(Self::Mono),
            "420" | "420jpeg" | "420mpeg2" | "420paldv" => Ok(Self::C420),
            "422" => Ok(Self::C422),
            "411" => Ok(Self::C411),
            "444" => Ok(Self::C444),
            _ => {
                let bits = text
                    .strip_prefix("mono")
                    .or_else(|| text.rsplit_once('p').map(|(_, bits)| bits));
                let bits = bits.filter(|bits| bits.parse().is_ok_and(|bits: u32| bits > 8));
                Err(match bits {
                    Some(bits) => format!("expected 8 bits a sample, found C{text}, {bits} bits; {next}"),
                    None => format!(
                        "expected C420, C420jpeg, C420mpeg2, C420paldv, C422, C411, C444 or Cmono, found C{text}; \
                         {next}"
                    ),
                })
            }
        }
    }

    /// Pixels of a row, and rows, that share a sample of colour; none where there are none.
    fn shared(self) -> Option<(usize, usize)> {
        match self {
            Self::Mono => None,
            Self::C420 => Some((2, 2)),
            Self::C422 => Some((2, 1)),
            Self::C411 => Some((4, 1)),
            Self::C444 => Some((1, 1)),
        }
    }

    /// Samples of a frame.
    pub fn samples(self, width: u32, height: u32) -> usize {
        let (width, height) = (width as usize, height as usize);
        let colors = self.shared().map_or(0, |(x, y)| width.div_ceil(x) * height.div_ceil(y));
        width * height + 2 * colors
    }
}

/// Bits behind the point.
const BITS: u32 = 16;
const HALF: i32 = 1 << (BITS - 1);

/// What a sample adds, [`BITS`] behind the point: brightness to all, red and blue differences to what they are of.
struct Factors {
    /// What black is.
    black: i32,
    brightness: i32,
    red: i32,
    green_by_blue: i32,
    green_by_red: i32,
    blue: i32,
}

impl Factors {
    fn of(range: Range) -> Self {
        // The shares of red and blue in brightness.
        const RED: f64 = 0.299;
        const BLUE: f64 = 0.114;
        const GREEN: f64 = 1.0 - RED - BLUE;
        let (black, luma, chroma) = match range {
            Range::Limited => (16, 255.0 / 219.0, 255.0 / 224.0),
            Range::Full => (0, 1.0, 1.0),
        };
        let fixed = |factor: f64| (factor * f64::from(1 << BITS)).round() as i32;
        let (red, blue) = (2.0 * (1.0 - RED) * chroma, 2.0 * (1.0 - BLUE) * chroma);
        Self {
            black,
            brightness: fixed(luma),
            red: fixed(red),
            green_by_blue: fixed(-blue * BLUE / GREEN),
            green_by_red: fixed(-red * RED / GREEN),
            blue: fixed(blue),
        }
    }

    fn rgb(&self, [y, u, v]: [u8; 3]) -> [u8; 3] {
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        let brightness = (i32::from(y) - self.black) * self.brightness + HALF;
        let sums = [
            brightness + v * self.red,
            brightness + u * self.green_by_blue + v * self.green_by_red,
            brightness + u * self.blue,
        ];
        sums.map(|sum| (sum >> BITS).clamp(0, 255) as u8)
    }
}

/// The pixels of a frame: `[height, width, 3]`. Grey is as bright as in colours.
///
/// # Errors
/// When there is no room for them.
///
/// # Panics
/// When there are not as many samples as [`Layout::samples`].
pub fn to_rgb(
    samples: &[u8],
    (width, height): (u32, u32),
    layout: Layout,
    range: Range,
) -> Result<Vec<u8>, TryReserveError> {
    assert_eq!(
        samples.len(),
        layout.samples(width, height),
        "samples of {width} x {height} pixels"
    );
    let (width, height) = (width as usize, height as usize);
    let factors = Factors::of(range);
    let mut rgb = Vec::new();
    rgb.try_reserve_exact(3 * width * height)?;
    let (brightness, colors) = samples.split_at(width * height);
    let (blue, red) = colors.split_at(colors.len() / 2);
    for (y, row) in brightness.chunks_exact(width).enumerate() {
        match layout.shared() {
            None => rgb.extend(row.iter().flat_map(|&y| factors.rgb([y, 128, 128]))),
            Some((shared_x, shared_y)) => {
                let start = y / shared_y * width.div_ceil(shared_x);
                let color = |x: usize| start + x / shared_x;
                let pixels = row.iter().enumerate();
                rgb.extend(pixels.flat_map(|(x, &y)| factors.rgb([y, blue[color(x)], red[color(x)]])));
            }
        }
    }
    Ok(rgb)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples, and what `swscale` 9.5 makes of them: of 4:4:4, which it computes to the last digit, and of 4:2:0.
    const KNOWN: [([u8; 3], [u8; 3], [u8; 3]); 14] = [
        ([16, 128, 128], [0, 0, 0], [0, 0, 0]),
        ([235, 128, 128], [255, 255, 255], [255, 255, 255]),
        ([0, 128, 128], [0, 0, 0], [0, 0, 0]),
        ([81, 90, 240], [254, 0, 0], [253, 0, 0]),
        ([145, 54, 34], [0, 255, 1], [0, 254, 0]),
        ([41, 240, 110], [0, 0, 255], [0, 0, 254]),
        ([126, 128, 128], [128, 128, 128], [128, 128, 128]),
        ([106, 202, 222], [255, 0, 254], [254, 0, 253]),
        ([170, 166, 16], [1, 255, 255], [0, 255, 255]),
        ([50, 100, 180], [123, 8, 0], [121, 6, 0]),
        ([200, 60, 70], [122, 255, 77], [121, 255, 76]),
        ([128, 0, 255], [255, 77, 0], [255, 76, 0]),
        ([128, 255, 0], [0, 185, 255], [0, 184, 255]),
        ([180, 255, 255], [255, 38, 255], [255, 36, 255]),
    ];

    #[test]
    fn colours_are_ffmpegs() {
        for (sample, exact, short) in KNOWN {
            let [y, u, v] = sample;
            assert_eq!(
                to_rgb(&sample, (1, 1), Layout::C444, Range::Limited).unwrap(),
                exact,
                "{sample:?}"
            );
            let found = to_rgb(&[y, y, y, y, u, v], (2, 2), Layout::C420, Range::Limited).unwrap();
            let apart = found.iter().zip(short.repeat(4)).map(|(a, b)| a.abs_diff(b)).max();
            assert!(apart <= Some(2), "{sample:?}: {found:?}, {short:?}");
        }
        // JPEG's own: (76, 85, 255) is red, (150, 44, 21) green, (29, 255, 107) blue.
        for (sample, expected) in [
            ([0, 128, 128], [0, 0, 0]),
            ([255, 128, 128], [255, 255, 255]),
            ([76, 85, 255], [254, 0, 0]),
            ([150, 44, 21], [0, 255, 1]),
            ([29, 255, 107], [0, 0, 254]),
        ] {
            assert_eq!(
                to_rgb(&sample, (1, 1), Layout::C444, Range::Full).unwrap(),
                expected,
                "{sample:?}"
            );
        }
    }

    #[test]
    fn a_pixel_takes_the_colour_it_lies_in() {
        let (grey, blue) = ([130, 130, 130], [130, 87, 255]);
        let is_blue = |layout: Layout, colors: &[u8]| {
            let samples = [&[128; 15], colors].concat();
            let rgb = to_rgb(&samples, (5, 3), layout, Range::Limited).unwrap();
            let (pixels, _) = rgb.as_chunks::<3>();
            assert!(
                pixels.iter().all(|pixel| *pixel == grey || *pixel == blue),
                "{pixels:?}"
            );
            pixels.iter().map(|pixel| u8::from(*pixel == blue)).collect::<Vec<_>>()
        };
        let colors = |count: usize, at: usize| {
            let mut colors = vec![128; 2 * count];
            colors[at] = 240;
            colors
        };
        // Sides that are no multiples share what is left.
        assert_eq!(
            is_blue(Layout::C420, &colors(6, 2)),
            [0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
        );
        assert_eq!(
            is_blue(Layout::C420, &colors(6, 3)),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0]
        );
        assert_eq!(
            is_blue(Layout::C422, &colors(9, 4)),
            [0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(
            is_blue(Layout::C411, &colors(6, 2)),
            [0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(
            is_blue(Layout::C444, &colors(15, 7)),
            [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(is_blue(Layout::Mono, &[]), [0; 15]);
    }
}
