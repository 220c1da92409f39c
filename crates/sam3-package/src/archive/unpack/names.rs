//! What the entries of an archive are, by their names: the package, its metadata, what a desktop adds unasked.

use std::path::Path;

use crate::{
    Error, Result,
    package::{is_metadata_name, is_package_name, metadata_path},
};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Package,
    Metadata,
    /// Of a file or folder, for the desktop that wrote it: passed over, never extracted.
    Companion,
    Other,
}

/// What an entry of this name is.
pub(super) fn role(name: &Path) -> Role {
    let file = name.file_name().unwrap_or_default();
    let is_companion = [".DS_Store", "Thumbs.db", "desktop.ini"]
        .iter()
        .any(|known| file.eq_ignore_ascii_case(known));
    // `._X` is AppleDouble, where macOS keeps attributes of X on file systems without them.
    if is_companion || file.as_encoded_bytes().starts_with(b"._") || name.iter().any(|part| part == "__MACOSX") {
        Role::Companion
    } else if is_metadata_name(name) {
        Role::Metadata
    } else if is_package_name(name) {
        Role::Package
    } else {
        Role::Other
    }
}

/// Refuses a file that is neither the package nor its metadata; `before` are those that stand before it. `name` is where
/// `entry` would be extracted.
pub(super) fn refuse_third(archive: &Path, entry: &str, name: &Path, before: &[&Path]) -> Result<()> {
    // Lower case, as FAT and macOS would take them for one file.
    let lower = |path: &Path| path.to_string_lossy().to_lowercase();
    let is_it = |other: &&Path| lower(other) == lower(name);
    let what = match before {
        _ if role(name) == Role::Other => "is neither a package nor its metadata".to_owned(),
        [] => return Ok(()),
        _ if before.iter().any(is_it) => "is there twice".to_owned(),
        [other] if is_metadata_of(other, name) || is_metadata_of(name, other) => return Ok(()),
        [other] => format!("does not belong to {other:?}"),
        _ => "is a third file".to_owned(),
    };
    let reason = format!(
        "entry {entry:?} {what}: an archive holds one package and its metadata, and nothing tells whether more of it is \
         right; not extracted, tar would"
    );
    Err(Error::invalid(archive, reason))
}

/// True where `metadata` is the metadata beside `package`, by their names.
pub(super) fn is_metadata_of(metadata: &Path, package: &Path) -> bool {
    // FAT changes the case of names on their way.
    is_package_name(package) && metadata_path(package).as_os_str().eq_ignore_ascii_case(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_told_apart_by_their_names() {
        for (name, expected) in [
            ("x.pth", Role::Package),
            ("models/X.SAFETENSORS", Role::Package),
            ("x_metadata.json", Role::Metadata),
            ("SAM3_METADATA.JSON", Role::Metadata),
            ("._x.pth", Role::Companion),
            ("models/._x_metadata.json", Role::Companion),
            (".DS_Store", Role::Companion),
            ("__MACOSX", Role::Companion),
            ("__MACOSX/x.pth", Role::Companion),
            ("Thumbs.db", Role::Companion),
            ("._", Role::Companion),
            ("x.json", Role::Other),
            ("_.pth.txt", Role::Other),
            ("authorized_keys", Role::Other),
        ] {
            assert_eq!(role(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_third_file_is_refused_whatever_its_name() {
        for (before, name, word) in [
            (&["x_metadata.json", "x.pth"][..], "y_metadata.json", "third"),
            (&["x.pth", "x_metadata.json"], "y.pth", "third"),
            (&["x.pth"], "y_metadata.json", "does not belong"),
            (&["y_metadata.json"], "x.pth", "does not belong"),
            (&["x_metadata.json"], "y_metadata.json", "does not belong"),
            (&["x.pth"], "x.pt", "does not belong"),
            (&["models/x.pth"], "x_metadata.json", "does not belong"),
            (&[], "notes.txt", "neither"),
            (&["x.pth"], "x.pth", "twice"),
            (&["x.pth", "x_metadata.json"], "X.PTH", "twice"),
            (&["hält.pth"], "HÄLT.PTH", "twice"),
            (&["x_metadata.json"], "X_metadata.json", "twice"),
            (&["mër.pth"], "MËR.pth", "twice"),
        ] {
            let before: Vec<&Path> = before.iter().map(Path::new).collect();
            let error = refuse_third(Path::new("a.tar.gz"), name, Path::new(name), &before).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
        for (before, name) in [
            (&[][..], "x.pth"),
            (&["x_metadata.json"], "x.pth"),
            (&["x.safetensors"], "x_metadata.json"),
            (&["SAM3.PTH"], "SAM3_METADATA.JSON"),
            (&["m/x_metadata.json"], "m/x.pt"),
        ] {
            let before: Vec<&Path> = before.iter().map(Path::new).collect();
            refuse_third(Path::new("a.tar.gz"), name, Path::new(name), &before).unwrap();
        }
    }
}
