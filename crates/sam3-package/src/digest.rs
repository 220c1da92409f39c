//! SHA-256 of files, and digests as text.

use std::{
    io::{self, Read},
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::{Error, Progress, Result};

/// Bytes read and hashed at a time.
const PIECE: usize = 1 << 20;

/// Hashes to the end; `seen` hears of every piece's length and may stop it with an error.
///
/// Through a buffer, not a map: pages of a map would count as this process's memory.
pub(crate) fn hash(mut source: impl Read, mut seen: impl FnMut(u64) -> io::Result<()>) -> io::Result<String> {
    let (mut sha, mut buffer) = (Sha256::new(), vec![0; PIECE]);
    loop {
        let read = match source.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Ok(hex(&sha.finalize()));
        }
        sha.update(&buffer[..read]);
        seen(read as u64)?;
    }
}

/// Hashes to the end and reports progress; `path` is what an error names.
pub(crate) fn hash_of(source: impl Read, path: &Path, progress: &dyn Progress) -> Result<String> {
    let advance = |bytes| {
        progress.advance(bytes);
        Ok(())
    };
    hash(source, advance).map_err(|source| Error::io("read", path, source))
}

/// The SHA-256 of all that `source` holds, in lower-case hexadecimal.
///
/// # Errors
/// The system's, when it cannot be read.
pub fn sha256(source: impl Read) -> io::Result<String> {
    hash(source, |_| Ok(()))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_sha256_s_and_can_be_stopped() {
        let mut total = 0;
        let digest = hash(&[b'a'; 1_000_000][..], |bytes| {
            total += bytes;
            Ok(())
        });
        // FIPS 180-2, appendix B.3.
        assert_eq!(
            digest.unwrap(),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        );
        assert_eq!(total, 1_000_000);
        // Appendix B.1.
        assert_eq!(
            sha256(&b"abc"[..]).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(hash(&b"abc"[..], |_| Err(io::ErrorKind::Interrupted.into())).is_err());
    }
}
