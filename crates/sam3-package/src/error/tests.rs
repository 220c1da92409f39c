//! What an error of the system is about.

use std::io;

use rustix::io::Errno;

use super::{is_wrong_path, list_of};

#[test]
fn a_path_is_wrong_where_another_one_would_do() {
    for (errno, expected) in [
        (Errno::NOENT, true),
        (Errno::ISDIR, true),
        (Errno::NOTDIR, true),
        (Errno::NAMETOOLONG, true),
        (Errno::LOOP, true),
        (Errno::IO, false),
        (Errno::NOSPC, false),
        (Errno::ACCESS, false),
    ] {
        let error = io::Error::from_raw_os_error(errno.raw_os_error());
        assert_eq!(is_wrong_path(&error), expected, "{error}");
    }
    assert!(!is_wrong_path(&io::ErrorKind::UnexpectedEof.into()));
}

#[test]
fn a_long_list_is_cut() {
    let words: Vec<String> = (0..10).map(|i| i.to_string()).collect();
    assert_eq!(list_of(&words[..8]), "0, 1, 2, 3, 4, 5, 6, 7");
    assert_eq!(list_of(&words), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
    assert_eq!(list_of(&[]), "");
}
