//! gzip (RFC 1952): one standard member out of pieces of deflate.

use super::{deflate, pieces::Codec};

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
