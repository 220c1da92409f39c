//! Where the frames of a video come from: a folder of pictures, a file, a camera, a stream of the network, a pipe. One
//! frame is in memory at a time, and two more where another program decodes them.

mod failed;
mod folder;
mod foreign;
mod y4m_file;

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, IsTerminal},
    os::{fd::AsFd, unix::fs::FileTypeExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sam3_model::{image::Image, report::LiveTiming};
use sam3_video::{
    Ahead, Caught, Decoded, Frames, LiveSource, Mjpeg, Pixels, Rate, Raw, Uri, VideoError, Wanted, Y4M_MAGIC, Y4m,
};

use self::{
    failed::{failed, failed_in_file},
    y4m_file::Y4mFile,
};
use super::interrupt::{self, Pipe};
use crate::{commands::segment::Input, failure::Failure};

/// Bytes that are read at once.
const BUFFER: usize = 1 << 18;

/// What a JPEG begins with.
const JPEG_MAGIC: &[u8] = b"\xff\xd8\xff";

/// A video.
pub struct Source {
    /// What errors call it.
    name: String,
    kind: Kind,
}

enum Kind {
    Folder(Vec<Input>),
    File(Y4mFile),
    Stream(Stream),
    Live(LiveSource),
}

/// What is asked of a source.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Of a camera, or of who decodes.
    pub wanted: Wanted,
    /// Whether to take the latest frame only.
    pub is_live: bool,
    /// For how long a live source may be away.
    pub reconnect: Option<Duration>,
}

/// A frame as it was read.
pub struct Shot {
    pub image: Image,
    /// Its number in the source.
    pub number: usize,
    /// When it is shown, in milliseconds from the first; none where the source does not say.
    pub time_ms: Option<f64>,
    /// Where the source does not wait.
    pub live: Option<LiveTiming>,
}

/// Frames that only go forward.
struct Stream {
    frames: Box<dyn Frames>,
    /// The number of the next frame.
    next: usize,
    bytes: Vec<u8>,
    /// The file that they come from.
    path: Option<PathBuf>,
}

impl Source {
    /// Opens what `--source` names. `except` is a folder to leave out of another one: the results'.
    ///
    /// # Errors
    /// When it is not there, is none of these, or holds no frame; when no program is here that could decode it.
    pub fn open(uri: &Uri, asked: &Asked, except: &Path) -> anyhow::Result<Self> {
        match uri {
            Uri::Stdin => Self::stdin(asked),
            Uri::Path(path) => Self::path(path, asked, except),
            _ => Self::decoded(uri, asked, None),
        }
    }

    fn stdin(asked: &Asked) -> anyhow::Result<Self> {
        if io::stdin().is_terminal() {
            return Err(Failure::usage(
                "--source -: stdin is a terminal, and no video comes from it",
                foreign::through_ffmpeg("-i VIDEO"),
            ));
        }
        // Not through Rust's own buffer, in which bytes may be that nobody has to wait for.
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        let stdin = stdin.map_err(|error| failed("stdin", &error.into(), 0))?;
        Self::pipe("stdin".to_owned(), stdin.into(), asked)
    }

    fn path(path: &Path, asked: &Asked, except: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let unread = |source| sam3_package::Error::Io {
            action: "read",
            path: path.to_owned(),
            source,
        };
        let kind = fs::metadata(path).map_err(unread)?.file_type();
        if kind.is_dir() {
            let kind = Kind::Folder(folder::frames(path, except)?);
            return Ok(Self { name, kind });
        }
        if kind.is_fifo() {
            return Self::pipe(name, File::open(path).map_err(unread)?, asked);
        }
        if !kind.is_file() {
            return Err(foreign::device(&name));
        }
        let file = File::open(path).map_err(unread)?;
        let length = file.metadata().map_err(unread)?.len();
        let mut reader = BufReader::with_capacity(BUFFER, file);
        let start = reader.fill_buf().map_err(unread)?;
        if start.starts_with(Y4M_MAGIC) {
            let file = Y4mFile::open(path, reader, length).map_err(|error| failed(&name, &error, 0))?;
            let kind = Kind::File(file);
            return Ok(Self { name, kind });
        }
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        if start.starts_with(JPEG_MAGIC) && (extension == "mjpeg" || extension == "mjpg") {
            let frames = Mjpeg::new(reader, asked.wanted.rate);
            return Ok(Self::stream(name, Box::new(frames), Some(path)));
        }
        foreign::check(&name, start)?;
        Self::decoded(&Uri::Path(path.to_owned()), asked, Some(path))
    }

