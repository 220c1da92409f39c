//! Writes PyTorch's file format: a zip of STORED records, `data.pkl` first, one record a tensor.
//!
//! Records, their order, their 64-byte alignment (extra field "FB") and the data descriptors are those of
//! `torch.save`, so that even readers that compute offsets instead of reading them agree. Unlike there, local
//! headers hold the sizes and checksums too, so that a package can be checked while it streams by.

use super::{pickle_writer, plan::Planned};
use crate::{Result, naming::RECORD, staged::Staged};

const ALIGNMENT: u64 = 64;
const LIMIT_32: u64 = u32::MAX as u64;
/// Bit 3: a data descriptor follows; bit 11: names are UTF-8.
const FLAGS: u16 = 0x0808;
/// 1980-01-01, the zip epoch.
const DOS_DATE: u16 = 0x0021;

/// Where every record lies, known before the first byte is written.
#[derive(Debug)]
pub(super) struct PthWriter {
    archive: String,
    head: Vec<(Record, Vec<u8>)>,
    data: Vec<Record>,
    cursor: u64,
}

/// A placed record of the zip.
#[derive(Debug)]
struct Record {
    name: String,
    size: u64,
    header: u64,
    start: u64,
}

impl PthWriter {
    /// Lays out the records of an archive named `archive` (the file's stem, as PyTorch does).
    pub fn new(archive: &str, stored: &[Planned]) -> Self {
        let mut layout = Self {
            archive: archive.to_owned(),
            head: Vec::new(),
            data: Vec::new(),
            cursor: 0,
        };
        let head = [
            ("data.pkl", pickle_writer::state_dict(stored)),
            (".format_version", b"1".to_vec()),
            (".storage_alignment", b"64".to_vec()),
            ("byteorder", b"little".to_vec()),
        ];
        for (name, bytes) in head {
            let record = Record::place(archive, name, bytes.len() as u64, &mut layout.cursor);
            layout.head.push((record, bytes));
        }
        for (index, tensor) in stored.iter().enumerate() {
            let record = Record::place(archive, &format!("data/{index}"), tensor.bytes(), &mut layout.cursor);
            layout.data.push(record);
        }
        layout
    }

    /// File offset of a tensor's first byte.
    pub fn offset(&self, tensor: usize) -> u64 {
        self.data[tensor].start
    }

    /// Writes everything but the tensors' bytes. `crcs` are the tensors' CRC-32, `identity` any 16 bytes that
    /// tell this content from another, for PyTorch's `serialization_id`. A second time replaces the first.
    pub fn finish(&self, file: &Staged, crcs: &[u32], identity: [u8; 16], metadata: &[u8]) -> Result<()> {
        let mut directory = Vec::new();
        let (mut records, mut cursor) = (0u64, self.cursor);
        let mut close = |record: &Record, crc: u32| -> Result<()> {
            file.write_at(&record.local_header(crc), record.header)?;
            file.write_at(&record.descriptor(crc), record.start + record.size)?;
            directory.extend(record.central_header(crc));
            records += 1;
            Ok(())
        };
        for (record, bytes) in &self.head {
            file.write_at(bytes, record.start)?;
            close(record, crc32fast::hash(bytes))?;
        }
        for (record, crc) in self.data.iter().zip(crcs) {
            close(record, *crc)?;
        }
        let (high, low) = identity.split_at(8);
        let number = |half: &[u8]| half.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        let identity = format!("{:020}{:020}", number(high), number(low));
        for (name, bytes) in [
            ("version", &b"3\n"[..]),
            (".data/serialization_id", identity.as_bytes()),
            (RECORD, metadata),
        ] {
            let record = Record::place(&self.archive, name, bytes.len() as u64, &mut cursor);
            file.write_at(bytes, record.start)?;
            close(&record, crc32fast::hash(bytes))?;
        }
        let directory_size = directory.len() as u64;
        directory.extend(end_of_archive(records, cursor, directory_size));
        file.write_at(&directory, cursor)?;
        // Of longer metadata before.
        file.set_len(cursor + directory.len() as u64)
    }
}

impl Record {
    /// The record at `cursor`, which moves behind it.
    fn place(archive: &str, name: &str, size: u64, cursor: &mut u64) -> Self {
        let name = format!("{archive}/{name}");
        let header = *cursor;
        // 30 bytes of header and 4 of the "FB" field's own head.
        let earliest = header + 34 + name.len() as u64 + zip64_extra(size, header).len() as u64;
        let record = Self {
            name,
            size,
            header,
            start: earliest.next_multiple_of(ALIGNMENT),
        };
        *cursor = record.start + size + record.descriptor(0).len() as u64;
        record
    }

