//! Names that are taken meanwhile, sets of files, runs at once, what killed runs leave.

use std::cell::RefCell;

use super::*;

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sam3-staged-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

thread_local! {
    /// Files that this thread forced to disk.
    pub static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
}

/// Staged files with their own names as content.
fn staged(folder: &Path, names: &[&str], force: bool) -> Vec<Staged> {
    let create = |name: &&str| {
        let staged = Staged::create(&folder.join(name), force).unwrap();
        staged.write_at(name.as_bytes(), 0).unwrap();
        staged
    };
    names.iter().map(create).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_came_meanwhile_is_not_replaced_unless_forced() {
    let folder = scratch("meanwhile");
    let target = folder.join("x.pth");
    for force in [false, true] {
        let mut files = staged(&folder, &["x.pth"], true);
        files[0].force = force;
        fs::write(&target, "another's").unwrap();
        let named = files.pop().unwrap().commit();
        assert_eq!(named.is_ok(), force);
        assert!(force || matches!(named, Err(Error::Exists { path }) if path == target));
        assert_eq!(
            fs::read(&target).unwrap(),
            if force { &b"x.pth"[..] } else { b"another's" }
        );
        assert_eq!(names(&folder), ["x.pth"]);
    }
    fs::remove_dir_all(folder).unwrap();
}

/// The ways that a file system without `renameat2` leaves.
#[test]
fn links_and_plain_renames_replace_nothing_either() {
    let folder = scratch("links");
    let (from, to) = (folder.join("from"), folder.join("to"));
    for rename in [rename_new, link_new] {
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        assert_eq!(rename(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(
            (fs::read(&from).unwrap(), fs::read(&to).unwrap()),
            (b"new".into(), b"old".into())
        );
        fs::remove_file(&to).unwrap();
        rename(&from, &to).unwrap();
        assert_eq!(names(&folder), ["to"]);
        // No folder can be linked, as no file can on FAT.
        fs::create_dir(&from).unwrap();
        assert_eq!(rename(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs::remove_file(&to).unwrap();
        rename(&from, &to).unwrap();
        assert!(to.is_dir());
        fs::remove_dir(&to).unwrap();
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_set_gets_all_its_names_or_none() {
    let folder = scratch("set");
    let set = ["x.pth", "x_metadata.json", "x.tar.gz"];
    let files = staged(&folder, &set, false);
    fs::write(folder.join("x_metadata.json"), "another's").unwrap();
    assert!(matches!(commit_all(files, false, || Ok(())), Err(Error::Exists { path }) if path.ends_with(set[1])));
    assert_eq!(names(&folder), ["x_metadata.json"]);
    fs::remove_file(folder.join(set[1])).unwrap();

    // It comes later than anybody looks: what has its name already loses it again.
    let files = staged(&folder, &set, false);
    let late = || {
        fs::write(folder.join("x_metadata.json"), "another's").unwrap();
        Ok(())
    };
    assert!(matches!(commit_all(files, false, late), Err(Error::Exists { path }) if path.ends_with(set[1])));
    assert_eq!(names(&folder), ["x_metadata.json"]);

    SYNCED.take();
    commit_all(staged(&folder, &set, true), false, || Ok(())).unwrap();
    assert!(SYNCED.take().is_empty());
    commit_all(staged(&folder, &set, true), true, || Ok(())).unwrap();
    assert_eq!(SYNCED.take(), set.map(|name| folder.join(name)));
    for name in set {
        assert_eq!(fs::read(folder.join(name)).unwrap(), name.as_bytes());
    }
    fs::remove_dir_all(folder).unwrap();
}

/// Every run writes its number into all its files: a mixture shows.
#[test]
fn runs_at_once_do_not_mix_their_files() {
    let folder = scratch("mix");
    let set = ["x.pth", "x_metadata.json", "x.tar.gz"];
    let run = |number: usize, force| {
        let create = |name: &&str| {
            let staged = Staged::create(&folder.join(name), force)?;
            staged.write_at(&number.to_le_bytes(), 0)?;
            Ok(staged)
        };
        let files = set.iter().map(create).collect::<Result<Vec<_>>>()?;
        commit_all(files, false, || Ok(()))
    };
    let written = || set.map(|name| fs::read(folder.join(name)).unwrap());
    for force in [false, true] {
        let won = thread::scope(|scope| {
            let runs: Vec<_> = (0..8).map(|number| scope.spawn(move || run(number, force))).collect();
            runs.into_iter()
                .map(|run| run.join().unwrap())
                .filter(Result::is_ok)
                .count()
        });
        assert_eq!(won, if force { 8 } else { 1 });
        let [package, metadata, archive] = written();
        assert!(package == metadata && metadata == archive);
        assert_eq!(names(&folder).len(), 3);
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn names_that_are_too_long_are_told_at_once_and_the_longest_serve() {
    let folder = scratch("long");
    let longest = folder.join("ä".repeat(127) + "x");
    let staged = Staged::create(&longest, false).unwrap();
    staged.commit().unwrap();
    assert!(longest.exists());
    let error = Staged::create(&folder.join("x".repeat(256)), false).unwrap_err();
    assert!(matches!(error, Error::NameTooLong { .. }), "{error}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_dropped_file_leaves_nothing_and_a_committed_one_leaves_itself() {
    let folder = scratch("drop");
    let target = folder.join("x.pth");
    let staged = Staged::create(&target, false).unwrap();
    staged.write_at(b"abc", 2).unwrap();
    assert!(!target.exists());
    drop(staged);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);

    let staged = Staged::create(&target, false).unwrap();
    staged.write_at(b"abc", 2).unwrap();
    staged.commit().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"\0\0abc");
    assert!(matches!(Staged::create(&target, false), Err(Error::Exists { .. })));
    assert!(Staged::create(&target, true).is_ok());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_a_killed_run_left_is_removed_and_what_a_live_one_holds_is_not() {
    let folder = scratch("stale");
    let stale = folder.join(".other.pth.sam3-tmp-1-7");
    let live = folder.join(".x.pth.sam3-tmp-2");
    fs::write(&stale, "half").unwrap();
    fs::write(&live, "half").unwrap();
    let held = File::open(&live).unwrap();
    held.lock().unwrap();
    drop(Staged::create(&folder.join("x.pth"), false).unwrap());
    assert!(!stale.exists());
    assert!(live.exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_device_is_not_replaced() {
    let folder = scratch("device");
    let link = folder.join("x.pth");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for target in [Path::new("/dev/null"), &link] {
        let error = Staged::create(target, true).unwrap_err().to_string();
        assert!(error.contains("a device is there"), "{error}");
    }
    let error = Staged::create(&folder, true).unwrap_err();
    assert!(matches!(error, Error::Output { source, .. } if source.kind() == io::ErrorKind::IsADirectory));
    fs::remove_dir_all(folder).unwrap();
}

/// Its own process: nothing can be created in one that has discarded what it was writing.
#[test]
fn nothing_is_created_once_all_was_discarded() {
    const FOLDER: &str = "SAM3_TEST_DISCARD_IN";
    if let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) {
        let before = staged(&folder, &["before"], false);
        discard_staged();
        let late = folder.clone();
        thread::spawn(move || mem::forget(Staged::create(&late.join("late"), false)));
        thread::spawn(move || drop(before));
        thread::sleep(Duration::from_millis(300));
        let found = names(&folder);
        // No destructor may run: it would wait for ever, as it should.
        std::process::exit(i32::from(!found.is_empty()));
    }
    let folder = scratch("discarded");
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["staged::tests::nothing_is_created_once_all_was_discarded", "--exact"])
        .env(FOLDER, &folder)
        .status()
        .unwrap();
    assert!(status.success(), "left {:?}", names(&folder));
    fs::remove_dir_all(folder).unwrap();
}
