//! The Python module `sam3_edge._native`: what `sam3_model` and `sam3_package` do, for Python. `python/sam3_edge` gives
//! it its names; `_native.pyi` describes it.

mod click;
mod errors;
mod input;
mod instances;
mod model;
mod packaging;
mod run;
mod video;

use pyo3::prelude::*;

/// What Python imports.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<model::Model>()?;
    module.add_class::<model::Encoded>()?;
    module.add_class::<instances::Instances>()?;
    module.add_class::<click::Clicked>()?;
    module.add_class::<video::Video>()?;
    module.add_class::<video::Frame>()?;
    module.add_function(wrap_pyfunction!(packaging::package, module)?)?;
    module.add_function(wrap_pyfunction!(packaging::verify, module)?)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    errors::add_to(module)
}
