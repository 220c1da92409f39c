//! The pictures that `--image` and `--image-list` name: files, folders of them, stdin.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use sam3_model::image::{self, Image};
use sam3_package::FileId;

use super::stamp;
use crate::failure::Failure;

/// Stands for stdin.
const STDIN: &str = "-";
/// The stem of what is read from stdin.
const STDIN_STEM: &str = "stdin";
/// Of files in a folder, those whose names end so are taken for pictures, even where they turn out not to be readable.
const EXTENSIONS: [&str; 34] = [
    "arw", "avif", "bmp", "cr2", "cr3", "dib", "dng", "gif", "heic", "heif", "hif", "jfif", "jp2", "jpe", "jpeg",
    "jpg", "jxl", "mpo", "nef", "orf", "pbm", "pgm", "png", "pnm", "ppm", "psd", "qoi", "raf", "rw2", "tga", "tif",
    "tiff", "webp", "xpm",
];

/// A picture to segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its file; `-` for stdin.
    pub path: PathBuf,
    /// Where it lies below the folder that was named; empty for a file that was named itself.
    pub folder: PathBuf,
}

/// What was named, as pictures, and what could not be.
#[derive(Debug, Default)]
pub struct Inputs {
    /// In the order of the flags, those of a folder by name.
    pub pictures: Vec<Input>,
    /// Folders that cannot be read or hold no picture.
    pub failed: Vec<anyhow::Error>,
}

/// How folders are read.
#[derive(Clone, Copy, Debug)]
pub struct Walk<'a> {
    /// Sub-folders too.
    pub recursive: bool,
    /// What to do where pictures may be in sub-folders alone, and these are left out.
    pub hint: &'a str,
    /// A folder to leave out: the results', which would be inputs of the next run.
    pub except: &'a Path,
}

impl Input {
    /// A picture that was named itself.
    pub fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            folder: PathBuf::new(),
        }
    }

    /// The name that its results begin with.
    pub fn stem(&self) -> String {
        if self.is_stdin() {
            return STDIN_STEM.to_owned();
        }
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether it comes from stdin.
    pub fn is_stdin(&self) -> bool {
        self.path.as_os_str() == STDIN
    }

    /// Whether there is something to read.
    pub fn is_there(&self) -> bool {
        self.is_stdin() || self.path.exists()
    }

    /// Reads and decodes it; also returns the SHA-256 of its bytes.
    ///
    /// # Errors
    /// When it cannot be read or is no picture.
    pub fn open(&self) -> anyhow::Result<(Image, String)> {
        let (bytes, name) = match self.is_stdin() {
            true => (read_stdin()?, STDIN_STEM.to_owned()),
            false => (image::read_file(&self.path)?, self.path.display().to_string()),
        };
        Ok((Image::decode_named(&bytes, &name)?, sam3_package::sha256(&bytes[..])?))
    }

    /// The SHA-256 of its file's bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn digest(&self) -> io::Result<String> {
        sam3_package::sha256(File::open(&self.path)?)
    }
}