    /// What another program writes: Y4M, JPEGs, or with a size the bytes of pixels.
    fn pipe(name: String, pipe: File, asked: &Asked) -> anyhow::Result<Self> {
        let mut reader = BufReader::with_capacity(BUFFER, Pipe(pipe));
        let wanted = &asked.wanted;
        let of_start = |error: VideoError| failed(&name, &error, 0);
        let frames: Box<dyn Frames> = if let Some((width, height)) = wanted.size {
            let raw = Raw::new(reader, width, height, Pixels::Rgb, wanted.rate);
            Box::new(raw.map_err(of_start)?)
        } else {
            let start = reader.fill_buf().map_err(|error| of_start(error.into()))?;
            if start.starts_with(JPEG_MAGIC) {
                Box::new(Mjpeg::new(reader, wanted.rate))
            } else {
                foreign::check_pipe(&name, start)?;
                Box::new(Y4m::open(reader).map_err(of_start)?)
            }
        };
        if asked.is_live {
            let kind = Kind::Live(LiveSource::pipe(frames, Box::new(interrupt::Signals)).map_err(of_start)?);
            return Ok(Self { name, kind });
        }
        Ok(Self::stream(name, frames, None))
    }

    fn decoded(uri: &Uri, asked: &Asked, path: Option<&Path>) -> anyhow::Result<Self> {
        let name = uri.to_string();
        if asked.is_live {
            let live = LiveSource::decoded(uri, &asked.wanted, asked.reconnect, Box::new(interrupt::Signals));
            let kind = Kind::Live(live.map_err(|error| failed(&name, &error, 0))?);
            return Ok(Self { name, kind });
        }
        let (own, wanted) = (uri.clone(), asked.wanted);
        let frames = Ahead::start(move |switch| Decoded::open(&own, &wanted, switch));
        let frames = frames.map_err(|error| match path {
            Some(_) => failed_in_file(&name, &error, 0),
            None => failed(&name, &error, 0),
        })?;
        interrupt::ends(frames.switch());
        Ok(Self::stream(name, Box::new(frames), path))
    }

