//! Pictures as Python has them: a path, a file's bytes, an array, Pillow's.

use std::path::PathBuf;

use numpy::{PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBytes, PyString},
};
use sam3_model::image::Image;

use crate::errors;

/// Reads a picture.
///
/// # Errors
/// When it is none of these, cannot be read, or is an array of another type or shape than uint8 `[height, width, 3]`.
pub fn image(input: &Bound<'_, PyAny>) -> PyResult<Image> {
    if let Ok(array) = input.cast::<PyArrayDyn<u8>>() {
        return of_array(array);
    }
    if let Ok(bytes) = input.cast::<PyBytes>() {
        let bytes = bytes.as_bytes();
        return input.py().detach(|| Image::decode(bytes)).map_err(errors::of_image);
    }
    if input.is_instance_of::<PyString>() || input.hasattr("__fspath__")? {
        let path: PathBuf = input.extract()?;
        return input.py().detach(|| Image::open(path)).map_err(errors::of_image);
    }
    // Pillow's, whose other modes are turned into RGB.
    if input.hasattr("convert")? && input.hasattr("getbands")? {
        let rgb = input.call_method1("convert", ("RGB",))?;
        let array = input.py().import("numpy")?.call_method1("asarray", (rgb,))?;
        return of_array(array.cast::<PyArrayDyn<u8>>()?);
    }
    let found = match input.getattr("dtype") {
        Ok(dtype) => format!("an array of {dtype} {}", input.getattr("shape")?),
        Err(_) => input.get_type().fully_qualified_name()?.to_string(),
    };
    Err(PyTypeError::new_err(format!(
        "image: expected a path, bytes of a picture's file, a uint8 array [height, width, 3] or a Pillow image, \
         found {found}"
    )))
}

fn of_array(array: &Bound<'_, PyArrayDyn<u8>>) -> PyResult<Image> {
    let [height, width, 3] = *array.shape() else {
        return Err(PyTypeError::new_err(format!(
            "image: expected a uint8 array [height, width, 3], RGB, found one of shape {:?}",
            array.shape()
        )));
    };
    let (Ok(width), Ok(height)) = (u32::try_from(width), u32::try_from(height)) else {
        return Err(PyTypeError::new_err("image: an array that large is no picture"));
    };
    let rgb = match array.is_c_contiguous() {
        true => array.to_vec()?,
        // A view, such as a crop or BGR turned round, is walked through in the order of its indices.
        false => array.to_owned_array().into_iter().collect(),
    };
    Image::new(width, height, rgb).map_err(errors::of_image)
}