impl Inputs {
    /// Expands what the flags name.
    ///
    /// # Errors
    /// When the list cannot be read, or stdin is named twice; a folder's failure stands in the result.
    pub fn gather(images: &[PathBuf], list: Option<&Path>, walk: Walk) -> anyhow::Result<Self> {
        let mut inputs = Self::default();
        let listed = list.map(read_list).transpose()?.unwrap_or_default();
        for path in images.iter().chain(&listed) {
            // What cannot be looked at is reported when it is read, with all that is known of it then.
            if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
                if let Err(error) = inputs.add_folder(path, walk) {
                    inputs.failed.push(error);
                }
            } else {
                inputs.pictures.push(Input::of(path));
            }
        }
        let from_stdin = inputs.pictures.iter().filter(|input| input.is_stdin()).count();
        if from_stdin + usize::from(list.is_some_and(|list| list.as_os_str() == STDIN)) > 1 {
            return Err(Failure::usage(
                "stdin is named more than once",
                "`-` stands for one picture, or with --image-list for one list",
            ));
        }
        Ok(inputs)
    }

    fn add_folder(&mut self, folder: &Path, walk: Walk) -> anyhow::Result<()> {
        let before = self.pictures.len();
        let skipped = self.add_entries(folder, Path::new(""), walk, &[])?;
        if self.pictures.len() == before {
            let hint = match skipped {
                0 => "expected files such as boat.jpg or boat.png in it",
                _ => walk.hint,
            };
            return Err(Failure::input(
                format!("{}: no picture in this folder", folder.display()),
                hint,
            ));
        }
        Ok(())
    }

    /// Adds the pictures of a folder by name; returns how many sub-folders were left out.
    fn add_entries(&mut self, folder: &Path, below: &Path, walk: Walk, ancestors: &[FileId]) -> anyhow::Result<usize> {
        let failed = |source| {
            anyhow::Error::new(sam3_package::Error::Io {
                action: "read the folder",
                path: folder.to_owned(),
                source,
            })
        };
        let ancestors: Vec<FileId> = ancestors.iter().copied().chain(FileId::of(folder)).collect();
        let entries = fs::read_dir(folder).map_err(failed)?;
        let mut names = entries
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed)?;
        names.sort();
        let mut skipped = 0;
        // Hidden files are no pictures: macOS leaves `._boat.jpg` beside boat.jpg on a stick.
        for name in names.iter().filter(|name| !name.as_encoded_bytes().starts_with(b".")) {
            let path = folder.join(name);
            // A link that leads nowhere is no picture either.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            if metadata.is_dir() {
                let id = FileId::of(&path);
                // A link may lead back to a folder above it.
                if id == FileId::of(walk.except) || id.is_some_and(|id| ancestors.contains(&id)) {
                    continue;
                }
                if !walk.recursive {
                    skipped += 1;
                    continue;
                }
                match self.add_entries(&path, &below.join(name), walk, &ancestors) {
                    Ok(deeper) => skipped += deeper,
                    Err(error) => self.failed.push(error),
                }
            } else if metadata.is_file() && is_picture(&path) && !stamp::is_stamped(&path) {
                self.pictures.push(Input {
                    path,
                    folder: below.to_owned(),
                });
            }
        }
        Ok(skipped)
    }
}

/// By its name, or by its first bytes where the name tells nothing.
fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).map(str::to_lowercase);
    if extension.is_some_and(|own| EXTENSIONS.contains(&own.as_str())) {
        return true;
    }
    let mut start = [0; 12];
    let is_read = File::open(path)
        .and_then(|mut file| file.read_exact(&mut start))
        .is_ok();
    is_read && begins_like_a_picture(&start)
}

fn begins_like_a_picture(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xd8\xff")
        || bytes.starts_with(b"\x89PNG\r\n\x1a\n")
        || bytes.starts_with(b"GIF8")
        || (bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"))
}

fn read_stdin() -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .context("cannot read stdin")?;
    Ok(bytes)
}

/// A path a line, as `find` prints them.
fn read_list(list: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let bytes = match list.as_os_str() == STDIN {
        true => read_stdin()?,
        false => fs::read(list).map_err(|source| sam3_package::Error::Io {
            action: "read --image-list",
            path: list.to_owned(),
            source,
        })?,
    };
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || begins_like_a_picture(&bytes) {
        return Err(Failure::input(
            format!(
                "--image-list {}: expected a path a line, found UTF-16 or a picture",
                list.display()
            ),
            "save the list as UTF-8; a picture itself is given by --image",
        ));
    }
    // `find -print0` ends paths by zeros, as they may hold line ends.
    let end = if bytes.contains(&0) { 0 } else { b'\n' };
    // Editors on Windows put a mark before UTF-8, and a carriage return at the end of a line.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let lines = text.split(|&byte| byte == end);
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let lines = lines.filter(|line| !line.is_empty());
    let paths: Vec<PathBuf> = lines.map(|line| OsStr::from_bytes(line).into()).collect();
    if paths.is_empty() {
        return Err(Failure::input(
            format!("--image-list {}: no path in it", list.display()),
            "it takes a path a line, as `find pictures -name '*.jpg'` prints them",
        ));
    }
    Ok(paths)
}
