//! What a package's files are called, and by what readers know its metadata.

use std::path::{Path, PathBuf};

/// Value of `format` in every package.
pub const FORMAT: &str = "sam3-package";
/// Name of the record inside a `.pth`, and of the `__metadata__` entry inside a `.safetensors` (without `.json`).
pub const RECORD: &str = "sam3_metadata.json";
/// Longer metadata is not ours: a full package's has 0.4 MB.
pub(crate) const MAX_METADATA_BYTES: u64 = 4 << 20;

/// `model.pth` → `model_metadata.json`.
pub fn metadata_path(package: &Path) -> PathBuf {
    package.with_file_name(format!("{}_metadata.json", stem(package)))
}

pub(crate) fn stem(package: &Path) -> String {
    package.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// True for the name of a package's metadata, in any case: FAT changes it on the way.
pub(crate) fn is_metadata_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.to_ascii_lowercase().ends_with("_metadata.json")
}

/// True for a name that [`write()`](crate::package::write()) knows how to write.
pub fn is_package_name(path: &Path) -> bool {
    format_of(path).is_some()
}

/// How a package is stored.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Format {
    Pth,
    Safetensors,
}

/// What a package's name may end in.
const PACKAGE_ENDS: [&str; 3] = ["pth", "pt", "safetensors"];

/// By the end of its name; `None` for the name of no package.
pub(crate) fn format_of(path: &Path) -> Option<Format> {
    let end = path.extension()?.to_str()?.to_ascii_lowercase();
    PACKAGE_ENDS.contains(&&*end).then_some(match &*end {
        "safetensors" => Format::Safetensors,
        _ => Format::Pth,
    })
}

/// `X.pth` and `X.safetensors` share the name of their metadata: the other package whose metadata would be replaced.
pub(crate) fn sharing_metadata(metadata: &Path, package: &Path) -> Option<PathBuf> {
    let others = PACKAGE_ENDS.map(|end| package.with_extension(end));
    let is_another = |other: &PathBuf| other.exists() && !other.as_os_str().eq_ignore_ascii_case(package);
    others.into_iter().find(is_another).filter(|_| metadata.exists())
}
