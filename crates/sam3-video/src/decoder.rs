//! The programs that decode, and what they are asked. Nothing passes through a shell, and no name through GStreamer's
//! own language but with all that it might act on as `%21`.

use std::{
    env, fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Codec, Rate, Uri, VideoError};

/// Which program is to decode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decoder {
    /// The one that is here; of two, GStreamer on a Jetson, whose decoders in hardware it has, else ffmpeg.
    #[default]
    Auto,
    /// This one.
    Only(Program),
}

/// A program that decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `ffmpeg`.
    Ffmpeg,
    /// `gst-launch-1.0`.
    Gstreamer,
}

/// What is asked of a source.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Which program decodes it.
    pub decoder: Decoder,
    /// Width and height that a camera should have.
    pub size: Option<(u32, u32)>,
    /// Frames a second that a camera should send.
    pub rate: Option<Rate>,
}

impl Program {
    /// The command's name.
    pub fn command(self) -> &'static str {
        match self {
            Self::Ffmpeg => "ffmpeg",
            Self::Gstreamer => "gst-launch-1.0",
        }
    }

    fn find(self) -> Option<PathBuf> {
        on_path(self.command())
    }
}

/// The program for a source, and where it is.
pub fn choose(uri: &Uri, decoder: Decoder) -> Result<(Program, PathBuf), VideoError> {
    let needs_gstreamer = matches!(uri, Uri::Csi(_));
    let programs: &[Program] = match decoder {
        Decoder::Only(Program::Ffmpeg) if needs_gstreamer => return Err(VideoError::NotRead(Program::Ffmpeg)),
        Decoder::Only(Program::Ffmpeg) => &[Program::Ffmpeg],
        Decoder::Only(Program::Gstreamer) => &[Program::Gstreamer],
        Decoder::Auto if needs_gstreamer => &[Program::Gstreamer],
        Decoder::Auto if is_jetson() => &[Program::Gstreamer, Program::Ffmpeg],
        Decoder::Auto => &[Program::Ffmpeg, Program::Gstreamer],
    };
    let found = programs.iter().find_map(|&program| Some((program, program.find()?)));
    found.ok_or(match programs {
        [only] => VideoError::NotInstalled(*only),
        _ => VideoError::NoDecoder,
    })
}

pub(crate) fn on_path(command: &str) -> Option<PathBuf> {
    let is_program =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(command))
        .find(is_program)
}

fn is_jetson() -> bool {
    Path::new("/etc/nv_tegra_release").exists()
}

/// ffmpeg, which writes a Y4M to stdout; and what it reads on stdin.
pub fn ffmpeg(program: &Path, uri: &Uri, wanted: &Wanted) -> (Command, Option<String>) {
    let mut command = Command::new(program);
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin"]);
    let mut stdin = None;
    match uri {
        Uri::Path(path) => {
            // Not a URL, whatever it looks like.
            let mut name = std::ffi::OsString::from("file:");
            name.push(path);
            command.arg("-i").arg(name);
        }
        Uri::V4l2(device) => {
            command.args(["-f", "v4l2"]);
            if let Some((frames, seconds)) = wanted.rate {
                command.args(["-framerate", &format!("{frames}/{seconds}")]);
            }
            if let Some((width, height)) = wanted.size {
                command.args(["-video_size", &format!("{width}x{height}")]);
            }
            command.arg("-i").arg(device);
        }
        Uri::Server(uri) => {
            // Over HTTP a file may come, whose beginning a low delay would throw away.
            if uri.starts_with("rtsp") {
                command.args(LOW_DELAY).args(["-rtsp_transport", "tcp"]);
            }
            command.args(["-i", uri]);
        }
        Uri::Udp { host, port } => {
            command.args(LOW_DELAY);
            // What comes faster than it is decoded is lost, as on a wire.
            command.args(["-i", &format!("udp://{}:{port}?overrun_nonfatal=1", or_all(host))]);
        }
        Uri::Rtp { host, port, codec } => {
            command.args(LOW_DELAY);
            command.args(["-protocol_whitelist", "pipe,udp,rtp", "-f", "sdp", "-i", "pipe:0"]);
            stdin = Some(session(host, *port, *codec));
        }
        Uri::Stdin | Uri::Csi(_) => unreachable!("not for ffmpeg"),
    }
    command.args(["-map", "0:v:0", "-an", "-sn", "-dn"]);
    // A Y4M does not say by which matrix its colours were made, nor its range.
    command.args([
        "-vf",
        "scale=out_color_matrix=bt601:out_range=tv,format=pix_fmts=yuv420p|yuv422p|yuv444p|gray",
    ]);
    // Each frame once: none is repeated or left out for the sake of an even rate, as GStreamer has it.
    command.args(["-vsync", "passthrough"]);
    command.args(["-f", "yuv4mpegpipe", "pipe:1"]);
    (command, stdin)
}

/// A second tells what is in a stream; ffmpeg would look at five.
const LOW_DELAY: [&str; 6] = [
    "-fflags",
    "nobuffer",
    "-flags",
    "low_delay",
    "-analyzeduration",
    "1000000",
];

fn or_all(host: &str) -> &str {
    match host {
        "" => "0.0.0.0",
        host => host,
    }
}

/// What tells a receiver of RTP what it gets.
fn session(host: &str, port: u16, codec: Codec) -> String {
    let (host, name) = (or_all(host), encoding(codec));
    format!(
        "v=0\r\no=- 0 0 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=video {port} RTP/AVP 96\r\n\
         a=rtpmap:96 {name}/90000\r\n"
    )
}

fn encoding(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => "H264",
        Codec::H265 => "H265",
    }
}

