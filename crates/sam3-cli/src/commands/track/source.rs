//! Where the frames of a video come from: a folder of pictures, a Y4M file, Y4M on stdin or in a pipe. One frame is in
//! memory at a time.

mod folder;
mod foreign;
mod y4m;
mod yuv;

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, IsTerminal, Seek, SeekFrom},
    os::{fd::AsFd, unix::fs::FileTypeExt},
    path::{Path, PathBuf},
};

use sam3_model::image::Image;

use self::y4m::{Y4m, Y4mError};
use super::interrupt::Pipe;
use crate::{commands::segment::Input, failure::Failure};

/// Stands for stdin.
const STDIN: &str = "-";
/// Bytes that are read at once.
const BUFFER: usize = 1 << 18;

/// A video.
pub struct Source {
    /// What errors call it.
    name: String,
    kind: Kind,
}

enum Kind {
    Folder(Vec<Input>),
    File(Y4mFile),
    /// With the number of the next frame.
    Stream(Y4m<BufReader<Pipe>>, usize),
}

struct Y4mFile {
    path: PathBuf,
    frames: Y4m<BufReader<File>>,
    /// The number of the frame that the reader is at.
    next: usize,
    /// Whole frames.
    count: usize,
    /// Whether a part of a frame is behind them.
    is_cut: bool,
}

impl Source {
    /// Opens what `--source` names. `except` is a folder to leave out of another one: the results'.
    ///
    /// # Errors
    /// When it is not there, is none of these, or holds no frame; what else it is, is named.
    pub fn open(path: &Path, except: &Path) -> anyhow::Result<Self> {
        if path.as_os_str() == STDIN {
            if io::stdin().is_terminal() {
                return Err(Failure::usage(
                    "--source -: stdin is a terminal, and no video comes from it",
                    foreign::through_ffmpeg("-i VIDEO"),
                ));
            }
            // Not through Rust's own buffer, in which bytes may be that nobody has to wait for.
            let stdin = io::stdin().as_fd().try_clone_to_owned();
            let stdin = stdin.map_err(|error| invalid("stdin", &error.into(), 0))?;
            return Self::stream("stdin".to_owned(), stdin.into(), "-i VIDEO");
        }
        let name = path.display().to_string();
        let failed = |source| sam3_package::Error::Io {
            action: "read",
            path: path.to_owned(),
            source,
        };
        let kind = match fs::metadata(path) {
            Ok(metadata) => metadata.file_type(),
            Err(error) => return Err(foreign::camera(&name).unwrap_or_else(|| failed(error).into())),
        };
        if kind.is_dir() {
            let kind = Kind::Folder(folder::frames(path, except)?);
            return Ok(Self { name, kind });
        }
        if kind.is_fifo() {
            let pipe = File::open(path).map_err(failed)?;
            return Self::stream(name, pipe, "-i VIDEO");
        }
        if !kind.is_file() {
            return Err(foreign::camera(&name).unwrap_or_else(|| foreign::device(&name)));
        }
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut reader = BufReader::with_capacity(BUFFER, file);
        foreign::check(&name, reader.fill_buf().map_err(failed)?, &format!("-i {name}"))?;
        let opened = Y4mFile::open(path, reader, length);
        let file = opened.map_err(|error| invalid(&name, &error, 0))?;
        Ok(Self {
            name,
            kind: Kind::File(file),
        })
    }

