//! Writes safetensors: a JSON header of names and places, then the tensors' bytes.
//!
//! The header comes first but holds digests that are known last, so room for it is kept and padded with spaces,
//! as the format allows.

use serde_json::Value;

use super::plan::Planned;
use crate::{Error, Result, staged::Staged};

/// Data begins at a multiple of this, so that every tensor is aligned when the file is mapped.
const ALIGNMENT: u64 = 64;
/// Upper bound of what one tensor's error adds to the metadata, quotes escaped; and of what the rest may add.
const ERROR_ROOM: u64 = 160;
const SPARE_ROOM: u64 = 16_384;

/// Where every tensor lies, and how long the header may become.
#[derive(Debug)]
pub(super) struct SafetensorsWriter {
    entries: String,
    start: u64,
    offsets: Vec<u64>,
}

impl SafetensorsWriter {
    /// Lays out the tensors: the header lists them in order, the data has the widest types first, so that
    /// every tensor is aligned to its element. `metadata` is what is known of it before any digest and error.
    pub fn new(stored: &[Planned], metadata: &[u8]) -> Self {
        let mut order: Vec<usize> = (0..stored.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(stored[index].dtype.size()));
        let mut places = vec![0; stored.len()];
        let mut cursor = 0;
        for index in order {
            places[index] = cursor;
            cursor += stored[index].bytes();
        }
        let mut entries = String::new();
        for (tensor, place) in stored.iter().zip(&places) {
            let name = Value::from(tensor.name.as_str());
            let shape = Value::from(tensor.shape.clone());
            let end = place + tensor.bytes();
            let dtype = tensor.dtype.name();
            entries += &format!(",{name}:{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{place},{end}]}}");
        }
        let room = header(metadata, &entries).len() as u64 + ERROR_ROOM * stored.len() as u64 + SPARE_ROOM;
        let start = (8 + room).next_multiple_of(ALIGNMENT);
        Self {
            entries,
            start,
            offsets: places.iter().map(|place| start + place).collect(),
        }
    }

    /// File offset of a tensor's first byte.
    pub fn offset(&self, tensor: usize) -> u64 {
        self.offsets[tensor]
    }

    /// Writes the header; a second time replaces the first.
    pub fn finish(&self, file: &Staged, metadata: &[u8]) -> Result<()> {
        let mut header = header(metadata, &self.entries).into_bytes();
        let room = (self.start - 8) as usize;
        if header.len() > room {
            let reason = format!(
                "the header needs {} bytes, {room} were kept for it: write a .pth; please report this",
                header.len()
            );
            return Err(Error::invalid(file.target(), reason));
        }
        header.resize(room, b' ');
        file.write_at(&(room as u64).to_le_bytes(), 0)?;
        file.write_at(&header, 8)
    }
}

fn header(metadata: &[u8], entries: &str) -> String {
    let metadata = Value::from(String::from_utf8_lossy(metadata).into_owned());
    format!("{{\"__metadata__\":{{\"format\":\"pt\",\"sam3_metadata\":{metadata}}}{entries}}}")
}
