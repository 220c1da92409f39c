//! Copies that were interrupted, that meet other files, that come in parts.

use std::sync::atomic::{AtomicBool, Ordering};

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

/// Calls back at every stage, by its name, and at every piece.
struct Watch<F>(F);

impl<F: Fn(&str) + Sync> Progress for Watch<F> {
    fn stage(&self, what: &str, _: u64) {
        (self.0)(what);
    }

    fn advance(&self, _: u64) {
        (self.0)("piece");
    }
}

#[test]
fn a_source_that_is_written_meanwhile_is_told() {
    let folder = scratch("written");
    let (source, drive) = (folder.join("x.bin"), folder.join("drive"));
    let all = bytes(3 * PIECE as usize);
    for length in [all.len() as u64 + 1, 2 * PIECE, 0] {
        fs::write(&source, &all).unwrap();
        let resized = AtomicBool::new(false);
        let watch = Watch(|what: &str| {
            if what == "piece" && !resized.swap(true, Ordering::Relaxed) {
                OpenOptions::new()
                    .write(true)
                    .open(&source)
                    .unwrap()
                    .set_len(length)
                    .unwrap();
            }
        });
        let error = copy(std::slice::from_ref(&source), &drive, false, &watch).unwrap_err();
        let expected = format!("it had {} bytes, now it has {length}", all.len());
        assert!(error.is_input() && error.to_string().contains(&expected), "{error}");
        assert!(!drive.join("x.bin").exists());
    }
    fs::write(&source, &all).unwrap();
    let copied = copy(std::slice::from_ref(&source), &drive, false, &()).unwrap();
    assert_eq!(copied[0].bytes, all.len() as u64);
    fs::remove_dir_all(folder).unwrap();
}

/// What is in memory proves nothing of the drive.
#[test]
fn memory_is_let_go_of_before_a_file_is_read_back() {
    let folder = scratch("cached");
    let (source, drive) = (folder.join("x.bin"), folder.join("drive"));
    fs::write(&source, "x").unwrap();
    for found in [0, 1] {
        let before = drive::tests::FORGOTTEN.get();
        let copied = copy(std::slice::from_ref(&source), &drive, false, &()).unwrap();
        assert_eq!(copied[0].found, found);
        assert_eq!(copied[0].is_from_drive, cfg!(target_os = "linux"));
        assert_eq!(drive::tests::FORGOTTEN.get() - before, 1);
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_comes_while_a_copy_runs_is_replaced_by_force_alone() {
    let folder = scratch("comes");
    let (source, target) = (folder.join("x.bin"), folder.join("drive/x.bin"));
    fs::write(&source, "new").unwrap();
    let watch = Watch(|what: &str| {
        if what == "reading back" {
            fs::write(&target, "another's").unwrap();
        }
    });
    let run = |force| copy(std::slice::from_ref(&source), &folder.join("drive"), force, &watch);
    assert!(matches!(run(false), Err(Error::Exists { path }) if path == target));
    assert_eq!(fs::read(&target).unwrap(), b"another's");
    run(true).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"new");
    fs::remove_dir_all(folder).unwrap();
}

/// A copy under way has a longer name than the file.
#[test]
fn the_longest_names_are_copied() {
    let folder = scratch("long");
    let files = ["a", "b"].map(|end| folder.join("n".repeat(254) + end));
    files
        .iter()
        .for_each(|file| fs::write(file, file.as_os_str().as_encoded_bytes()).unwrap());
    copy(&files, &folder.join("drive"), false, &()).unwrap();
    for file in &files {
        let copied = folder.join("drive").join(file.file_name().unwrap());
        assert_eq!(fs::read(copied).unwrap(), fs::read(file).unwrap());
    }
    let names = files.each_ref().map(|file| partial_name(file.file_name().unwrap()));
    assert!(names[0] != names[1] && names.iter().all(|name| name.len() <= 255));
    assert_eq!(partial_name(OsStr::new("x.pth")), ".x.pth.sam3-copy");
    fs::remove_dir_all(folder).unwrap();
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
        error.contains("big.tar.gz") && error.contains("formatted as FAT"),
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
    let files = [
        "SAM3.PTH",
        "SAM3_METADATA.JSON",
        "x.pth",
        "x.tar.gz.000",
        "x.tar.gz.001",
        "x_metadata.json",
    ];
    for name in files {
        fs::write(folder.join(name), name).unwrap();
    }
    let named = ["x.pth", "x.tar.gz.000", "SAM3.PTH"].map(|name| folder.join(name));
    copy(&named, &drive, false, &()).unwrap();
    let mut names: Vec<_> = fs::read_dir(&drive)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, files);
    fs::remove_dir_all(folder).unwrap();
}

