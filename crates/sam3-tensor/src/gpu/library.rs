//! NVIDIA's shared libraries: opened when a GPU is first asked for, since a machine without one has none of them.

use libloading::Library;

use super::GpuError;

/// A library of NVIDIA's, under the names that its versions have, newest first, and who installs it.
pub struct Wanted {
    /// Without folders: the system looks for them where `ldconfig` and `LD_LIBRARY_PATH` say.
    pub names: &'static [&'static str],
    /// Where installers leave it without telling the system.
    pub folders: &'static [&'static str],
    /// What to install.
    pub package: &'static str,
}

impl Wanted {
    /// Opens the first that is there.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(&self) -> Result<Library, GpuError> {
        let plain = self.names.iter().map(|name| (*name).to_owned());
        let in_folder = |folder| self.names.iter().map(move |name| format!("{folder}/{name}"));
        let mut places = plain.chain(self.folders.iter().flat_map(in_folder));
        // SAFETY: whoever may start this program chose what these libraries are, as with every other that it is linked
        // with.
        let library = places.find_map(|place| unsafe { Library::new(place) }.ok());
        library.ok_or(GpuError::NoLibrary {
            library: self.names[0],
            package: self.package,
        })
    }
}

/// A table of C functions that all return the same, and are all found when their library is opened.
macro_rules! functions {
    ($(#[$meta:meta])* pub struct $Table:ident -> $Status:ty { $(fn $function:ident($($argument:ty),* $(,)?);)* }) => {
        $(#[$meta])*
        #[allow(non_snake_case, reason = "the names are NVIDIA's")]
        pub struct $Table {
            $(pub $function: unsafe extern "C" fn($($argument),*) -> $Status,)*
        }

        impl $Table {
            /// Finds them; the library stays open for good.
            fn of(library: libloading::Library) -> Result<Self, String> {
                let library = std::mem::ManuallyDrop::new(library);
                Ok(Self {
                    $($function: {
                        // SAFETY: NVIDIA's headers declare the function of that name so, in every version since 12.
                        let found = unsafe { library.get(concat!(stringify!($function), "\0").as_bytes()) };
                        *found.map_err(|_| format!("it has no {}", stringify!($function)))?
                    },)*
                })
            }
        }
    };
}
pub(super) use functions;
