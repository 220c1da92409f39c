//! What compressed-tensors' readers look for in a config: which modules are int8, and how.

use serde_json::{Value, json};

use super::plan::Planned;
use crate::checkpoint::Dtype;

/// `quantization_config` for the int8 weights among the tensors; `None` where there is none.
///
/// Its targets are modules. The fused input projections of attention (`in_proj_weight`) are stored the same way and no
/// module's `weight`, so no target names them.
pub(super) fn quantization_config(stored: &[Planned]) -> Option<Value> {
    let weights = stored.iter().filter(|tensor| tensor.dtype == Dtype::I8);
    let targets: Vec<&str> = weights
        .filter_map(|tensor| tensor.name.strip_suffix(".weight"))
        .collect();
    (!targets.is_empty()).then(|| {
        json!({
            "quant_method": "compressed-tensors",
            "format": "int-quantized",
            "quantization_status": "compressed",
            "config_groups": {
                "group_0": {
                    "targets": targets,
                    "weights": {
                        "num_bits": 8,
                        "type": "int",
                        "symmetric": true,
                        "strategy": "channel",
                        "dynamic": false,
                    },
                },
            },
            "ignore": [],
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_modules_of_int8_weights() {
        let stored = |name: &str, dtype| Planned {
            name: name.to_owned(),
            dtype,
            shape: vec![256, 256],
        };
        let config = quantization_config(&[
            stored("detector.a.weight", Dtype::I8),
            stored("detector.a.weight_scale", Dtype::F32),
            stored("detector.b.in_proj_weight", Dtype::I8),
            stored("detector.c.weight", Dtype::F16),
        ])
        .unwrap();
        assert_eq!(config["config_groups"]["group_0"]["targets"], json!(["detector.a"]));
        assert!(quantization_config(&[stored("detector.c.weight", Dtype::F16)]).is_none());
    }
}
