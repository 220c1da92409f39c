//! gzip (RFC 1952): one standard member out of pieces of deflate; members in, as `gzip -d` takes them.

use std::io::{self, Read};

use flate2::bufread::GzDecoder;

use super::{ahead::Ahead, deflate, pieces::Codec};

pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// An empty last block.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// Any `tar -xz` reads it.
pub(super) struct Gzip;

impl Codec for Gzip {
    type Sum = crc32fast::Hasher;
    /// Magic, deflate, no flags, no time, no level, unknown system.
    const HEADER: &'static [u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

    fn compress(piece: &[u8], out: &mut Vec<u8>) -> Self::Sum {
        deflate::compress(piece, out);
        let mut crc = crc32fast::Hasher::new();
        crc.update(piece);
        crc
    }

    fn join(sum: &mut Self::Sum, next: &Self::Sum) {
        sum.combine(next);
    }

    fn trailer(sum: Self::Sum, length: u64) -> Vec<u8> {
        let mut out = LAST_BLOCK.to_vec();
        out.extend(sum.finalize().to_le_bytes());
        out.extend((length as u32).to_le_bytes()); // modulo 2^32, as the format says
        out
    }
}

/// Decodes member after member and checks their checksums.
pub(super) struct Members<R: Read> {
    /// `None` behind the last.
    member: Option<GzDecoder<Ahead<R>>>,
}

impl<R: Read> Members<R> {
    pub fn new(source: Ahead<R>) -> Self {
        Self {
            member: Some(GzDecoder::new(source)),
        }
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(mut member) = self.member.take() {
            let read = member.read(buffer)?;
            if read > 0 {
                self.member = Some(member);
                return Ok(read);
            }
            let mut source = member.into_inner();
            self.member = source.goes_on(&[&MAGIC])?.then(|| GzDecoder::new(source));
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::{super::ahead::Trailing, *};

    fn member(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Members::new(Ahead::new(bytes)).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn members_follow_each_other_and_what_is_no_member_is_told() {
        let two = [member(b"one "), member(b""), member(b"two")].concat();
        for behind in [&b""[..], &[0; 1000], b"\n", b"\r\n"] {
            assert_eq!(decode(&[&two, behind].concat()).unwrap(), b"one two", "{behind:?}");
        }
        let error = decode(&[&two, &b"list"[..]].concat()).unwrap_err();
        assert_eq!(Trailing::of(&error).unwrap().at, two.len() as u64);
        for length in [two.len() - 1, two.len() - 9, 3] {
            let error = decode(&two[..length]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length}: {error}");
        }
        let mut damaged = two;
        let at = member(b"one ").len() - 6;
        damaged[at] ^= 1;
        assert_eq!(decode(&damaged).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
