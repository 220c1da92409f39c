//! Pictures that another program makes a video file of.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, PipeWriter, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use sam3_model::image::Image;

use crate::{
    Decoder, Program, Rate, Uri, VideoError,
    child::{LastWords, ends_with_us},
    decoder::{choose, on_path},
};

/// Pictures that may wait for the program.
const WAITING: usize = 2;

/// What holds the frames of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// MPEG-4, `.mp4`.
    Mp4,
    /// Matroska, `.mkv`.
    Mkv,
}

/// A program that makes videos, and what it codes them by.
#[derive(Clone, Debug)]
pub struct Coder {
    program: Program,
    path: PathBuf,
    codec: &'static str,
}

/// What a file is to be.
#[derive(Clone, Copy, Debug)]
pub struct Film<'a> {
    /// What holds its frames.
    pub container: Container,
    /// Frames a second.
    pub rate: Rate,
    /// What it says of itself, of ASCII letters, digits, spaces and dots.
    pub comment: &'a str,
}

impl Coder {
    /// The program that is here. H.264 is taken where it is there, of ffmpeg else MPEG-4 part 2.
    ///
    /// # Errors
    /// When none is here, or it codes neither.
    pub fn find(wanted: Decoder) -> Result<Self, VideoError> {
        let (program, path) = choose(&Uri::Stdin, wanted)?;
        let codec = match program {
            Program::Ffmpeg => {
                let listed = Command::new(&path).args(["-hide_banner", "-encoders"]).output()?;
                let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
                let is_there = |name: &str| listed.split_ascii_whitespace().any(|word| word == name);
                ["libx264", "mpeg4"].into_iter().find(|name| is_there(name))
            }
            Program::Gstreamer => {
                let inspect = on_path("gst-inspect-1.0").unwrap_or_else(|| "gst-inspect-1.0".into());
                let is_there = |name: &str| {
                    let asked = Command::new(&inspect).args(["--exists", name]).output();
                    asked.is_ok_and(|asked| asked.status.success())
                };
                ["x264enc", "openh264enc"].into_iter().find(|name| is_there(name))
            }
        };
        match codec {
            Some(codec) => Ok(Self { program, path, codec }),
            None => Err(VideoError::NoCodec(program)),
        }
    }

    fn ffmpeg(&self, target: &Path, film: &Film, (width, height): (u32, u32)) -> Command {
        let (frames, seconds) = film.rate;
        let mut command = Command::new(&self.path);
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-xerror", "-y"]);
        command.args(["-f", "rawvideo", "-pixel_format", "rgb24"]);
        command.args(["-video_size", &format!("{width}x{height}")]);
        command.args(["-framerate", &format!("{frames}/{seconds}"), "-i", "pipe:0", "-an"]);
        command.args(["-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"]);
        command.args([
            "-colorspace",
            "bt709",
            "-color_primaries",
            "bt709",
            "-color_trc",
            "bt709",
        ]);
        command.args(["-color_range", "tv", "-c:v", self.codec]);
        command.args(match self.codec {
            "libx264" => ["-preset", "veryfast", "-crf", "20"].as_slice(),
            _ => &["-q:v", "3"],
        });
        command.args(["-metadata", &format!("comment={}", film.comment)]);
        command.args(["-f", film.container.ffmpeg()]);
        // Not a URL, whatever it looks like.
        let mut name = OsString::from("file:");
        name.push(target);
        command.arg(name);
        command
    }