/// The run that waits must not write into what the other has given its name.
#[test]
fn of_two_runs_the_second_looks_again_at_what_the_first_has_named() {
    let folder = scratch("two-runs");
    let drive = folder.join("drive");
    let sources = ["same", "other"].map(|name| folder.join(name).join("x.bin"));
    let first = folder.join("x.bin");
    let all = bytes(2 * PIECE as usize);
    for source in &sources {
        fs::create_dir_all(source.parent().unwrap()).unwrap();
    }
    fs::write(&first, &all).unwrap();
    fs::write(&sources[0], &all).unwrap();
    fs::write(&sources[1], vec![0; all.len()]).unwrap();
    for (source, is_same) in sources.iter().zip([true, false]) {
        let second = std::thread::scope(|scope| {
            let second = std::sync::Mutex::new(None);
            let watch = Watch(|what: &str| {
                if what == "reading back" {
                    let run = || copy(std::slice::from_ref(source), &drive, false, &());
                    *second.lock().unwrap() = Some(scope.spawn(run));
                    // Until it waits for the lock; were it slower, it would find the file and end the same way.
                    std::thread::sleep(std::time::Duration::from_millis(300));
                }
            });
            copy(std::slice::from_ref(&first), &drive, false, &watch).unwrap();
            second.into_inner().unwrap().unwrap().join().unwrap()
        });
        match second {
            Ok(copied) => assert!(is_same && copied[0].found == all.len() as u64),
            Err(error) => assert!(!is_same && matches!(error, Error::Exists { .. }), "{error}"),
        }
        assert!(fs::read(drive.join("x.bin")).unwrap() == all, "same: {is_same}");
        fs::remove_dir_all(&drive).unwrap();
        fs::create_dir(&drive).unwrap();
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_only_looks_like_an_interrupted_copy_is_refused() {
    let folder = scratch("no-partial");
    let (source, drive, victim) = (folder.join("x.bin"), folder.join("drive"), folder.join("victim"));
    let partial = drive.join(".x.bin.sam3-copy");
    fs::write(&source, "new").unwrap();
    fs::write(&victim, "mine").unwrap();
    let refused = |what: &str| {
        let error = copy(std::slice::from_ref(&source), &drive, true, &()).unwrap_err();
        let is_named = matches!(&error, Error::Drive { path, .. } if *path == partial);
        assert!(is_named && error.to_string().contains("remove it"), "{what}: {error}");
        assert!(!drive.join("x.bin").exists(), "{what}");
    };
    for leads_to in [&victim, &folder.join("nothing")] {
        std::os::unix::fs::symlink(leads_to, &partial).unwrap();
        refused("a link");
        fs::remove_file(&partial).unwrap();
    }
    assert_eq!(fs::read(&victim).unwrap(), b"mine");
    assert!(!folder.join("nothing").exists());
    fs::create_dir(&partial).unwrap();
    refused("a folder");
    fs::remove_dir(&partial).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&partial).status().unwrap();
    assert!(made.success());
    refused("a pipe");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn room_is_asked_for_what_is_not_there_yet() {
    let folder = scratch("room");
    let (source, drive) = (folder.join("x.bin"), folder.join("drive"));
    fs::write(&source, bytes(1000)).unwrap();
    let missing = || jobs(std::slice::from_ref(&source), &drive).unwrap()[0].missing();
    assert_eq!(missing(), 1000);
    let partial = jobs(std::slice::from_ref(&source), &drive).unwrap()[0].partial.clone();
    for (there, expected) in [(400, 600), (1000, 0), (1200, 0)] {
        fs::write(&partial, bytes(there)).unwrap();
        assert_eq!(missing(), expected, "{there} bytes are there");
    }
    fs::remove_file(&partial).unwrap();
    // Another file of that name frees nothing before the new one is complete.
    fs::write(drive.join("x.bin"), bytes(999)).unwrap();
    assert_eq!(missing(), 1000);
    fs::write(drive.join("x.bin"), bytes(1000)).unwrap();
    assert_eq!(missing(), 0);
    fs::remove_dir_all(folder).unwrap();
}
