//! Where `--overlay` draws: a PNG a frame in a folder, or one video of all frames.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use sam3_model::{image::Image, report::GENERATOR};
use sam3_package::Staged;
use sam3_video::{Coder, Container, Decoder, Encoder, Rate, VideoError};

use crate::{
    commands::segment::{Guard, stamp},
    failure::Failure,
    output::Output,
};

/// A second has so many frames where nobody says.
const RATE: Rate = (30, 1);
/// Edges of masks stay sharp from here on.
const QUALITY: u8 = 90;

/// What `--overlay` names.
#[derive(Clone, Debug)]
pub enum Overlay {
    Folder(PathBuf),
    Video(PathBuf, Kind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// JPEGs one after the other, which are made here.
    Mjpeg,
    /// What another program makes.
    Coded(Container),
}

impl Overlay {
    /// By its ending; what has none of a video is a folder.
    ///
    /// # Errors
    /// When it has that of a video that is not written.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let ending = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_ascii_lowercase();
        let kind = match &*ending {
            _ if path.is_dir() => None,
            "mjpeg" | "mjpg" => Some(Kind::Mjpeg),
            "mp4" | "m4v" => Some(Kind::Coded(Container::Mp4)),
            "mkv" => Some(Kind::Coded(Container::Mkv)),
            "avi" | "mov" | "webm" | "gif" | "ts" | "mpg" | "mpeg" | "flv" | "wmv" | "ogv" | "h264" | "y4m" => {
                return Err(Failure::usage(
                    format!(
                        "--overlay {}: videos are written as .mp4, .mkv or .mjpeg",
                        path.display()
                    ),
                    "name one of these, or a folder for a PNG a frame",
                ));
            }
            _ => None,
        };
        Ok(match kind {
            Some(kind) => Self::Video(path.to_owned(), kind),
            None => Self::Folder(path.to_owned()),
        })
    }
}

/// A video that is being made. It appears whole at the end, or not at all.
pub struct Film {
    path: PathBuf,
    rate: Rate,
    coder: Option<(Coder, Container)>,
    sink: Option<Sink>,
    /// The frame that is shown until another comes.
    last: Option<Image>,
    failed: Option<anyhow::Error>,
}

enum Sink {
    Mjpeg(Staged),
    Coded(Encoder, Staged),
}

impl Film {
    /// Looks for the program that it takes; `rate` is that of the frames that are looked at.
    ///
    /// # Errors
    /// When none is here.
    pub fn new(path: &Path, kind: Kind, decoder: Decoder, rate: Option<Rate>, every: usize) -> anyhow::Result<Self> {
        let (frames, seconds) = rate.unwrap_or(RATE);
        let coder = match kind {
            Kind::Mjpeg => None,
            Kind::Coded(container) => {
                let coder = Coder::find(decoder).map_err(|error| {
                    Failure::environment(format!("--overlay {}: {error}", path.display()), missing(&error))
                })?;
                Some((coder, container))
            }
        };
        Ok(Self {
            path: path.to_owned(),
            rate: (frames, seconds.saturating_mul(every as u64)),
            coder,
            sink: None,
            last: None,
            failed: None,
        })
    }

    /// Takes the next frame, before which so many were dropped. What fails ends the video, not the run, and is told.
    pub fn show(&mut self, frame: Image, dropped: usize, guard: &Guard, output: &Output) {
        if self.failed.is_none()
            && let Err(error) = self.try_to_show(frame, dropped, guard)
        {
            output.warn(format!("{error:#}; there will be no overlay, and all else goes on"));
            self.sink = None;
            self.failed = Some(error);
        }
    }

    fn try_to_show(&mut self, frame: Image, dropped: usize, guard: &Guard) -> anyhow::Result<()> {
        if self.sink.is_none() {
            self.sink = Some(self.begin((frame.width(), frame.height()), guard)?);
        }
        match self.sink.as_mut().expect("it was begun") {
            Sink::Mjpeg(staged) => {
                let jpeg = stamp::jpeg(frame.to_jpeg(QUALITY));
                staged
                    .file()
                    .write_all(&jpeg)
                    .map_err(|error| unwritten(&self.path, &error))
            }
            Sink::Coded(encoder, _) => match self.last.replace(frame) {
                Some(last) => encoder
                    .write(last, 1 + dropped)
                    .map_err(|error| unwritten(&self.path, &error)),
                None => Ok(()),
            },
        }
    }

    fn begin(&self, size: (u32, u32), guard: &Guard) -> anyhow::Result<Sink> {
        if self.coder.is_none() && size.0.max(size.1) > u16::MAX.into() {
            return Err(Failure::input(
                format!("{}: a JPEG has at most 65,535 pixels a side", self.path.display()),
                "name a folder, for a PNG a frame",
            ));
        }
        let staged = Staged::create(&self.path, guard.may_replace(&self.path))?;
        let Some((coder, container)) = &self.coder else {
            return Ok(Sink::Mjpeg(staged));
        };
        let film = sam3_video::Film {
            container: *container,
            rate: self.rate,
            comment: &format!("{}{GENERATOR}", stamp::OVERLAY),
        };
        let encoder = Encoder::start(coder, staged.file(), staged.temporary(), &film, size);
        Ok(Sink::Coded(
            encoder.map_err(|error| unwritten(&self.path, &error))?,
            staged,
        ))
    }

    /// Ends the video, and gives it its name; none where there is none.
    ///
    /// # Errors
    /// Why there is none.
    pub fn close(&mut self) -> anyhow::Result<Option<&Path>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        match self.sink.take() {
            None => return Ok(None),
            Some(Sink::Mjpeg(staged)) => staged.commit()?,
            Some(Sink::Coded(mut encoder, staged)) => {
                let written = self.last.take().map_or(Ok(()), |last| encoder.write(last, 1));
                written
                    .and_then(|()| encoder.finish())
                    .map_err(|error| unwritten(&self.path, &error))?;
                staged.commit()?;
            }
        }
        Ok(Some(&self.path))
    }
}

fn missing(error: &VideoError) -> &'static str {
    match error {
        VideoError::NoCodec(_) => {
            "install `gstreamer1.0-plugins-ugly`, or take the other program (--decoder); a file X.mjpeg and a folder need \
             neither"
        }
        _ => "install one: `apt-get install ffmpeg`; a file X.mjpeg and a folder need neither",
    }
}

fn unwritten(path: &Path, error: &dyn std::error::Error) -> anyhow::Error {
    Failure::environment(
        format!("{}: {error}", path.display()),
        "free some space, or try the other program: --decoder ffmpeg, --decoder gstreamer; a folder takes a PNG a frame",
    )
}