    fn stream(name: String, pipe: File, input: &str) -> anyhow::Result<Self> {
        let mut reader = BufReader::with_capacity(BUFFER, Pipe(pipe));
        let start = reader.fill_buf().map_err(|error| invalid(&name, &error.into(), 0))?;
        foreign::check(&name, start, input)?;
        let frames = Y4m::open(reader).map_err(|error| invalid(&name, &error, 0))?;
        Ok(Self {
            name,
            kind: Kind::Stream(frames, 0),
        })
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
            Kind::Stream(..) => None,
        }
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
            Kind::Stream(..) => Vec::new(),
        }
    }

    /// When a frame is shown, in milliseconds from the first; a folder does not say.
    pub fn time_ms(&self, frame: usize) -> Option<f64> {
        match &self.kind {
            Kind::Folder(_) => None,
            Kind::File(file) => file.frames.header().time_ms(frame),
            Kind::Stream(frames, _) => frames.header().time_ms(frame),
        }
    }

    /// What a frame is called, in errors.
    pub fn name_of(&self, frame: usize) -> String {
        match &self.kind {
            Kind::Folder(inputs) if frame < inputs.len() => inputs[frame].path.display().to_string(),
            _ => format!("{}: frame {frame}", self.name),
        }
    }

    /// Reads a frame; none behind the last. A stream only goes forward.
    ///
    /// # Errors
    /// When it cannot be read, or is not whole.
    ///
    /// # Panics
    /// When a stream is asked for a frame that has passed.
    pub fn read(&mut self, frame: usize) -> anyhow::Result<Option<Image>> {
        let read = match &mut self.kind {
            Kind::Folder(inputs) => {
                let Some(input) = inputs.get(frame) else {
                    return Ok(None);
                };
                return Ok(Some(input.open()?.0));
            }
            Kind::File(file) => file.read(frame),
            Kind::Stream(frames, next) => skip_and_read(frames, next, frame).map_err(|error| (error, *next)),
        };
        read.map_err(|(error, whole)| invalid(&self.name, &error, whole))
    }

    /// That a file has no part of a frame behind its last whole one.
    ///
    /// # Errors
    /// When it has.
    pub fn check_end(&self) -> anyhow::Result<()> {
        match &self.kind {
            Kind::File(file) if file.is_cut => {
                let cut = Y4mError::Header("cut off in its last frame".to_owned());
                Err(invalid(&self.name, &cut, file.count))
            }
            _ => Ok(()),
        }
    }
}

impl Y4mFile {
    fn open(path: &Path, reader: BufReader<File>, length: u64) -> Result<Self, Y4mError> {
        let mut frames = Y4m::open(reader)?;
        // The line before the first tells how long they are.
        let next = match frames.advance() {
            Ok(is_there) => usize::from(is_there),
            Err(Y4mError::Cut { .. }) => 1,
            Err(error) => return Err(error),
        };
        let (count, is_cut) = frames.frames_in(length);
        Ok(Self {
            path: path.to_owned(),
            frames,
            next,
            count,
            is_cut,
        })
    }

    /// An error comes with the number of whole frames.
    fn read(&mut self, frame: usize) -> Result<Option<Image>, (Y4mError, usize)> {
        let counted = |error| (error, self.count.max(self.next));
        if self.next != frame {
            let offset = self.frames.offset(frame);
            let gone = self.frames.reader().seek(SeekFrom::Start(offset));
            gone.map_err(|error| counted(error.into()))?;
        }
        self.next = frame;
        let read = skip_and_read(&mut self.frames, &mut self.next, frame);
        read.map_err(|error| (error, self.next))
    }
}

/// The frame of that number, of frames of which `next` is the number of the next.
fn skip_and_read<R: BufRead>(frames: &mut Y4m<R>, next: &mut usize, frame: usize) -> Result<Option<Image>, Y4mError> {
    assert!(*next <= frame, "a stream goes forward");
    while *next <= frame {
        if !frames.advance()? {
            return Ok(None);
        }
        *next += 1;
    }
    frames.image().map(Some)
}

/// `whole` frames are before what is wrong.
fn invalid(name: &str, error: &Y4mError, whole: usize) -> anyhow::Error {
    match error {
        Y4mError::Io(error) => Failure::environment(
            format!("{name}: cannot read it on behind {whole} whole frames: {error}"),
            "connect its drive again, or look at what writes into the pipe",
        ),
        Y4mError::Memory(_) => Failure::environment(
            format!("{name}: no memory for a frame"),
            "end other programs, or scale the video down: `ffmpeg … -vf scale=1280:-2`",
        ),
        Y4mError::Header(reason) if whole == 0 => {
            Failure::input(format!("{name}: {reason}"), foreign::through_ffmpeg("-i VIDEO"))
        }
        error => Failure::input(
            format!("{name}: {error}; {whole} whole frames are before that"),
            "copy it again, or look at what wrote it; the results of the whole frames stay",
        ),
    }
}
