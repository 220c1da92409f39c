//! What an archive may hold beside the package and its metadata: the program for the device, licences, the digests of
//! all files.

use std::path::{Path, PathBuf};

use super::elf::Machine;
use crate::{Error, Result, regular};

/// More than a program with kernels for every GPU takes.
pub(super) const MAX_PROGRAM: u64 = 256 << 20;
const MAX_LICENSE: u64 = 16 << 20;
/// A few lines of digests.
const MAX_SUMS: u64 = 64 << 10;

/// A file that travels with a package. In an archive each has one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// `sam3`, which runs on the device.
    Program,
    /// `LICENSE-program.txt`: of the program and of all that is linked into it.
    ProgramLicense,
    /// `LICENSE-weights.txt`: Meta's SAM License, or where to read it.
    WeightsLicense,
    /// `SHA256SUMS`: the digests of all other files, as `sha256sum` writes them.
    Sums,
}

impl Extra {
    const ALL: [Self; 4] = [Self::Program, Self::ProgramLicense, Self::WeightsLicense, Self::Sums];

    /// Its name in an archive.
    pub fn name(self) -> &'static str {
        match self {
            Self::Program => "sam3",
            Self::ProgramLicense => "LICENSE-program.txt",
            Self::WeightsLicense => "LICENSE-weights.txt",
            Self::Sums => "SHA256SUMS",
        }
    }

    /// What a file of this name is, in any case: FAT changes it on the way.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?;
        Self::ALL
            .into_iter()
            .find(|extra| name.eq_ignore_ascii_case(extra.name()))
    }

    /// The most bytes that it may have.
    pub(crate) fn limit(self) -> u64 {
        match self {
            Self::Program => MAX_PROGRAM,
            Self::ProgramLicense | Self::WeightsLicense => MAX_LICENSE,
            Self::Sums => MAX_SUMS,
        }
    }

    /// Who may do what with it.
    pub(super) fn mode(self) -> u32 {
        if self == Self::Program { 0o755 } else { 0o644 }
    }
}

/// One of them, found in an archive.
#[derive(Clone, Debug)]
pub struct ExtraFile {
    /// Where it lies in the archive.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Of a program, what it runs on.
    pub machine: Option<Machine>,
}

/// Reads a licence from a file: some text.
///
/// # Errors
/// [`Error::Io`] where it cannot be read, [`Error::NotAFile`] and [`Error::Invalid`] where it is no text.
pub fn read_license(path: &Path) -> Result<Vec<u8>> {
    regular::open(path)?;
    let text = regular::read(path, MAX_LICENSE)?.unwrap_or_default();
    let found = match std::str::from_utf8(&text) {
        Ok(text) if text.trim().is_empty() => "found nothing but space",
        Ok(text) if !text.contains('\0') => return Ok(text.as_bytes().to_vec()),
        _ => "found what is not UTF-8",
    };
    Err(Error::invalid(path, format!("expected the text of a licence, {found}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extras_are_known_by_their_names() {
        for (name, extra) in [
            ("sam3", Some(Extra::Program)),
            ("models/SAM3", Some(Extra::Program)),
            ("License-Weights.TXT", Some(Extra::WeightsLicense)),
            ("LICENSE-program.txt", Some(Extra::ProgramLicense)),
            ("SHA256SUMS", Some(Extra::Sums)),
            ("sam3.exe", None),
            ("sam3/x", None),
            ("LICENSE", None),
            ("", None),
        ] {
            assert_eq!(Extra::of(Path::new(name)), extra, "{name}");
        }
    }
}
