//! A bad picture among many: it is reported, and the others go on.

use std::{io::ErrorKind, path::Path};

use sam3_package::Error;

use crate::{failure::Failure, output::Output};

/// What failed so far.
pub struct Failures<'a> {
    output: &'a Output,
    /// More than one picture; the failure of a single one ends the run.
    several: bool,
    first: Option<anyhow::Error>,
}

impl<'a> Failures<'a> {
    /// None yet, of `count` pictures.
    pub fn of(count: usize, output: &'a Output) -> Self {
        Self {
            output,
            several: count > 1,
            first: None,
        }
    }

    /// Reports one picture's failure.
    ///
    /// # Errors
    /// The failure of the only picture, and the end of a run that was interrupted.
    pub fn take<T>(&mut self, result: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.several && !is_stopped(&error) => {
                self.output.complain(&error);
                self.first.get_or_insert(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// As [`take`](Self::take) for the writing of results.
    ///
    /// # Errors
    /// Also a full disk, which the next picture would meet again.
    pub fn take_written<T>(&mut self, result: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
        match result {
            Err(error) if is_full(&error) => Err(error),
            other => self.take(other),
        }
    }

    /// Ends the run.
    ///
    /// # Errors
    /// The first failure.
    pub fn finish(self) -> anyhow::Result<()> {
        match self.first {
            Some(error) => Err(error.context("some images were not segmented, the first because")),
            None => Ok(()),
        }
    }
}

/// The failure of a picture whose results cannot have their names.
pub fn without_place(picture: &Path, error: Error) -> anyhow::Error {
    let picture = picture.display();
    let error = anyhow::Error::new(error);
    if is_about_a_name(&error) {
        return Failure::input(
            format!("{picture}: not segmented: {error}"),
            "rename the picture, or choose another folder with --output",
        );
    }
    error.context(format!("{picture}: not segmented"))
}

fn is_stopped(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(sam3_model::Error::Stopped { .. }))
}

fn is_full(error: &anyhow::Error) -> bool {
    let kinds = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    matches!(error.downcast_ref(), Some(Error::Output { source, .. }) if kinds.contains(&source.kind()))
}

/// Whether only this name cannot be written: it is too long, or has a character that the drive does not take.
fn is_about_a_name(error: &anyhow::Error) -> bool {
    let kinds = [
        ErrorKind::InvalidFilename,
        ErrorKind::InvalidInput,
        ErrorKind::IsADirectory,
        ErrorKind::AlreadyExists,
    ];
    matches!(error.downcast_ref(), Some(Error::Output { source, .. }) if kinds.contains(&source.kind()))
}
