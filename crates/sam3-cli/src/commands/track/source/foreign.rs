//! What is given in place of frames, by its content, and the command that makes frames of it.

use sam3_model::image;
use sam3_video::Y4M_MAGIC;

use crate::failure::Failure;

const EXPECTED: &str = "expected a folder of pictures, a video, a camera, or - for Y4M on stdin";

/// The pipe by which ffmpeg hands over what it reads by `input`.
pub fn through_ffmpeg(input: &str) -> String {
    format!("let ffmpeg decode it: ffmpeg {input} -pix_fmt yuv420p -f yuv4mpegpipe - | sam3 track --source - …")
}

/// That a file may be a video, for another program to decode.
///
/// # Errors
/// What it is in place of that.
pub fn check(name: &str, start: &[u8]) -> anyhow::Result<()> {
    if start.is_empty() {
        return Err(empty(name));
    }
    match start.starts_with(b"\xff\xd8\xff") || start.starts_with(b"\x89PNG") {
        true => Err(Failure::input(
            format!("{name}: {EXPECTED}, found one picture"),
            "name the folder of the frames; `sam3 click` and `sam3 segment` look at one picture",
        )),
        false => Ok(()),
    }
}

/// That a stream begins as Y4M does.
///
/// # Errors
/// What it is in place of that.
pub fn check_pipe(name: &str, start: &[u8]) -> anyhow::Result<()> {
    if start.starts_with(Y4M_MAGIC) {
        return Ok(());
    }
    if start.is_empty() {
        return Err(empty(name));
    }
    let found = match image::is_video(start) {
        true => "a video that is to be decoded first",
        false => "none of these",
    };
    Err(Failure::input(
        format!("{name}: expected Y4M or JPEGs one after the other, found {found}"),
        format!("{}; pixels without a header need --size", through_ffmpeg("-i -")),
    ))
}

fn empty(name: &str) -> anyhow::Error {
    Failure::input(
        format!("{name}: {EXPECTED}, found nothing"),
        "a video that was just copied may be empty: look at its size, or at what writes it",
    )
}

/// The error for other devices and sockets.
pub fn device(name: &str) -> anyhow::Error {
    Failure::input(
        format!("{name}: {EXPECTED}, found a device"),
        "a camera is named v4l2:///dev/video0; copy what another device gives into a file, and name that file",
    )
}
