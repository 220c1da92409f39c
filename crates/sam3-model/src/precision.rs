//! What precision suits a checkpoint and a device, and which a device has.

use sam3_package::{Dtype, StateDict};
use sam3_tensor::{Device, ops::Compute};

use crate::error::{Error, Result};

/// What `auto` means for this checkpoint on this device: on a GPU, the half precision of its matrices, f16 for int8
/// codes and f32 for f32; on the CPU, [`Compute::auto`].
pub fn auto_compute(dict: &StateDict, device: &Device) -> Compute {
    if device.is_main_memory() {
        return Compute::auto();
    }
    let count = |wanted: Dtype| -> u64 {
        let tensors = dict.tensors().filter(|tensor| tensor.dtype == wanted);
        tensors
            .map(|tensor| tensor.shape.iter().product::<usize>() as u64)
            .sum()
    };
    let choices = [
        (count(Dtype::F32), Compute::F32),
        (count(Dtype::BF16), Compute::Bf16),
        (count(Dtype::F16) + count(Dtype::I8), Compute::F16),
    ];
    let most = choices.into_iter().max_by_key(|(count, _)| *count);
    most.map_or(Compute::F32, |(_, compute)| compute)
}

/// Fails where `device` has no products of this precision.
pub fn check(compute: Compute, device: &Device) -> Result<()> {
    let reason = match (compute, device.is_main_memory()) {
        (Compute::F16, true) => "the CPU has none; it multiplies f32 and bf16",
        (Compute::Int8, false) => {
            "a GPU has none here; it multiplies the weights of an int8 package as f16, and quantises no activations"
        }
        _ => return Ok(()),
    };
    Err(Error::Precision(format!("{} products: {reason}", compute.name())))
}
