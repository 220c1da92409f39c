//! How long work tells its caller where it stands; the library itself never prints.

/// Receives the progress of one operation. All methods may be called from several threads at once.
pub trait Progress: Sync {
    /// A stage begins: what it does, as a verb ("packaging"), and how many bytes it will go through.
    fn stage(&self, what: &str, bytes: u64) {
        let _ = (what, bytes);
    }

    /// So many more bytes of the current stage are done.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }
}

/// Nobody watches.
impl Progress for () {}
