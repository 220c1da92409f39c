//! Bodies that come in pieces, break off or are too long.

use std::collections::VecDeque;

use super::*;

/// A body of these reads.
struct Body(VecDeque<io::Result<&'static [u8]>>);

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.pop_front().unwrap_or(Ok(b""))?;
        buffer[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

fn failed(kind: io::ErrorKind) -> io::Result<&'static [u8]> {
    Err(kind.into())
}

#[test]
fn a_download_goes_on_where_it_stopped() {
    let folder = std::env::temp_dir().join(format!("sam3-partial-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let blob = folder.join("etag");
    let mut partial = Partial::open(&blob).unwrap().unwrap();
    let append = |partial: &mut Partial, reads: Vec<_>| partial.append(&mut Body(reads.into()), Some(6), &());

    // A signal is no end, a reset is one.
    let reads = vec![Ok(&b"ab"[..]), failed(io::ErrorKind::Interrupted), Ok(b"c")];
    assert!(append(&mut partial, reads).is_ok());
    assert_eq!(partial.at, 3);
    assert!(append(&mut partial, vec![Ok(b"d"), failed(io::ErrorKind::ConnectionReset)]).is_err());
    assert_eq!(partial.at, 4);
    assert!(
        append(&mut partial, vec![Ok(b"efg")]).is_err(),
        "that would be seven bytes"
    );
    assert_eq!(partial.at, 4);
    drop(partial);

    let mut partial = Partial::open(&blob).unwrap().unwrap();
    partial.resume(&()).unwrap();
    assert_eq!((partial.at, partial.sha256()), (4, hex(&Sha256::digest(b"abcd"))));
    assert!(append(&mut partial, vec![Ok(b"ef")]).is_ok());
    assert_eq!(partial.sha256(), hex(&Sha256::digest(b"abcdef")));
    partial.finish(&blob).unwrap();
    assert_eq!(fs::read(&blob).unwrap(), b"abcdef");
    fs::remove_dir_all(folder).unwrap();
}
