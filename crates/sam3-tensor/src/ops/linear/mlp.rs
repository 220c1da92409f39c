//! The feed-forward half of a transformer's block.

use super::{Activation, Linear};
use crate::{Result, Tensor};

/// Two linear layers with an activation between them. What is between, the widest tensor of a transformer, is never
/// whole in main memory.
pub struct Mlp {
    fc1: Linear,
    activation: Activation,
    fc2: Linear,
}

impl Mlp {
    /// `fc2(activation(fc1(x)))`.
    pub fn new(fc1: Linear, activation: Activation, fc2: Linear) -> Self {
        Self { fc1, activation, fc2 }
    }

    /// `residual + mlp(x)`; both are `[.., width]`.
    ///
    /// # Errors
    /// When shapes do not fit, there is no room, or the device fails.
    pub fn forward_add(&self, residual: &Tensor, x: &Tensor) -> Result<Tensor> {
        self.fc1.forward_through(x, self.activation, &self.fc2, Some(residual))
    }
}
