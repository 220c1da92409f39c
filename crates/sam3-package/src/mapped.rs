//! Maps of files, and which file lies at an address: what a signal handler asks when a read through a map fails.

use std::{
    fs::File,
    io,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicPtr, AtomicUsize, Ordering},
    },
};

use memmap2::Mmap;
use rustix::io::Errno;

use crate::Error;

/// The first entry of a list of all maps that ever were. Entries are never freed, as a signal may come at any time.
static PLACES: AtomicPtr<Place> = AtomicPtr::new(std::ptr::null_mut());
/// Locked while the list is changed.
static CHANGING: Mutex<()> = Mutex::new(());

/// Addresses, and the file that lies there; none where it was unmapped.
#[derive(Debug)]
struct Place {
    start: AtomicUsize,
    /// Zero where nothing lies there.
    end: AtomicUsize,
    path: PathBuf,
    /// The path as it is told, without what could move a cursor.
    name: String,
    next: Option<&'static Place>,
}

/// A file in memory, read-only.
#[derive(Debug)]
pub(crate) struct Mapped {
    map: Mmap,
    place: Option<&'static Place>,
}

impl Mapped {
    /// Maps an open file.
    pub fn open(path: &Path, file: &File) -> io::Result<Self> {
        // SAFETY: the map is read-only, and nothing in this process writes to the file. Another process can: its bytes
        // may change under a view, and reading beyond a file's new end ends the run with a signal. Every length is
        // checked against the map's own, so that a changed file gives other values and no access outside of the map.
        // README.md tells users not to change a file that is being read.
        let map = unsafe { Mmap::map(file) }?;
        let place = note(path, map.as_ptr() as usize, map.len());
        Ok(Self {
            map,
            place: Some(place),
        })
    }
}

impl From<Mmap> for Mapped {
    /// Memory that no file lies under.
    fn from(map: Mmap) -> Self {
        Self { map, place: None }
    }
}

impl Deref for Mapped {
    type Target = Mmap;

    fn deref(&self) -> &Mmap {
        &self.map
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            place.end.store(0, Ordering::Release);
        }
    }
}

/// Enters a map in the list, in the place of an earlier map of the same file if there is one.
fn note(path: &Path, start: usize, len: usize) -> &'static Place {
    let _guard = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut places = places();
    let left = places.find(|place| place.end.load(Ordering::Acquire) == 0 && place.path == path);
    if let Some(place) = left {
        place.start.store(start, Ordering::Release);
        place.end.store(start + len, Ordering::Release);
        return place;
    }
    let place = Box::leak(Box::new(Place {
        start: start.into(),
        end: (start + len).into(),
        path: path.to_owned(),
        name: path.display().to_string().replace(char::is_control, "?"),
        next: first(),
    }));
    PLACES.store(place, Ordering::Release);
    place
}

fn first() -> Option<&'static Place> {
    // SAFETY: null, or leaked by `note`, and what may change in it is atomic.
    unsafe { PLACES.load(Ordering::Acquire).as_ref() }
}

fn places() -> impl Iterator<Item = &'static Place> {
    std::iter::successors(first(), |place| place.next)
}

/// The name of the file that is mapped at an address. A handler of SIGBUS names with it the file that can no longer be
/// read.
///
/// Takes no lock and allocates nothing, so a signal handler may call it.
pub fn mapped_file(address: usize) -> Option<&'static str> {
    place_of(address).map(|place| place.name.as_str())
}

fn place_of(address: usize) -> Option<&'static Place> {
    places().find(|place| {
        let (start, end) = (place.start.load(Ordering::Acquire), place.end.load(Ordering::Acquire));
        (start..end).contains(&address)
    })
}

/// The error of the file that bytes are mapped from, where the system could not read them to write them elsewhere: it
/// then sends no signal but refuses the write.
pub(crate) fn unreadable(bytes: &[u8], error: &io::Error) -> Option<Error> {
    if error.raw_os_error() != Some(Errno::FAULT.raw_os_error()) {
        return None;
    }
    let place = place_of(bytes.as_ptr() as usize)?;
    let reason = "it can no longer be read: its drive is gone, or it became shorter while it was in use";
    let source = io::Error::new(io::ErrorKind::UnexpectedEof, reason);
    Some(Error::io("read", &place.path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_file_for_as_long_as_it_is_mapped() {
        let folder = std::env::temp_dir().join(format!("sam3-mapped-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let map = |name: &str| {
            let path = folder.join(name);
            std::fs::write(&path, [7; 10_000]).unwrap();
            Mapped::open(&path, &File::open(&path).unwrap()).unwrap()
        };
        let at = |map: &Mapped, offset: usize| mapped_file(map.as_ptr() as usize + offset).unwrap_or("none");
        let (source, draft) = (map("source\n"), map("draft"));
        for offset in [0, 5000, 9999] {
            assert!(at(&source, offset).ends_with("source?"));
            assert!(at(&draft, offset).ends_with("draft"));
        }
        let here = 0;
        assert_eq!(mapped_file(&raw const here as usize), None);
        let address = draft.as_ptr() as usize;
        drop(draft);
        assert_eq!(mapped_file(address), None);
        let draft = map("draft");
        assert!(at(&draft, 0).ends_with("draft"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// The system then sends no signal; the write fails, with an error that names neither file.
    #[test]
    fn a_write_from_a_map_that_became_shorter_names_the_mapped_file() {
        let folder = std::env::temp_dir().join(format!("sam3-mapped-short-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let source = folder.join("source");
        std::fs::write(&source, vec![7; 1 << 20]).unwrap();
        let file = File::options().read(true).write(true).open(&source).unwrap();
        let map = Mapped::open(&source, &file).unwrap();
        let output = crate::staged::Staged::create(&folder.join("output"), false).unwrap();
        file.set_len(4096).unwrap();
        let error = output.write_at(&map, 0).unwrap_err();
        let is_named = matches!(&error, Error::Io { action: "read", path, .. } if *path == source);
        assert!(is_named && error.to_string().contains("became shorter"), "{error}");
        let (here, fault) = ([0; 8], io::Error::from_raw_os_error(Errno::FAULT.raw_os_error()));
        assert!(unreadable(&here, &fault).is_none());
        assert!(unreadable(&map, &io::ErrorKind::StorageFull.into()).is_none());
        drop(output);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_mapped_again_and_again_takes_one_place() {
        let path = std::env::temp_dir().join(format!("sam3-mapped-again-{}", std::process::id()));
        std::fs::write(&path, [7; 100]).unwrap();
        for _ in 0..20 {
            drop(Mapped::open(&path, &File::open(&path).unwrap()).unwrap());
        }
        assert_eq!(places().filter(|place| place.path == path).count(), 1);
        std::fs::remove_file(path).unwrap();
    }
}