    fn stream(name: String, frames: Box<dyn Frames>, path: Option<&Path>) -> Self {
        let kind = Kind::Stream(Stream {
            frames,
            next: 0,
            bytes: Vec::new(),
            path: path.map(Path::to_owned),
        });
        Self { name, kind }
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of its frames, where it can be known beforehand.
    pub fn count(&self) -> Option<usize> {
        match &self.kind {
            Kind::Folder(inputs) => Some(inputs.len()),
            Kind::File(file) => Some(file.count),
            Kind::Stream(_) | Kind::Live(_) => None,
        }
    }

    /// Whether its frames come when they please.
    pub fn is_live(&self) -> bool {
        matches!(self.kind, Kind::Live(_))
    }

    /// Whether a frame that cannot be read leaves others behind it that can: each is a file of its own.
    pub fn is_folder(&self) -> bool {
        matches!(self.kind, Kind::Folder(_))
    }

    /// The files that it is.
    pub fn files(&self) -> Vec<&Path> {
        match &self.kind {
            Kind::Folder(inputs) => inputs.iter().map(|input| input.path.as_path()).collect(),
            Kind::File(file) => vec![&file.path],
            Kind::Stream(stream) => stream.path.iter().map(PathBuf::as_path).collect(),
            Kind::Live(_) => Vec::new(),
        }
    }

    /// Its frames a second, if it says.
    pub fn rate(&self) -> Option<Rate> {
        match &self.kind {
            Kind::Folder(_) | Kind::Live(_) => None,
            Kind::File(file) => file.rate(),
            Kind::Stream(stream) => stream.frames.rate(),
        }
    }

    /// When a frame is shown, in milliseconds from the first; a folder does not say.
    fn time_ms(&self, frame: usize) -> Option<f64> {
        self.rate()
            .map(|(frames, seconds)| frame as f64 * 1e3 * seconds as f64 / frames as f64)
    }

    /// What a frame is called, in errors.
    pub fn name_of(&self, frame: usize) -> String {
        match &self.kind {
            Kind::Folder(inputs) if frame < inputs.len() => inputs[frame].path.display().to_string(),
            _ => format!("{}: frame {frame}", self.name),
        }
    }

    /// What a frame is called in a list of a video's frames: its file, or a number, behind the video's name.
    pub fn file_name(&self, frame: usize) -> String {
        let name = Path::new(&self.name);
        let video = match name.file_stem() {
            Some(stem) if !self.is_folder() => stem.to_string_lossy(),
            // `.` has no name.
            _ => name.file_name().unwrap_or("video".as_ref()).to_string_lossy(),
        };
        match &self.kind {
            Kind::Folder(inputs) if frame < inputs.len() => {
                let file = inputs[frame].path.file_name().unwrap_or_default();
                format!("{video}/{}", file.to_string_lossy())
            }
            _ => format!("{video}/{frame:05}.jpg"),
        }
    }

    /// Reads a frame; none behind the last. A stream only goes forward, and a live one to its latest frame, whatever
    /// number is asked for. `lost` is told why a live one is opened again.
    ///
    /// # Errors
    /// When it cannot be read, or is not whole.
    ///
    /// # Panics
    /// When a stream is asked for a frame that has passed.
    pub fn read(&mut self, frame: usize, lost: &mut dyn FnMut(&VideoError)) -> anyhow::Result<Option<Shot>> {
        if let Kind::Live(live) = &mut self.kind {
            let caught = live
                .take(lost)
                .map_err(|error| failed(&self.name, &error, live.came()))?;
            return Ok(caught.map(|caught| Shot::caught(caught, live.first())));
        }
        let time_ms = self.time_ms(frame);
        let shot = |image| Shot {
            image,
            number: frame,
            time_ms,
            live: None,
        };
        Ok(self.read_in_turn(frame)?.map(shot))
    }

    fn read_in_turn(&mut self, frame: usize) -> anyhow::Result<Option<Image>> {
        let read = match &mut self.kind {
            Kind::Folder(inputs) => {
                let Some(input) = inputs.get(frame) else {
                    return Ok(None);
                };
                return Ok(Some(input.open()?.0));
            }
            Kind::File(file) => file.read(frame),
            Kind::Stream(stream) => stream.read(frame).map_err(|error| (error, stream.next)),
            Kind::Live(_) => unreachable!("it goes to its latest frame"),
        };
        read.map_err(|(error, whole)| match &self.kind {
            Kind::Stream(Stream { path: None, .. }) => failed(&self.name, &error, whole),
            _ => failed_in_file(&self.name, &error, whole),
        })
    }

    /// That a file has no part of a frame behind its last whole one.
    ///
    /// # Errors
    /// When it has.
    pub fn check_end(&self) -> anyhow::Result<()> {
        match &self.kind {
            Kind::File(file) if file.is_cut => {
                let cut = VideoError::Header("cut off in its last frame".to_owned());
                Err(failed(&self.name, &cut, file.count))
            }
            _ => Ok(()),
        }
    }
}

impl Shot {
    fn caught(caught: Caught, first: Option<Instant>) -> Self {
        let since = first.map(|first| caught.at.saturating_duration_since(first));
        Self {
            image: caught.image,
            number: caught.number,
            time_ms: since.map(|since| since.as_secs_f64() * 1e3),
            live: Some(LiveTiming {
                came: caught.at,
                dropped: caught.dropped,
            }),
        }
    }
}

impl Stream {
    fn read(&mut self, frame: usize) -> Result<Option<Image>, VideoError> {
        skip_and_read(&mut self.frames, &mut self.next, &mut self.bytes, frame)
    }
}

/// The frame of that number, of frames of which `next` is the number of the next.
fn skip_and_read(
    frames: &mut impl Frames,
    next: &mut usize,
    bytes: &mut Vec<u8>,
    frame: usize,
) -> Result<Option<Image>, VideoError> {
    assert!(*next <= frame, "a stream goes forward");
    while *next <= frame {
        if !frames.read(bytes)? {
            return Ok(None);
        }
        *next += 1;
    }
    frames.format().image(bytes).map(Some)
}
