//! Hashes a package while its bytes go by, so that an archive is checked in the pass that extracts it.

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::metadata::{MAX_BYTES, RECORD};

/// A safetensors header beyond this is refused by the reference reader too.
const MAX_HEADER: u64 = 100_000_000;
const LOCAL_HEADER: usize = 30;

/// What a package was found to hold.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    /// Position (`.pth`) or name (`.safetensors`) of each tensor, its length and SHA-256.
    pub tensors: Vec<(Key, u64, [u8; 32])>,
    /// The metadata inside.
    pub metadata: Option<Vec<u8>>,
}

/// How a package names a tensor's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Position(usize),
    Name(String),
}

/// Takes a package's bytes in order.
pub(crate) struct PackageHasher {
    state: State,
    /// Bytes of a header that is not complete yet.
    head: Vec<u8>,
    /// Safetensors: what follows, last first.
    queue: Vec<(u64, u64, Key)>,
    found: Digests,
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
        sink: Sink,
        then: Then,
    },
    SafetensorsHeader {
        length: u64,
    },
    /// The rest holds no tensor.
    Rest,
}

enum Sink {
    Hash(Key, Sha256),
    Keep(Vec<u8>),
    Skip,
}

#[derive(Clone, Copy)]
enum Then {
    /// A data descriptor of so many bytes.
    Descriptor(u64),
    ZipHeader,
    NextTensor,
}

impl PackageHasher {
    pub fn new() -> Self {
        Self {
            state: State::Magic,
            head: Vec::new(),
            queue: Vec::new(),
            found: Digests::default(),
        }
    }

    /// Takes the next bytes. The error is a sentence without the file's name.
    pub fn update(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Rest => return Ok(()),
                State::Body { left, sink, .. } => {
                    let take = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let (now, later) = bytes.split_at(take);
                    match sink {
                        Sink::Hash(_, sha) => sha.update(now),
                        Sink::Keep(kept) => kept.extend(now),
                        Sink::Skip => {}
                    }
                    *left -= take as u64;
                    bytes = later;
                    self.settle();
                }
                State::Magic | State::ZipHeader | State::ZipNames { .. } | State::SafetensorsHeader { .. } => {
                    let missing = self.header_length() - self.head.len();
                    let (now, later) = bytes.split_at(missing.min(bytes.len()));
                    self.head.extend(now);
                    bytes = later;
                    if self.head.len() == self.header_length() {
                        self.header()?;
                        self.settle();
                    }
                }
            }
        }
        Ok(())
    }

    /// What was found; an error where the bytes ended early.
    pub fn finish(self) -> Result<Digests, String> {
        match self.state {
            State::Rest => Ok(self.found),
            _ => Err("it ends before its last tensor".to_owned()),
        }
    }

    fn header_length(&self) -> usize {
        match self.state {
            State::Magic => 8,
            State::ZipHeader => LOCAL_HEADER,
            State::ZipNames { names, extra } => LOCAL_HEADER + names + extra,
            State::SafetensorsHeader { length } => length as usize,
            State::Body { .. } | State::Rest => 0,
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
                self.head.clear();
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
                    sink,
                    then,
                } => {
                    match sink {
                        Sink::Hash(key, sha) => self.found.tensors.push((key, length, sha.finalize().into())),
                        Sink::Keep(kept) => self.found.metadata = Some(kept),
                        Sink::Skip => {}
                    }
                    self.state = match then {
                        Then::Descriptor(0) | Then::ZipHeader => State::ZipHeader,
                        Then::Descriptor(left) => State::Body {
                            left,
                            length: left,
                            sink: Sink::Skip,
                            then: Then::ZipHeader,
                        },
                        Then::NextTensor => match self.queue.pop() {
                            Some((_, length, key)) => State::Body {
                                left: length,
                                length,
                                sink: Sink::Hash(key, Sha256::new()),
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
        let sink = if let Some(number) = record.strip_prefix("data/").and_then(|number| number.parse().ok()) {
            Sink::Hash(Key::Position(number), Sha256::new())
        } else if record == RECORD && length <= MAX_BYTES {
            Sink::Keep(Vec::new())
        } else {
            Sink::Skip
        };
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
            sink,
            then: Then::Descriptor(descriptor),
        };
        Ok(())
    }

    fn safetensors_header(&mut self) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Place {
            data_offsets: (u64, u64),
        }
        let broken = |error: serde_json::Error| format!("its safetensors header is malformed: {error}");
        let header: Map<String, Value> = serde_json::from_slice(&self.head).map_err(broken)?;
        self.head = Vec::new();
        let mut cursor = 0;
        let mut places = Vec::with_capacity(header.len());
        for (name, value) in header {
            if name == "__metadata__" {
                let text = value.get(RECORD.trim_end_matches(".json")).and_then(Value::as_str);
                self.found.metadata = text.map(|text| text.as_bytes().to_vec());
                continue;
            }
            let Place {
                data_offsets: (begin, end),
            } = serde_json::from_value(value).map_err(broken)?;
            let length = end
                .checked_sub(begin)
                .ok_or_else(|| format!("{name}: its bytes end before they begin"))?;
            places.push((begin, length, Key::Name(name)));
        }
        places.sort_by_key(|(begin, length, _)| (*begin, *length));
        for (begin, length, key) in &places {
            if *begin != cursor {
                return Err(format!("{key:?}: expected its bytes at {cursor}, found {begin}"));
            }
            cursor = begin
                .checked_add(*length)
                .ok_or_else(|| format!("{key:?}: absurd length"))?;
        }
        places.reverse();
        self.queue = places;
        self.state = State::Body {
            left: 0,
            length: 0,
            sink: Sink::Skip,
            then: Then::NextTensor,
        };
        Ok(())
    }
}
