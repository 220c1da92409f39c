//! Zips of other programs, told by the names in them.

use crate::checkpoint::clip;

const MODEL: &str = "SAM 3 is read from PyTorch files (.pt, .pth) and safetensors: get sam3.pt or model.safetensors";

/// What a zip of these names is, and the next step; `None` for one that torch.save may have written.
pub(super) fn name(names: &[&str]) -> Option<String> {
    let any = |test: &dyn Fn(&str) -> bool| names.iter().any(|name| test(name));
    // Behind the archive's own folder.
    let holds = |file: &str| any(&|name| name.split_once('/').is_some_and(|(_, rest)| rest == file));
    if holds("constants.pkl") {
        return Some("it is a TorchScript program, not a checkpoint: save its state_dict() with torch.save".into());
    }
    if names.is_empty() || holds("data.pkl") {
        return None;
    }
    let what = if any(&|name| name.ends_with("serialized_exported_program.json") || name.ends_with("archive_format")) {
        "a program of torch.export"
    } else if names.iter().all(|name| name.ends_with(".npy")) {
        "an archive of NumPy arrays (.npz)"
    } else if any(&|name| name.ends_with("model.weights.h5")) {
        "a Keras model"
    } else if any(&|name| name == "[Content_Types].xml") {
        return Some("it is an Office document: name a checkpoint (.pt, .pth or .safetensors)".into());
    } else {
        let inner = |name: &&&str| {
            [".pt", ".pth", ".safetensors", ".bin"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        let inner = names.iter().find(inner)?;
        return Some(format!(
            "it is a zip that holds {}: unpack it first and name that file",
            clip(inner)
        ));
    };
    Some(format!("it is {what}: {MODEL}"))
}