    /// It reads frames from its stdout, and writes the file that is its stdin: what it says on stdout is in neither.
    fn gstreamer(&self, film: &Film, (width, height): (u32, u32)) -> Command {
        let (frames, seconds) = film.rate;
        let mut command = Command::new(&self.path);
        command.args(["-q", "fdsrc", "fd=1", "!", "rawvideoparse", "format=rgb"]);
        command.args([format!("width={width}"), format!("height={height}")]);
        command.args([&format!("framerate={frames}/{seconds}"), "!", "videoconvert", "!"]);
        command.args([
            "video/x-raw,format=(string)I420,colorimetry=(string)bt709",
            "!",
            self.codec,
        ]);
        // A seventh of a bit for a pixel looks well; it would be 128 to 2,048 kbit/s at any size.
        let pixels = u64::from(width) * u64::from(height) * frames / seconds;
        let bits = (pixels / 7).clamp(1_000_000, 100_000_000);
        match self.codec {
            "x264enc" => command.args(["speed-preset=veryfast".to_owned(), format!("bitrate={}", bits / 1000)]),
            _ => command.arg(format!("bitrate={bits}")),
        };
        command.args(["!", "h264parse", "!"]);
        // Tags are read as a text of their own.
        let tags = format!("tags=comment=\"{}\"", film.comment.replace(' ', "\\ "));
        match film.container {
            Container::Mp4 => command.args(["taginject", &tags, "!", "mp4mux"]),
            // It leaves comments away.
            Container::Mkv => command.args(["matroskamux", &format!("writing-app={}", film.comment)]),
        };
        command.args(["!", "fdsink", "fd=0"]);
        command
    }
}

impl Container {
    fn ffmpeg(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mkv => "matroska",
        }
    }
}

/// A file that a program makes of pictures as they come. The program ends with this, and with the thread that started
/// it.
#[derive(Debug)]
pub struct Encoder {
    program: Program,
    child: Child,
    words: LastWords,
    pictures: Option<SyncSender<(Image, usize)>>,
    writer: Option<JoinHandle<io::Result<()>>>,
}