/// GStreamer, which writes I420 to its stdin, which is a pipe, and tells its size on stdout.
pub fn gstreamer(program: &Path, uri: &Uri, wanted: &Wanted) -> Command {
    let mut command = Command::new(program);
    command.arg("-v");
    command.args(match uri {
        Uri::Path(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let uri = format!("uri=file://{}", escaped(path.as_os_str().as_bytes(), b""));
            // Turned upright, as ffmpeg does by itself.
            words(&["uridecodebin", &uri, "!", "videoflip", "video-direction=auto"])
        }
        Uri::V4l2(device) => {
            let device = format!("device={}", device.display());
            let caps = camera("video/x-raw", wanted) + ";" + &camera("image/jpeg", wanted);
            let caps = format!("caps={caps}");
            words(&["v4l2src", &device, "!", "capsfilter", &caps, "!", "decodebin"])
        }
        Uri::Csi(number) => {
            let sensor = format!("sensor-id={number}");
            let caps = camera("video/x-raw(memory:NVMM)", wanted);
            words(&["nvarguscamerasrc", &sensor, "!", &caps])
        }
        Uri::Server(uri) if uri.starts_with("rtsp") => {
            let location = format!("location={}", escaped(uri.as_bytes(), OF_URIS));
            let rtp = "application/x-rtp,media=(string)video";
            words(&[
                "rtspsrc",
                &location,
                "protocols=tcp",
                "latency=200",
                "!",
                rtp,
                "!",
                "decodebin",
            ])
        }
        Uri::Server(uri) => words(&["uridecodebin", &format!("uri={}", escaped(uri.as_bytes(), OF_URIS))]),
        Uri::Udp { host, port } => {
            let [address, port] = [format!("address={}", or_all(host)), format!("port={port}")];
            let caps = "caps=video/mpegts,systemstream=(boolean)true,packetsize=(int)188";
            words(&["udpsrc", &address, &port, caps, "!", "decodebin"])
        }
        Uri::Rtp { host, port, codec } => {
            let [address, port] = [format!("address={}", or_all(host)), format!("port={port}")];
            let caps = format!(
                "caps=application/x-rtp,media=(string)video,clock-rate=(int)90000,encoding-name=(string){}",
                encoding(*codec)
            );
            let unpack = format!("rtp{}depay", encoding(*codec).to_ascii_lowercase());
            let jitter = "rtpjitterbuffer";
            words(&[
                "udpsrc",
                &address,
                &port,
                &caps,
                "!",
                jitter,
                "latency=100",
                "!",
                &unpack,
                "!",
                "decodebin",
            ])
        }
        Uri::Stdin => unreachable!("not for GStreamer"),
    });
    if is_jetson() {
        // Out of the memory of the decoder in hardware.
        command.args(["!", "nvvidconv", "!", "video/x-raw,format=(string)I420"]);
    }
    command.args([
        "!",
        "videoconvert",
        "!",
        "video/x-raw,format=(string)I420,colorimetry=(string)bt601",
    ]);
    command.args(["!", "fdsink", "fd=0", "sync=false"]);
    command
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn camera(kind: &str, wanted: &Wanted) -> String {
    let mut caps = kind.to_owned();
    if let Some((width, height)) = wanted.size {
        caps += &format!(",width=(int){width},height=(int){height}");
    }
    if let Some((frames, seconds)) = wanted.rate {
        caps += &format!(",framerate=(fraction){frames}/{seconds}");
    }
    caps
}

/// A URI whose letters mean nothing to GStreamer's language for pipelines; `kept` are those that mean something in it.
fn escaped(uri: &[u8], kept: &[u8]) -> String {
    let mut text = String::new();
    for &byte in uri {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) || kept.contains(&byte) {
            text.push(byte.into());
        } else {
            text += &format!("%{byte:02X}");
        }
    }
    text
}

/// What separates the parts of a URI.
const OF_URIS: &[u8] = b":?#[]@&=+,%";

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(command: &Command) -> Vec<String> {
        command
            .get_args()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn names_mean_nothing_to_the_decoders() {
        let wanted = Wanted::default();
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let (command, _) = ffmpeg(Path::new("ffmpeg"), &uri("-i http:x"), &wanted);
        assert!(arguments(&command).contains(&"file:-i http:x".to_owned()));
        let command = gstreamer(Path::new("gst"), &uri("/a ! filesink \"b\" 100%.mp4"), &wanted);
        let names: Vec<_> = arguments(&command)
            .into_iter()
            .filter(|word| word.contains("file"))
            .collect();
        assert_eq!(names, ["uri=file:///a%20%21%20filesink%20%22b%22%20100%25.mp4"]);
        let command = gstreamer(Path::new("gst"), &uri("rtsp://me:a!b c@cam/'x'"), &wanted);
        assert!(arguments(&command).contains(&"location=rtsp://me:a%21b%20c@cam/%27x%27".to_owned()));
    }

    #[test]
    fn cameras_are_asked_for_a_size() {
        let wanted = Wanted {
            size: Some((1280, 720)),
            rate: Some((30, 1)),
            ..Wanted::default()
        };
        let uri = Uri::V4l2("/dev/video0".into());
        let (command, _) = ffmpeg(Path::new("ffmpeg"), &uri, &wanted);
        let expected = "-f v4l2 -framerate 30/1 -video_size 1280x720 -i /dev/video0";
        assert!(arguments(&command).join(" ").contains(expected));
        let command = gstreamer(Path::new("gst"), &Uri::Csi(1), &wanted);
        let expected = "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=(int)1280,height=(int)720,\
                        framerate=(fraction)30/1 ! ";
        assert!(arguments(&command).join(" ").contains(expected));
    }
}
