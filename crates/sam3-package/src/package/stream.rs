//! Hashes a package while its bytes go by, so that an archive is checked in the pass that extracts it.
//!
//! Tensors are hashed and let go; everything else, a thousandth of the file, is kept at its place in an otherwise empty
//! map of the file's length. That map opens as the file itself would.

use memmap2::{Mmap, MmapMut, MmapOptions};
use sha2::{Digest, Sha256};

use crate::checkpoint::{
    MAX_TENSORS,
    safetensors::{MAX_HEADER, lengths},
};

const LOCAL_HEADER: usize = 30;
/// What a package holds beside its tensors may take so much memory: metadata, and a page between any two tensors. A
/// full package takes 8 MB.
const MAX_KEPT: u64 = 24 << 20;
/// What memory comes in.
const PAGE: u64 = 4096;

/// A package that went by.
#[derive(Debug)]
pub(crate) struct Streamed {
    /// The file with zeros for its tensors.
    pub map: Mmap,
    /// First byte, length and SHA-256 of each tensor's bytes.
    pub digests: Vec<(u64, u64, [u8; 32])>,
}

/// Takes a package's bytes in order.
pub(crate) struct PackageHasher {
    state: State,
    /// Bytes of a header that is not complete yet.
    head: Vec<u8>,
    /// Safetensors: the lengths of the tensors to come, last first.
    queue: Vec<u64>,
    map: MmapMut,
    /// Bytes taken.
    at: u64,
    /// Memory of those that are kept, and the first page without any.
    kept: u64,
    empty_from: u64,
    digests: Vec<(u64, u64, [u8; 32])>,
}

enum State {
    /// The first eight bytes tell the format.
    Magic,
    ZipHeader,
    ZipNames {
        names: usize,
        extra: usize,
    },
    Body {
        left: u64,
        length: u64,
        /// For a tensor's bytes.
        sha: Option<Sha256>,
        then: Then,
    },
    SafetensorsHeader {
        length: u64,
    },
    /// The rest holds no tensor.
    Rest,
}

#[derive(Clone, Copy)]
enum Then {
    /// A data descriptor of so many bytes.
    Descriptor(u64),
    ZipHeader,
    NextTensor,
}

impl PackageHasher {
    /// For a package of so many bytes.
    pub fn new(length: u64) -> Result<Self, String> {
        // Pages that are never written cost nothing, and swap need not be set aside for them.
        let map = usize::try_from(length)
            .map_err(|error| error.to_string())
            .and_then(|length| {
                let mut options = MmapOptions::new();
                let map = options.len(length.max(1)).no_reserve_swap().map_anon();
                map.map_err(|error| error.to_string())
            })
            .map_err(|error| format!("cannot look at its {length} bytes: {error}"))?;
        // Huge pages, where they are on for all, would fill the map from a few bytes each. A failure only costs memory.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::NoHugePage);
        Ok(Self {
            state: State::Magic,
            head: Vec::new(),
            queue: Vec::new(),
            map,
            at: 0,
            kept: 0,
            empty_from: 0,
            digests: Vec::new(),
        })
    }

