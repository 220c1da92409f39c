//! The program that travels with a package, out of the archive that it is released in.

use std::{
    fmt,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use super::{
    elf::Machine,
    entries::{MAX_ENTRIES, check_claim, most, pass_over, read_rest, safe_name, stopped, unreadable},
    extras::{Extra, MAX_PROGRAM, read_license},
    layers::{Form, tar_in},
    names::{Role, role},
    tar::{self, Kind},
};
use crate::{Error, Result, checkpoint::foreign, regular};

/// What is wanted where something else is given.
const EXPECTED: &str = "expected the archive of a released program, with sam3 in it";

/// The program for a device.
#[derive(Clone)]
pub struct Program {
    /// The executable file.
    pub bytes: Arc<[u8]>,
    /// What it runs on.
    pub machine: Machine,
    /// The licences of the program and of all that is linked into it, where they stood beside it.
    pub license: Option<Arc<[u8]>>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({} bytes, {})", self.bytes.len(), self.machine.name())
    }
}

impl Program {
    /// Reads `sam3` and `LICENSE-program.txt` from an archive, at its root or in a folder there.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is no archive, is damaged, or holds no such program for Linux.
    pub fn from_archive(path: &Path) -> Result<Self> {
        let refuse = |reason: String| Err(Error::invalid(path, format!("{reason}: {EXPECTED}")));
        let file = regular::open(path)?;
        let size = file.metadata().map_err(|source| Error::io("read", path, source))?.len();
        if Form::of_file(path).is_none() {
            return Err(Error::invalid(path, what_else(path)));
        }
        let mut reader = tar_in(file).map_err(|error| unreadable(path, error))?;
        let (mut program, mut license, mut entries) = (None, None, 0);
        while let Some(entry) = tar::next_entry(&mut reader).map_err(|stop| stopped(path, stop))? {
            let name = safe_name(path, &entry.name)?;
            entries += 1;
            if entries > MAX_ENTRIES {
                return refuse(format!("it has more than {MAX_ENTRIES} files and folders"));
            }
            let is_near = entry.kind == Kind::File && name.iter().count() <= 2;
            let wanted = match role(&name) {
                Role::Package | Role::Metadata => return refuse("it is the archive of a package".to_owned()),
                Role::Extra(Extra::Program) if is_near => &mut program,
                Role::Extra(Extra::ProgramLicense) if is_near => &mut license,
                _ => {
                    check_claim(path, &entry, most(size))?;
                    pass_over(&mut reader, path, &entry)?;
                    continue;
                }
            };
            check_claim(path, &entry, MAX_PROGRAM)?;
            if wanted.replace(read_entry(&mut reader, path, &entry)?).is_some() {
                return refuse(format!("{:?} is there twice", entry.name));
            }
        }
        read_rest(&mut reader, path)?;
        let Some(program) = program else {
            return refuse("no program sam3 is in it".to_owned());
        };
        Self::new(program, license).or_else(|what| refuse(format!("sam3 in it {what}")))
    }

    /// Reads a program as it is installed, and the licences beside it or in `../share/doc/sam3`.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read, [`Error::Invalid`] where it is no program for Linux.
    pub fn from_file(path: &Path) -> Result<Self> {
        let program = regular::read(path, MAX_PROGRAM)?.unwrap_or_default();
        let name = Extra::ProgramLicense.name();
        let beside = [
            path.with_file_name(name),
            path.with_file_name("../share/doc/sam3").join(name),
        ];
        let license = beside.iter().find_map(|path| read_license(path).ok());
        Self::new(program, license).map_err(|what| Error::invalid(path, what))
    }

    fn new(program: Vec<u8>, license: Option<Vec<u8>>) -> Result<Self, String> {
        Ok(Self {
            machine: Machine::of_whole(&program)?,
            bytes: program.into(),
            license: license.map(Into::into),
        })
    }
}

/// An entry's bytes. Memory grows with what is read, not with the size that the header claims.
fn read_entry(reader: &mut impl Read, path: &Path, entry: &tar::Entry) -> Result<Vec<u8>> {
    let padded = entry.size.next_multiple_of(tar::BLOCK as u64);
    let mut bytes = Vec::new();
    let read = reader.take(padded).read_to_end(&mut bytes);
    if read.map_err(|error| unreadable(path, error))? < padded as usize {
        return Err(unreadable(path, io::ErrorKind::UnexpectedEof.into()));
    }
    bytes.truncate(entry.size as usize);
    Ok(bytes)
}

/// Names a file that is no archive.
fn what_else(path: &Path) -> String {
    let head = regular::head(path, tar::BLOCK);
    if head.starts_with(b"\x7fELF") {
        return format!("it is a program and not the archive that one comes in: {EXPECTED}");
    }
    match foreign(&head) {
        Some(foreign) => format!("it is {}: {EXPECTED}", foreign.what),
        None if head.is_empty() => "it is empty: copy or download it again".to_owned(),
        None => format!("it is no archive: {EXPECTED}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::elf::tests::program;

    const ARM: u16 = 183;

    /// A tar of files with these names and bytes.
    fn archive(name: &str, files: &[(&str, &[u8])]) -> std::path::PathBuf {
        let mut bytes = Vec::new();
        for (name, content) in files {
            bytes.extend(tar::header(name, 0o755, content.len() as u64, 0));
            bytes.extend(*content);
            bytes.extend(tar::padding(content.len() as u64));
        }
        bytes.extend([0; 2 * tar::BLOCK]);
        let path = std::env::temp_dir().join(format!("sam3-program-{name}-{}.tar", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn a_program_is_found_at_the_root_or_in_a_folder_there() {
        let sam3 = program(ARM, 500);
        for (name, files, expected) in [
            ("root", &[("sam3", &sam3[..])][..], Some(None)),
            (
                "folder",
                &[
                    ("sam3-0.1.0/sam3", &sam3),
                    ("sam3-0.1.0/LICENSE-program.txt", b"MIT"),
                    ("sam3-0.1.0/man/man1/sam3.1", b".TH"),
                ],
                Some(Some(&b"MIT"[..])),
            ),
            // The licences of something else do not count.
            (
                "deep licence",
                &[("a/sam3", &sam3), ("a/b/LICENSE-program.txt", b"MIT")],
                Some(None),
            ),
            ("deep", &[("a/b/sam3", &sam3)], None),
            ("twice", &[("sam3", &sam3), ("a/sam3", &sam3)], None),
            ("package", &[("sam3", &sam3), ("x.pth", b"PK")], None),
            ("script", &[("sam3", b"#!/bin/sh")], None),
            ("none", &[("README.md", b"# sam3")], None),
        ] {
            let path = archive(name, files);
            let found = Program::from_archive(&path);
            match expected {
                Some(license) => {
                    let found = found.unwrap();
                    assert_eq!((&*found.bytes, found.machine), (&sam3[..], Machine::Aarch64), "{name}");
                    assert_eq!(found.license.as_deref(), license, "{name}");
                }
                None => assert!(matches!(found, Err(Error::Invalid { .. })), "{name}: {found:?}"),
            }
            std::fs::remove_file(path).unwrap();
        }
    }
}
