//! Encoding several pictures at once.

use std::time::Instant;

use sam3_model::{Encoded, Error, Progress, Segmenter, image::Image};

use super::milliseconds;
use crate::signals;

/// A picture that is encoded, and its share of the time in milliseconds.
pub type Ready = (Encoded, f64);

/// Encodes pictures together; one by one where that fails, as for want of memory. Tells of the layers on the way.
///
/// # Errors
/// Where Ctrl-C ends it; what is wrong with one picture stands in its place.
pub fn encode(
    segmenter: &Segmenter,
    images: &[&Image],
    tell: &(dyn Fn(Progress) + Sync),
) -> anyhow::Result<Vec<anyhow::Result<Ready>>> {
    let _stoppable = signals::Stoppable::new();
    let together = |images: &[&Image]| -> sam3_model::Result<Vec<Ready>> {
        let start = Instant::now();
        let mut watch = |progress| {
            tell(progress);
            signals::go_on()
        };
        let encoded = segmenter.encode_batch_watched(images, &mut watch)?;
        segmenter.synchronize()?;
        let each = milliseconds(start) / images.len() as f64;
        Ok(encoded.into_iter().map(|encoded| (encoded, each)).collect())
    };
    match together(images) {
        Ok(ready) => Ok(ready.into_iter().map(Ok).collect()),
        Err(error @ Error::Stopped { .. }) => Err(error.into()),
        Err(error) if images.len() == 1 => Ok(vec![Err(error.into())]),
        Err(_) => {
            let mut ready = Vec::with_capacity(images.len());
            for image in images {
                ready.extend(encode(segmenter, &[image], tell)?);
            }
            Ok(ready)
        }
    }
}
