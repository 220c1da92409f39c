//! Packages written and checked.

use std::path::PathBuf;

use pyo3::{exceptions::PyValueError, prelude::*};
use sam3_model::Config;
use sam3_package::{
    Precision, StateDict,
    package::{self as packages, Options},
};

use crate::errors;

/// Packages a checkpoint; returns the paths of the files that were written.
#[pyfunction]
#[pyo3(signature = (checkpoint, output, *, quantize="fp16", tarball=true, force=false))]
pub fn package(
    py: Python<'_>,
    checkpoint: PathBuf,
    output: PathBuf,
    quantize: &str,
    tarball: bool,
    force: bool,
) -> PyResult<Vec<PathBuf>> {
    let all = [Precision::Fp16, Precision::Bf16, Precision::Int8, Precision::None];
    let precision = all
        .into_iter()
        .find(|precision| precision.name() == quantize)
        .ok_or_else(|| {
            PyValueError::new_err(format!(
                "quantize: expected fp16, bf16, int8 or none, found {quantize:?}"
            ))
        })?;
    let write = || {
        let source = StateDict::open(&checkpoint)?;
        let mut options = Options::new(output, precision);
        options.force = force;
        options.config = Some(Config::of(&source)?.to_json());
        if !tarball {
            options.archive = None;
        }
        Ok(packages::write(&source, &options, &())?)
    };
    let report = py.detach(write).map_err(errors::of_model)?;
    Ok(report.files.into_iter().map(|(path, _)| path).collect())
}

/// Checks every tensor of a package, or of its archive, against the digest that was written with it; returns how many
/// there are.
#[pyfunction]
pub fn verify(py: Python<'_>, path: PathBuf) -> PyResult<u64> {
    let verified = py
        .detach(|| sam3_package::verify(&path, &()))
        .map_err(errors::of_package)?;
    Ok(verified.tensors)
}
