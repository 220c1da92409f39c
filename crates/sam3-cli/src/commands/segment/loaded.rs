//! What is said of the model that was loaded.

use sam3_model::report::Loaded;

use crate::{
    args,
    output::{Output, size},
};

/// Says what was loaded, and what the user should know of it.
pub fn announce(loaded: &Loaded, output: &Output) {
    output.note(what_was_loaded(loaded));
    for warning in loaded.warnings() {
        output.warn(warning);
    }
    if let Some(hint) = args::other_weights(loaded.other_weights()) {
        output.warn(&hint);
    }
}

/// Precision, device, and the size where it is not the model's own.
fn how(loaded: &Loaded) -> String {
    let model = &loaded.segmenter;
    let (compute, device) = (model.compute().name(), model.device());
    match model.image_size() {
        own if own == model.config().vit.image_size => format!("in {compute} on {device}"),
        size => format!("in {compute} at {size} x {size} on {device}"),
    }
}

fn what_was_loaded(loaded: &Loaded) -> String {
    let how = how(loaded);
    let file = loaded.path().display();
    let total = &loaded.tallies().total;
    let (tensors, bytes) = (total.tensors, size(total.bytes));
    match loaded.metadata() {
        Some(metadata) => format!(
            "loaded {file}: {} package of {} ({}), {tensors} tensors, {bytes}; already optimised, nothing quantised here; computing {how}",
            metadata.quantization.scheme.name(),
            metadata.source.file,
            metadata.source.published,
        ),
        None => format!(
            "loaded {file}: a checkpoint, not a package ({}), {tensors} tensors, {bytes}; it has no digests to verify; computing {how}",
            loaded.precision()
        ),
    }
}
