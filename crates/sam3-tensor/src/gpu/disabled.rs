//! A build without CUDA: the same names, of which nothing can be had.

use std::ops::Range;

use super::{GpuError, Usage};
use crate::Result;

/// A GPU; there is none.
#[derive(Clone, Debug)]
pub enum Gpu {}

/// Memory of a GPU; there is none.
pub enum Memory {}

pub fn open(_: usize) -> Result<Gpu, GpuError> {
    Err(GpuError::NotBuilt)
}

impl Gpu {
    pub(crate) fn is(&self, _: &Self) -> bool {
        match *self {}
    }

    /// Its number.
    pub fn index(&self) -> usize {
        match *self {}
    }

    /// The driver's name for it.
    pub fn name(&self) -> Option<String> {
        match *self {}
    }

    /// How much of its memory is used.
    pub fn usage(&self) -> Option<Usage> {
        match *self {}
    }

    /// Waits until everything that was asked of it is done.
    ///
    /// # Errors
    /// What failed there since.
    pub fn synchronize(&self) -> Result<()> {
        match *self {}
    }

    pub(crate) fn is_integrated(&self) -> bool {
        match *self {}
    }

    pub(crate) fn alloc(&self, _: usize) -> Result<Memory> {
        match *self {}
    }

    pub(crate) fn zeros(&self, _: usize) -> Result<Memory> {
        match *self {}
    }

    pub(crate) fn upload(&self, _: &[u8]) -> Result<Memory> {
        match *self {}
    }
}

impl Memory {
    pub(crate) fn download(&self, _: Range<usize>, _: &mut [u8]) -> Result<()> {
        match *self {}
    }

    pub(crate) fn address(&self) -> u64 {
        match *self {}
    }
}
