//! Activations.

use candle_core::{Result, Tensor};

/// `x Φ(x)` with the exact error function: SAM 3 does not use the tanh approximation.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.gelu_erf()
}

/// `max(x, 0)`.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    x.relu()
}
