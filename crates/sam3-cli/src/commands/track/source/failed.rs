//! What is said where a video's frames cannot be read.

use sam3_video::{Program, VideoError};

use super::foreign;
use crate::failure::Failure;

/// The error of a file behind so many whole frames: what a decoder refuses is the file's fault.
pub fn failed_in_file(name: &str, error: &VideoError, whole: usize) -> anyhow::Error {
    match error {
        VideoError::Decoder { .. } => Failure::input(
            format!("{name}: {error}; {whole} whole frames came before"),
            "copy it again, or try the other decoder: --decoder ffmpeg, --decoder gstreamer; `ffprobe` tells what it is",
        ),
        error => failed(name, error, whole),
    }
}

/// The error of any other source.
pub fn failed(name: &str, error: &VideoError, whole: usize) -> anyhow::Error {
    match error {
        VideoError::Io(error) => Failure::environment(
            format!("{name}: cannot read it on behind {whole} whole frames: {error}"),
            "connect its drive again, or look at what writes into the pipe",
        ),
        VideoError::Memory(_) => Failure::environment(
            format!("{name}: no memory for a frame"),
            "end other programs, or scale the video down: `ffmpeg … -vf scale=1280:-2`",
        ),
        VideoError::NoDecoder | VideoError::NotInstalled(Program::Ffmpeg) => Failure::environment(
            format!("{name}: {error}, and sam3 decodes Y4M, MJPEG and pictures alone"),
            "install one: `apt-get install ffmpeg`; a Jetson has GStreamer",
        ),
        VideoError::NotInstalled(Program::Gstreamer) => Failure::environment(
            format!("{name}: {error}"),
            "install it: `apt-get install gstreamer1.0-tools gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
             gstreamer1.0-libav`",
        ),
        VideoError::NotRead(_) => Failure::usage(format!("{name}: {error}"), "leave --decoder away, or name gstreamer"),
        VideoError::Decoder { .. } | VideoError::Stalled(_) => Failure::environment(
            format!("{name}: {error}; {whole} whole frames came before"),
            "look at the source by `ffplay`, or try the other decoder: --decoder ffmpeg, --decoder gstreamer",
        ),
        VideoError::Header(reason) if whole == 0 => {
            Failure::input(format!("{name}: {reason}"), foreign::through_ffmpeg("-i VIDEO"))
        }
        error => Failure::input(
            format!("{name}: {error}; {whole} whole frames are before that"),
            "copy it again, or look at what wrote it; the results of the whole frames stay",
        ),
    }
}