impl Encoder {
    /// Starts the program, which writes `file`; `name` is where that is.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn start(coder: &Coder, file: &File, name: &Path, film: &Film, size: (u32, u32)) -> Result<Self, VideoError> {
        // The codecs take even sides alone.
        let size = (size.0.next_multiple_of(2), size.1.next_multiple_of(2));
        let (reader, pipe) = io::pipe()?;
        let mut command = match coder.program {
            Program::Ffmpeg => {
                let mut command = coder.ffmpeg(name, film, size);
                command.stdin(reader).stdout(Stdio::null());
                command
            }
            Program::Gstreamer => {
                let mut command = coder.gstreamer(film, size);
                command.stdin(file.try_clone()?).stdout(reader);
                command
            }
        };
        command.stderr(Stdio::piped());
        ends_with_us(&mut command);
        let mut child = command.spawn()?;
        // Its end of the pipe is its own now.
        drop(command);
        let words = LastWords::of(child.stderr.take().expect("it is piped"), &Uri::Stdin);
        let (pictures, waiting) = sync_channel(WAITING);
        // GStreamer's rows end on four bytes.
        let stride = match coder.program {
            Program::Ffmpeg => 3 * size.0 as usize,
            Program::Gstreamer => (3 * size.0 as usize).next_multiple_of(4),
        };
        let write = move || write_all(&waiting, pipe, size, stride);
        let writer = thread::Builder::new().name("encoder".to_owned()).spawn(write);
        let mut encoder = Self {
            program: coder.program,
            child,
            words: LastWords::default(),
            pictures: Some(pictures),
            writer: None,
        };
        encoder.words = words?;
        encoder.writer = Some(writer?);
        Ok(encoder)
    }

    /// Hands a picture over, to be shown for so many frames; waits while two are waiting.
    ///
    /// # Errors
    /// When the program has ended: why.
    pub fn write(&mut self, picture: Image, times: usize) -> Result<(), VideoError> {
        let pictures = self.pictures.as_ref();
        match pictures.is_some_and(|pictures| pictures.send((picture, times)).is_ok()) {
            true => Ok(()),
            false => Err(self
                .end()
                .err()
                .unwrap_or_else(|| self.ended("it took no more frames".to_owned()))),
        }
    }

    /// Waits until the file is whole.
    ///
    /// # Errors
    /// When the program says that it is not.
    pub fn finish(mut self) -> Result<(), VideoError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), VideoError> {
        self.pictures = None;
        let written = self
            .writer
            .take()
            .map_or(Ok(()), |writer| writer.join().expect("it does not panic"));
        let status = self.child.wait()?;
        let words = std::mem::take(&mut self.words).read();
        // ffmpeg, which was asked for errors alone, ends well all the same where a disk was full at the end; GStreamer
        // does not, and its libraries talk.
        let is_well = status.success() && (words.is_empty() || self.program == Program::Gstreamer);
        match is_well {
            true => Ok(written?),
            false if words.is_empty() => Err(self.ended(status.to_string())),
            false => Err(self.ended(words)),
        }
    }

    fn ended(&self, reason: String) -> VideoError {
        VideoError::Encoder {
            program: self.program,
            reason,
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // One that has ended is reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes pictures until there are no more, or nobody reads them.
fn write_all(
    pictures: &Receiver<(Image, usize)>,
    mut pipe: PipeWriter,
    size: (u32, u32),
    stride: usize,
) -> io::Result<()> {
    let mut frame = Vec::new();
    while let Ok((picture, times)) = pictures.recv() {
        lay_out(&picture, size, stride, &mut frame);
        for _ in 0..times {
            pipe.write_all(&frame)?;
        }
    }
    Ok(())
}

/// The bytes of a picture whose last column and row are repeated up to a size.
fn lay_out(picture: &Image, (width, height): (u32, u32), stride: usize, frame: &mut Vec<u8>) {
    frame.clear();
    let rows = picture.rgb().chunks_exact(3 * picture.width() as usize);
    let last = rows.clone().next_back();
    for row in rows.chain(last).take(height as usize) {
        let end = frame.len() + stride;
        frame.extend(row);
        if width > picture.width() {
            frame.extend(&row[row.len() - 3..]);
        }
        frame.resize(end, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_made_even_and_rows_end_where_they_should() {
        let picture = Image::new(3, 1, (1..10).collect()).unwrap();
        let mut frame = Vec::new();
        let row = [1, 2, 3, 4, 5, 6, 7, 8, 9, 7, 8, 9];
        lay_out(&picture, (4, 2), 12, &mut frame);
        assert_eq!(frame, [row, row].concat());
        let picture = Image::new(2, 2, (0..12).collect()).unwrap();
        lay_out(&picture, (2, 2), 8, &mut frame);
        assert_eq!(frame, [0, 1, 2, 3, 4, 5, 0, 0, 6, 7, 8, 9, 10, 11, 0, 0]);
    }

    #[test]
    fn names_mean_nothing_to_ffmpeg_and_none_comes_to_gstreamer() {
        let coder = |program, codec| Coder {
            program,
            path: "x".into(),
            codec,
        };
        let film = Film {
            container: Container::Mp4,
            rate: (30_000, 1001),
            comment: "overlay by sam3 0.1.0",
        };
        let words = |command: &Command| -> Vec<String> {
            let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
            words.collect()
        };
        let target = Path::new("-y http://a");
        let ffmpeg = words(&coder(Program::Ffmpeg, "mpeg4").ffmpeg(target, &film, (64, 48)));
        assert_eq!(ffmpeg.last().unwrap(), "file:-y http://a");
        assert!(
            ffmpeg
                .join(" ")
                .contains("-video_size 64x48 -framerate 30000/1001 -i pipe:0")
        );
        let gstreamer = words(&coder(Program::Gstreamer, "x264enc").gstreamer(&film, (1280, 720))).join(" ");
        assert!(
            gstreamer.contains("width=1280 height=720 framerate=30000/1001 !"),
            "{gstreamer}"
        );
        assert!(
            gstreamer.ends_with("mp4mux ! fdsink fd=0") && gstreamer.contains("bitrate=3945"),
            "{gstreamer}"
        );
    }
}