    /// Both headers share a layout from "version needed" to the name's length.
    fn common(&self, crc: u32) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(0u16.to_le_bytes()); // version needed, 0 as in torch.save
        out.extend(FLAGS.to_le_bytes());
        out.extend(0u16.to_le_bytes()); // STORED
        out.extend(0u16.to_le_bytes()); // midnight
        out.extend(DOS_DATE.to_le_bytes());
        out.extend(crc.to_le_bytes());
        let size = clamp_32(self.size).to_le_bytes();
        out.extend(size);
        out.extend(size);
        out.extend((self.name.len() as u16).to_le_bytes());
        out
    }

    fn local_header(&self, crc: u32) -> Vec<u8> {
        let zip64 = zip64_extra(self.size, self.header);
        let padding = self.start - self.header - 34 - (self.name.len() + zip64.len()) as u64;
        let mut out = b"PK\x03\x04".to_vec();
        out.extend(self.common(crc));
        out.extend((zip64.len() as u16 + 4 + padding as u16).to_le_bytes());
        out.extend(self.name.as_bytes());
        out.extend(zip64);
        out.extend(b"FB");
        out.extend((padding as u16).to_le_bytes());
        out.resize((self.start - self.header) as usize, b'Z');
        out
    }

    fn descriptor(&self, crc: u32) -> Vec<u8> {
        let mut out = b"PK\x07\x08".to_vec();
        out.extend(crc.to_le_bytes());
        for _ in 0..2 {
            if zip64_extra(self.size, self.header).is_empty() {
                out.extend((self.size as u32).to_le_bytes());
            } else {
                out.extend(self.size.to_le_bytes());
            }
        }
        out
    }

    fn central_header(&self, crc: u32) -> Vec<u8> {
        let zip64 = zip64_extra(self.size, self.header);
        let mut out = b"PK\x01\x02\0\0".to_vec(); // made by: 0
        out.extend(self.common(crc));
        out.extend((zip64.len() as u16).to_le_bytes());
        out.extend([0; 10]); // comment length, disk, attributes
        out.extend(clamp_32(self.header).to_le_bytes());
        out.extend(self.name.as_bytes());
        out.extend(zip64);
        out
    }
}

/// The zip64 field of a record whose size or offset does not fit 32 bits, else nothing.
fn zip64_extra(size: u64, header: u64) -> Vec<u8> {
    let mut fields = Vec::new();
    if size >= LIMIT_32 {
        fields.extend(size.to_le_bytes());
        fields.extend(size.to_le_bytes());
    }
    if header >= LIMIT_32 {
        fields.extend(header.to_le_bytes());
    }
    if fields.is_empty() {
        return fields;
    }
    let mut out = vec![1, 0];
    out.extend((fields.len() as u16).to_le_bytes());
    out.extend(fields);
    out
}

fn clamp_32(value: u64) -> u32 {
    value.min(LIMIT_32) as u32
}

/// The zip64 end record and its locator, which PyTorch always writes, and the end record.
fn end_of_archive(records: u64, directory: u64, directory_size: u64) -> Vec<u8> {
    let mut out = b"PK\x06\x06".to_vec();
    out.extend(44u64.to_le_bytes());
    out.extend(45u16.to_le_bytes()); // made by 4.5, needs 4.5: zip64
    out.extend(45u16.to_le_bytes());
    out.extend([0; 8]); // disks
    out.extend(records.to_le_bytes());
    out.extend(records.to_le_bytes());
    out.extend(directory_size.to_le_bytes());
    out.extend(directory.to_le_bytes());

    out.extend(b"PK\x06\x07");
    out.extend(0u32.to_le_bytes());
    out.extend((directory + directory_size).to_le_bytes());
    out.extend(1u32.to_le_bytes());

    let records = (records.min(u64::from(u16::MAX)) as u16).to_le_bytes();
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(records);
    out.extend(records);
    out.extend(clamp_32(directory_size).to_le_bytes());
    out.extend(clamp_32(directory).to_le_bytes());
    out.extend(0u16.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Dtype;

    fn tensors(count: usize, rows: usize) -> Vec<Planned> {
        (0..count)
            .map(|i| Planned {
                name: format!("t{i}"),
                dtype: Dtype::F32,
                shape: vec![rows, 1024],
            })
            .collect()
    }

    /// Beyond 4 GiB every start stays aligned, headers end where data begins, and the directory tells the offset.
    #[test]
    fn records_past_four_gigabytes_carry_zip64_fields() {
        for (count, rows) in [(1500, 1024), (2, 1 << 20)] {
            let layout = PthWriter::new("big", &tensors(count, rows));
            for record in &layout.data {
                assert_eq!(record.start % ALIGNMENT, 0);
                assert_eq!(record.header + record.local_header(0).len() as u64, record.start);
                let central = record.central_header(0);
                let stored = u32::from_le_bytes(central[42..46].try_into().unwrap());
                if record.header >= LIMIT_32 {
                    assert_eq!(stored, u32::MAX);
                    assert!(central.ends_with(&record.header.to_le_bytes()));
                } else {
                    assert_eq!(u64::from(stored), record.header);
                }
            }
            assert!(layout.cursor > LIMIT_32);
        }
    }

    /// The size `torch.save` gives the same state dict, reproduced with torch 2.15 for three f32 vectors.
    #[test]
    fn records_lie_where_torch_puts_them() {
        let stored: Vec<Planned> = [("a", 12), ("b", 6), ("s", 2)]
            .map(|(name, n)| Planned {
                name: name.into(),
                dtype: Dtype::F32,
                shape: vec![n],
            })
            .into();
        let layout = PthWriter::new("t", &stored);
        assert_eq!(layout.head[0].0.start, 64);
        for (record, _) in &layout.head[1..] {
            assert_eq!(record.start % 64, 0);
        }
        assert_eq!(layout.data[1].header, layout.data[0].start + 48 + 16);
    }

    /// What the directory at the end says must be the last that the file holds.
    #[test]
    fn shorter_metadata_replaces_longer() {
        let folder = std::env::temp_dir().join(format!("sam3-pth-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let stored = tensors(1, 1);
        let layout = PthWriter::new("x", &stored);
        let files = [&[&b"{}"[..]][..], &[&vec![b' '; 100_000], b"{}"]].map(|texts| {
            let file = Staged::create(&folder.join("x.pth"), false).unwrap();
            let zeros = vec![0; 4096];
            file.write_at(&zeros, layout.offset(0)).unwrap();
            let crc = crc32fast::hash(&zeros);
            texts
                .iter()
                .for_each(|text| layout.finish(&file, &[crc], [0; 16], text).unwrap());
            std::fs::read(file.temporary()).unwrap()
        });
        assert!(files[0] == files[1]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