    /// Takes the next bytes. The error is a sentence without the file's name.
    ///
    /// # Panics
    /// When there are more bytes than were announced.
    pub fn update(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            let take = match &mut self.state {
                State::Rest => self.keep(bytes)?,
                State::Body { left, sha, .. } => {
                    let take = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= take as u64;
                    match sha {
                        Some(sha) => sha.update(&bytes[..take]),
                        None => _ = self.keep(&bytes[..take])?,
                    }
                    take
                }
                State::Magic | State::ZipHeader | State::ZipNames { .. } | State::SafetensorsHeader { .. } => {
                    let missing = self.header_length().unwrap_or(0) - self.head.len();
                    let take = self.keep(&bytes[..missing.min(bytes.len())])?;
                    self.head.extend(&bytes[..take]);
                    take
                }
            };
            self.at += take as u64;
            bytes = &bytes[take..];
            if self.header_length() == Some(self.head.len()) {
                self.header()?;
            }
            self.settle();
        }
        Ok(())
    }

    /// Puts bytes at their place in the map; returns how many.
    fn keep(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let end = (self.at + bytes.len() as u64).div_ceil(PAGE);
        self.kept += PAGE * end.saturating_sub(self.empty_from.max(self.at / PAGE));
        self.empty_from = self.empty_from.max(end);
        if self.kept > MAX_KEPT {
            return Err(format!(
                "what it holds beside its tensors takes more than {MAX_KEPT} bytes: not a package"
            ));
        }
        self.map[self.at as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    /// What went by; an error where the bytes ended early.
    pub fn finish(self) -> Result<Streamed, String> {
        let State::Rest = self.state else {
            return Err("it ends before its last tensor".to_owned());
        };
        let map = self.map.make_read_only().map_err(|error| error.to_string())?;
        Ok(Streamed {
            map,
            digests: self.digests,
        })
    }

    /// Where a header is being read.
    fn header_length(&self) -> Option<usize> {
        match self.state {
            State::Magic => Some(8),
            State::ZipHeader => Some(LOCAL_HEADER),
            State::ZipNames { names, extra } => Some(LOCAL_HEADER + names + extra),
            State::SafetensorsHeader { length } => Some(length as usize),
            State::Body { .. } | State::Rest => None,
        }
    }

    /// Acts on a complete header.
    fn header(&mut self) -> Result<(), String> {
        match self.state {
            State::Magic if self.head.starts_with(b"PK\x03\x04") => self.state = State::ZipHeader,
            State::Magic => {
                let length = u64::from_le_bytes(self.head[..8].try_into().expect("eight bytes"));
                if length > MAX_HEADER {
                    return Err("it is neither a PyTorch zip nor a safetensors file".to_owned());
                }
                // At once: a growing vector would hold it twice.
                self.head = Vec::with_capacity(length as usize);
                self.state = State::SafetensorsHeader { length };
            }
            State::ZipHeader => {
                if self.head.starts_with(b"PK\x01\x02") {
                    self.state = State::Rest;
                } else if self.head.starts_with(b"PK\x03\x04") {
                    let (names, extra) = (self.short(26), self.short(28));
                    self.state = State::ZipNames { names, extra };
                } else {
                    return Err("its records do not follow each other as sam3 package writes them".to_owned());
                }
            }
            State::ZipNames { names, .. } => self.zip_record(names)?,
            State::SafetensorsHeader { .. } => self.safetensors_header()?,
            State::Body { .. } | State::Rest => {}
        }
        Ok(())
    }

    /// Leaves states that have nothing left to read.
    fn settle(&mut self) {
        loop {
            match std::mem::replace(&mut self.state, State::Rest) {
                State::Body {
                    left: 0,
                    length,
                    sha,
                    then,
                } => {
                    if let Some(sha) = sha {
                        self.digests.push((self.at - length, length, sha.finalize().into()));
                    }
                    self.state = match then {
                        Then::Descriptor(0) | Then::ZipHeader => State::ZipHeader,
                        Then::Descriptor(left) => State::Body {
                            left,
                            length: left,
                            sha: None,
                            then: Then::ZipHeader,
                        },
                        Then::NextTensor => match self.queue.pop() {
                            Some(length) => State::Body {
                                left: length,
                                length,
                                sha: Some(Sha256::new()),
                                then: Then::NextTensor,
                            },
                            None => State::Rest,
                        },
                    };
                }
                other => {
                    self.state = other;
                    return;
                }
            }
        }
    }

    fn short(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes([self.head[at], self.head[at + 1]]))
    }

    fn zip_record(&mut self, names: usize) -> Result<(), String> {
        let name = String::from_utf8_lossy(&self.head[LOCAL_HEADER..LOCAL_HEADER + names]).into_owned();
        let extra = &self.head[LOCAL_HEADER + names..];
        let has_descriptor = self.head[6] & 8 != 0;
        let stored = self.short(8) == 0;
        let size = u32::from_le_bytes(self.head[22..26].try_into().expect("four bytes"));
        let zip64 = extra.starts_with(&[1, 0]);
        let length = match (size, extra.get(4..12)) {
            (u32::MAX, Some(long)) if zip64 => u64::from_le_bytes(long.try_into().expect("eight bytes")),
            _ => u64::from(size),
        };
        let record = name.split_once('/').map_or("", |(_, record)| record);
        if !stored || (length == 0 && has_descriptor && record == "data.pkl") {
            return Err("it was not written by sam3 package".to_owned());
        }
        let tensor = record
            .strip_prefix("data/")
            .is_some_and(|number| number.parse::<usize>().is_ok());
        if self.digests.len() > MAX_TENSORS {
            return Err(format!("it holds more than {MAX_TENSORS} tensors"));
        }
        let descriptor = if !has_descriptor {
            0
        } else if zip64 {
            24
        } else {
            16
        };
        self.head.clear();
        self.state = State::Body {
            left: length,
            length,
            sha: tensor.then(Sha256::new),
            then: Then::Descriptor(descriptor),
        };
        Ok(())
    }

    fn safetensors_header(&mut self) -> Result<(), String> {
        let header = std::mem::take(&mut self.head);
        self.queue = lengths(&header)?;
        self.queue.reverse();
        self.state = State::Body {
            left: 0,
            length: 0,
            sha: None,
            then: Then::NextTensor,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
