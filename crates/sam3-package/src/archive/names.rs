//! What the entries of an archive are, by their names: the package, its metadata, the program and licences, what a
//! desktop adds unasked.

use std::path::Path;

use super::extras::Extra;
use crate::{
    Error, Result,
    naming::{is_metadata_name, is_package_name, metadata_path},
};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Package,
    Metadata,
    Extra(Extra),
    /// Of a file or folder, for the desktop that wrote it: passed over, never extracted.
    Companion,
    Other,
}

/// What an entry of this name is.
pub(crate) fn role(name: &Path) -> Role {
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
        Extra::of(name).map_or(Role::Other, Role::Extra)
    }
}

/// Refuses a file that has no place in an archive beside those that stand `before` it. `name` is where `entry` would be
/// extracted.
pub(crate) fn refuse_other(archive: &Path, entry: &str, name: &Path, before: &[&Path]) -> Result<()> {
    // Lower case, as FAT and macOS would take them for one file.
    let lower = |path: &Path| path.to_string_lossy().to_lowercase();
    let folder = |path: &Path| path.parent().map(lower);
    let is_extra = |path: &Path| matches!(role(path), Role::Extra(_));
    let of_package: Vec<&Path> = before.iter().copied().filter(|other| !is_extra(other)).collect();
    let what = if role(name) == Role::Other {
        "is neither a package nor its metadata".to_owned()
    } else if before.iter().any(|other| lower(other) == lower(name)) {
        "is there twice".to_owned()
    } else if let Some(other) = before
        .iter()
        .find(|other| (is_extra(name) || is_extra(other)) && folder(other) != folder(name))
    {
        format!("does not lie beside {other:?}")
    } else {
        match of_package[..] {
            _ if is_extra(name) => return Ok(()),
            [] => return Ok(()),
            [other] if is_metadata_of(other, name) || is_metadata_of(name, other) => return Ok(()),
            [other] => format!("does not belong to {other:?}"),
            _ => "is a third file".to_owned(),
        }
    };
    let reason = format!(
        "entry {entry:?} {what}: an archive holds one package and its metadata, and at most sam3, licences and \
         SHA256SUMS beside them; nothing tells whether more of it is right; not extracted, tar would"
    );
    Err(Error::invalid(archive, reason))
}

/// True where `metadata` is the metadata beside `package`, by their names.
pub(crate) fn is_metadata_of(metadata: &Path, package: &Path) -> bool {
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
            ("._sam3", Role::Companion),
            ("sam3", Role::Extra(Extra::Program)),
            ("models/SHA256SUMS", Role::Extra(Extra::Sums)),
            ("sam3.pth", Role::Package),
            ("x.json", Role::Other),
            ("_.pth.txt", Role::Other),
            ("authorized_keys", Role::Other),
        ] {
            assert_eq!(role(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn what_has_no_place_is_refused_whatever_its_name() {
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
            (&["x.pth", "sam3"], "sam3", "twice"),
            (&["SAM3"], "sam3", "twice"),
            (&["x.pth"], "bin/sam3", "beside"),
            (&["bin/sam3"], "x_metadata.json", "beside"),
            (&["sam3"], "a/SHA256SUMS", "beside"),
            (&["sam3", "x.pth", "x_metadata.json"], "y.pth", "third"),
            (&["sam3", "x.pth"], "y_metadata.json", "does not belong"),
            (&["sam3"], "sam3.exe", "neither"),
        ] {
            let before: Vec<&Path> = before.iter().map(Path::new).collect();
            let error = refuse_other(Path::new("a.tar.gz"), name, Path::new(name), &before).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
        for (before, name) in [
            (&[][..], "x.pth"),
            (&["x_metadata.json"], "x.pth"),
            (&["x.safetensors"], "x_metadata.json"),
            (&["SAM3.PTH"], "SAM3_METADATA.JSON"),
            (&["m/x_metadata.json"], "m/x.pt"),
            (&["x_metadata.json", "sam3", "SHA256SUMS"], "x.pth"),
            (&["m/x.pth", "m/x_metadata.json"], "m/sam3"),
        ] {
            let before: Vec<&Path> = before.iter().map(Path::new).collect();
            refuse_other(Path::new("a.tar.gz"), name, Path::new(name), &before).unwrap();
        }
    }
}
