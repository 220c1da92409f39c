//! What is given in place of frames, by its content, and the command that makes frames of it.

use sam3_model::image;

use super::y4m::MAGIC;
use crate::failure::Failure;

const EXPECTED: &str = "expected a folder of pictures, a Y4M file, or - for Y4M on stdin";

/// The pipe by which ffmpeg hands over what it reads by `input`.
pub fn through_ffmpeg(input: &str) -> String {
    format!("let ffmpeg decode it: ffmpeg {input} -pix_fmt yuv420p -f yuv4mpegpipe - | sam3 track --source - …")
}

/// That a file or stream begins as Y4M does.
///
/// # Errors
/// What it is in place of that; ffmpeg reads it by `input`.
pub fn check(name: &str, start: &[u8], input: &str) -> anyhow::Result<()> {
    if start.starts_with(MAGIC) {
        return Ok(());
    }
    let (found, hint) = if start.is_empty() {
        (
            "nothing",
            "a video that was just copied may be empty: look at its size, or at what writes it".to_owned(),
        )
    } else if image::is_video(start) {
        ("a video in a format that sam3 does not decode", through_ffmpeg(input))
    } else if start.starts_with(b"GIF8") {
        ("a GIF", through_ffmpeg(input))
    } else if start.starts_with(b"\xff\xd8\xff") || start.starts_with(b"\x89PNG") {
        (
            "one picture",
            "name the folder of the frames; `sam3 click` and `sam3 segment` look at one picture".to_owned(),
        )
    } else {
        ("none of these", format!("if it is a video, {}", through_ffmpeg(input)))
    };
    Err(Failure::input(format!("{name}: {EXPECTED}, found {found}"), hint))
}

/// The error for what is named like a camera or a stream of the network; none for other names.
pub fn camera(name: &str) -> Option<anyhow::Error> {
    let input = if name.starts_with("/dev/video") {
        format!("-f v4l2 -i {name}")
    } else if name.contains("://") {
        format!("-i {name}")
    } else {
        return None;
    };
    Some(Failure::input(
        format!("{name}: {EXPECTED}, found the name of a camera or a stream"),
        through_ffmpeg(&input),
    ))
}

/// The error for other devices and sockets.
pub fn device(name: &str) -> anyhow::Error {
    Failure::input(
        format!("{name}: {EXPECTED}, found a device"),
        "copy what it gives into a file, and name that file",
    )
}
