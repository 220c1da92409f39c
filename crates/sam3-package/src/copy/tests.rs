//! Copies that were interrupted, that meet other files, that come in parts.

use super::*;

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sam3-copy-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("drive")).unwrap();
    folder
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count as u64)
        .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect()
}

#[test]
fn a_copy_resumes_and_what_it_found_is_checked() {
    let folder = scratch("resume");
    let (source, drive) = (folder.join("x.bin"), folder.join("drive"));
    let all = bytes((SYNC_EVERY + 3 * PIECE + 7) as usize);
    fs::write(&source, &all).unwrap();
    let partial = drive.join(".x.bin.sam3-copy");
    let half = (SYNC_EVERY + 2 * PIECE) as usize;
    let mut wrong = all[..half].to_vec();
    wrong[1000] ^= 1;
    let longer = [&all[..], b"more"].concat();
    for (before, found) in [
        (&all[..0], 0),
        (&all[..half], 2 * PIECE),
        (&wrong[..], 0),
        (&longer[..], 3 * PIECE),
    ] {
        fs::write(&partial, before).unwrap();
        let copied = copy(std::slice::from_ref(&source), &drive, false, &()).unwrap();
        assert_eq!((copied[0].found, copied[0].bytes), (found, all.len() as u64));
        assert!(fs::read(drive.join("x.bin")).unwrap() == all);
        assert!(!partial.exists());
        let again = copy(std::slice::from_ref(&source), &drive, false, &()).unwrap();
        assert_eq!(
            (again[0].found, &again[0].sha256),
            (all.len() as u64, &copied[0].sha256)
        );
        fs::remove_file(drive.join("x.bin")).unwrap();
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn another_file_of_the_name_stays_unless_forced() {
    let folder = scratch("exists");
    let (source, drive) = (folder.join("x.bin"), folder.join("drive"));
    fs::write(&source, b"new").unwrap();
    fs::write(drive.join("x.bin"), b"old").unwrap();
    assert!(matches!(
        copy(std::slice::from_ref(&source), &drive, false, &()),
        Err(Error::Exists { .. })
    ));
    assert_eq!(fs::read(drive.join("x.bin")).unwrap(), b"old");
    copy(&[source.clone(), source.clone()], &drive, true, &()).unwrap();
    assert_eq!(fs::read(drive.join("x.bin")).unwrap(), b"new");
    let (first, link) = (folder.join("first.bin"), folder.join("link"));
    fs::write(&first, b"first").unwrap();
    std::os::unix::fs::symlink(&drive, &link).unwrap();
    for itself in [drive.join("x.bin"), drive.join("../drive/./x.bin"), link.join("x.bin")] {
        let onto_itself = copy(&[first.clone(), itself], &drive, true, &());
        assert!(matches!(onto_itself, Err(Error::OutputIsInput { .. })));
        assert!(!drive.join("first.bin").exists(), "refused before the first is copied");
    }
    assert_eq!(fs::read(drive.join("x.bin")).unwrap(), b"new");
    assert!(matches!(
        copy(std::slice::from_ref(&source), &folder.join("no"), false, &()),
        Err(Error::Drive { .. })
    ));
    assert!(
        copy(std::slice::from_ref(&drive), &folder, false, &())
            .unwrap_err()
            .is_input()
    );
    assert!(
        copy(&[folder.join("absent")], &drive, false, &())
            .unwrap_err()
            .is_input()
    );
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_fat_cannot_hold_is_named_with_the_way_out() {
    let job = |bytes| Job {
        source: "big.tar.gz".into(),
        bytes,
        target: "drive/big.tar.gz".into(),
        partial: "drive/.big.tar.gz.sam3-copy".into(),
    };
    assert!(refuse_beyond_fat(&[job(drive::FAT_LIMIT)]).is_ok());
    let error = refuse_beyond_fat(&[job(5), job(drive::FAT_LIMIT + 1)])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("big.tar.gz") && error.contains("--split fat32"),
        "{error}"
    );
}

/// Nothing is copied before all of it is known to be welcome, and nothing stays of a copy that is no longer needed.
#[test]
fn a_file_in_the_way_is_told_before_the_first_is_copied() {
    let folder = scratch("way");
    let drive = folder.join("drive");
    for name in ["a.bin", "b.bin"] {
        fs::write(folder.join(name), name).unwrap();
    }
    fs::write(drive.join("b.bin"), "something longer").unwrap();
    let files = [folder.join("a.bin"), folder.join("b.bin")];
    assert!(matches!(copy(&files, &drive, false, &()), Err(Error::Exists { path }) if path.ends_with("b.bin")));
    assert!(!drive.join("a.bin").exists());

    fs::write(drive.join("a.bin"), "a.bin").unwrap();
    fs::write(drive.join(".a.bin.sam3-copy"), "a.b").unwrap();
    copy(&files[..1], &drive, false, &()).unwrap();
    assert!(!drive.join(".a.bin.sam3-copy").exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_belongs_together_goes_together() {
    let folder = scratch("together");
    let drive = folder.join("drive");
    for name in ["x.pth", "x_metadata.json", "x.tar.gz.000", "x.tar.gz.001"] {
        fs::write(folder.join(name), name).unwrap();
    }
    copy(&[folder.join("x.pth"), folder.join("x.tar.gz.000")], &drive, false, &()).unwrap();
    let mut names: Vec<_> = fs::read_dir(&drive)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["x.pth", "x.tar.gz.000", "x.tar.gz.001", "x_metadata.json"]);
    fs::remove_dir_all(folder).unwrap();
}
