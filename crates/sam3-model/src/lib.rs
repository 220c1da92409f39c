//! The SAM 3 image model.
