//! One Python exception for each cause.

use pyo3::{
    create_exception,
    exceptions::{PyException, PyOSError},
    prelude::*,
};
use sam3_model::{Error, TensorError, image::ImageError};

create_exception!(
    sam3_edge,
    Sam3Error,
    PyException,
    "What SAM 3 could not do. All others are kinds of it."
);
create_exception!(
    sam3_edge,
    CheckpointError,
    Sam3Error,
    "A checkpoint or package that is none, damaged, or lacks what was asked for."
);
create_exception!(
    sam3_edge,
    ImageError_,
    Sam3Error,
    "What is no picture, or a damaged one."
);
create_exception!(
    sam3_edge,
    PromptError,
    Sam3Error,
    "A text, a box, a click, a threshold or tiles that cannot be."
);
create_exception!(
    sam3_edge,
    DeviceError,
    Sam3Error,
    "A GPU that is not there, or a precision or size that it does not have."
);
create_exception!(
    sam3_edge,
    OutOfMemoryError,
    Sam3Error,
    "No memory, of the machine or the GPU."
);
create_exception!(
    sam3_edge,
    VerificationError,
    Sam3Error,
    "A package whose bytes are not those that were written."
);

pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("Sam3Error", py.get_type::<Sam3Error>())?;
    module.add("CheckpointError", py.get_type::<CheckpointError>())?;
    module.add("ImageError", py.get_type::<ImageError_>())?;
    module.add("PromptError", py.get_type::<PromptError>())?;
    module.add("DeviceError", py.get_type::<DeviceError>())?;
    module.add("OutOfMemoryError", py.get_type::<OutOfMemoryError>())?;
    module.add("VerificationError", py.get_type::<VerificationError>())
}

/// Of an error of the model.
pub fn of_model(error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Package(error) => of_package(error),
        Error::Image(error) => of_image(error),
        Error::Prompt(_) | Error::NotBaked(_) | Error::Clicks(_) | Error::Video(_) | Error::Tiling(_) => {
            PromptError::new_err(message)
        }
        Error::Checkpoint { .. }
        | Error::NoClickHead { .. }
        | Error::NoTracker { .. }
        | Error::NoDetector { .. }
        | Error::NotFinite(_) => CheckpointError::new_err(message),
        Error::Gpu(_) | Error::Precision(_) | Error::ImageSize { .. } | Error::Threads(_) => {
            DeviceError::new_err(message)
        }
        Error::Compute(TensorError::OutOfMemory { .. } | TensorError::OutOfGpuMemory) => {
            OutOfMemoryError::new_err(message)
        }
        _ => Sam3Error::new_err(message),
    }
}

/// Of an error of files.
pub fn of_package(error: sam3_package::Error) -> PyErr {
    let message = error.to_string();
    match error {
        sam3_package::Error::Io { source, .. } | sam3_package::Error::Output { source, .. } => {
            match source.raw_os_error() {
                // Python makes FileNotFoundError, PermissionError and their like of the number.
                Some(number) => PyOSError::new_err((number, message)),
                None => PyOSError::new_err(message),
            }
        }
        sam3_package::Error::Mismatch { .. } | sam3_package::Error::NotAPackage { .. } => {
            VerificationError::new_err(message)
        }
        _ => CheckpointError::new_err(message),
    }
}

/// Of an error of pictures.
pub fn of_image(error: ImageError) -> PyErr {
    let message = error.to_string();
    match error {
        ImageError::Io { source, .. } if source.raw_os_error().is_some() => {
            PyOSError::new_err((source.raw_os_error(), message))
        }
        _ => ImageError_::new_err(message),
    }
}
