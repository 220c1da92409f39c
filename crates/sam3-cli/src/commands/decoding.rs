//! What a camera is asked for, and who decodes what it sends: flags of `track` and `serve`.

use clap::ValueEnum;
use sam3_video::{Decoder, Program, Rate, Wanted};

/// How sources are decoded.
#[derive(Clone, Debug, clap::Args)]
pub struct DecodingFlags {
    /// The program for what is no Y4M, MJPEG or picture
    #[arg(long, value_enum, value_name = "PROGRAM", default_value_t = DecoderFlag::Auto)]
    decoder: DecoderFlag,
    /// Width and height that a camera is asked for, or that pixels on stdin have
    #[arg(long, value_name = "WxH", value_parser = parse_size, allow_hyphen_values = true)]
    size: Option<(u32, u32)>,
    /// Frames a second that a camera is asked for, or that frames on stdin and an overlay's video have
    #[arg(long, value_name = "N", value_parser = parse_rate, allow_hyphen_values = true)]
    fps: Option<Rate>,
}

/// What `--decoder` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DecoderFlag {
    /// ffmpeg; on a Jetson GStreamer, which has its decoders in hardware; the other where one is missing
    Auto,
    #[value(help = None)]
    Ffmpeg,
    #[value(help = None)]
    Gstreamer,
}

impl DecodingFlags {
    /// For whoever opens a source.
    pub fn wanted(&self) -> Wanted {
        Wanted {
            decoder: match self.decoder {
                DecoderFlag::Auto => Decoder::Auto,
                DecoderFlag::Ffmpeg => Decoder::Only(Program::Ffmpeg),
                DecoderFlag::Gstreamer => Decoder::Only(Program::Gstreamer),
            },
            size: self.size,
            rate: self.fps,
        }
    }
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let size = text.split_once(['x', 'X']).and_then(|(width, height)| {
        let size: (u32, u32) = (width.parse().ok()?, height.parse().ok()?);
        (size.0 > 0 && size.1 > 0).then_some(size)
    });
    size.ok_or_else(|| format!("expected WIDTHxHEIGHT in pixels, such as 1280x720, found {text:?}"))
}

/// `30`, `29.97` or `30000/1001`.
fn parse_rate(text: &str) -> Result<Rate, String> {
    let fraction = |(frames, seconds): (&str, &str)| Some((frames.parse().ok()?, seconds.parse().ok()?));
    let rate = match text.split_once('/') {
        Some(parts) => fraction(parts),
        None => text
            .parse()
            .ok()
            .map(|rate: f64| ((rate * 1000.0).round() as u64, 1000)),
    };
    let rate = rate.filter(|&(frames, seconds)| frames > 0 && seconds > 0 && frames <= 1_000_000 * seconds);
    rate.ok_or_else(|| format!("expected frames a second, such as 30 or 30000/1001, found {text:?}"))
}
