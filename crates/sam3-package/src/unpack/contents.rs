//! What an archive holds, without reading the package in it.

use std::{io::Read, path::Path};

use crate::{
    Error, Result,
    archive::{
        elf::{HEADER, Machine},
        entries::{MAX_ENTRIES, check_claim, most, pass_bytes, safe_name, stopped, unreadable},
        extras::{Extra, ExtraFile},
        layers::tar_in,
        names::{Role, role},
        tar::{self, Kind},
        volumes::Volumes,
    },
    naming::MAX_METADATA_BYTES,
    package::Metadata,
};

/// What an archive says of itself.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Of the package.
    pub metadata: Metadata,
    /// The other files before the package. In archives that this crate writes, these are all.
    pub extras: Vec<ExtraFile>,
}

/// Reads what stands before the package in an archive, and checks no digest.
///
/// # Errors
/// [`Error::Invalid`] where no entry is metadata that can be read.
pub fn contents(path: &Path) -> Result<Contents> {
    let volumes = Volumes::find(path)?;
    let size = volumes.size()?;
    let mut reader = tar_in(volumes.open(&())?).map_err(|error| unreadable(path, error))?;
    let (mut metadata, mut extras) = (None, Vec::new());
    for _ in 0..MAX_ENTRIES {
        let Some(entry) = tar::next_entry(&mut reader).map_err(|stop| stopped(path, stop))? else {
            break;
        };
        let name = safe_name(path, &entry.name)?;
        let role = role(&name);
        if role == Role::Package && metadata.is_some() {
            break;
        }
        let (limit, keep) = match role {
            Role::Metadata => (MAX_METADATA_BYTES, entry.size),
            Role::Extra(extra) => (extra.limit(), entry.size.min(HEADER as u64)),
            _ => (most(size), 0),
        };
        check_claim(path, &entry, limit)?;
        let mut head = vec![0; keep as usize];
        reader.read_exact(&mut head).map_err(|error| unreadable(path, error))?;
        pass_bytes(&mut reader, path, entry.size.next_multiple_of(tar::BLOCK as u64) - keep)?;
        match role {
            Role::Metadata if metadata.is_none() => {
                metadata = Some(Metadata::from_json(&head).map_err(|reason| Error::invalid(path, reason))?);
            }
            Role::Extra(extra) if entry.kind == Kind::File => extras.push(describe(&name, entry.size, extra, &head)),
            _ => {}
        }
    }
    match metadata {
        Some(metadata) => Ok(Contents { metadata, extras }),
        None => {
            let reason = "no X_metadata.json in it, which archives of sam3 package begin with: unpack it and inspect \
                          what it holds";
            Err(Error::invalid(path, reason))
        }
    }
}

/// What is told of a file by its first bytes.
pub(super) fn describe(name: &Path, bytes: u64, extra: Extra, head: &[u8]) -> ExtraFile {
    let machine = Machine::of(head).ok().filter(|_| extra == Extra::Program);
    ExtraFile {
        path: name.to_owned(),
        bytes,
        machine,
    }
}
