//! The thread of a stream: it takes the latest frame, has the model look at it, shows it, and takes the next.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use sam3_model::report::{FrameTiming, LiveTiming};
use sam3_video::{Caught, VideoError};

use super::{Flow, Look, Seen, Stream, begin};
use crate::{
    failure::Failure,
    model::{Asked, Gone, Model, Opened},
};

/// How long a stream waits before it has another frame looked at, where one failed or the queue is full.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks at a stream until its source, or the model, has ended.
pub fn read(stream: &Arc<Stream>, model: &Model) {
    let ended = follow(stream, model);
    if let Err(error) = &ended {
        tracing::warn!("stream {}: {error}", stream.name());
    }
    stream.flows(Flow::Ended, ended.err().as_ref().map(public));
    *stream.followed() = None;
    stream.bytes.store(0, Ordering::Relaxed);
    // Who watches learns that there is no more.
    stream.latest.send_replace(None);
}

fn follow(stream: &Arc<Stream>, model: &Model) -> Result<(), VideoError> {
    let mut source = (stream.source.open)(Box::new(stream.end.clone()))?;
    let mut lost = |error: &VideoError| {
        tracing::warn!("stream {}: {error}: it is opened again until it is back", stream.name());
        stream.flows(Flow::Away, Some(public(error)));
    };
    while let Some(caught) = source.take(&mut lost)? {
        stream.state().dropped += caught.dropped;
        let first = source.first().unwrap_or(caught.at);
        let asked = {
            let (stream, of_job) = (stream.clone(), model.clone());
            model.ask_and_wait(move |opened, gone| look(&stream, &of_job, opened, caught, first, gone))
        };
        match asked {
            Asked::Done(Ok(())) => {}
            Asked::Done(Err(failure)) => {
                stream.flows(Flow::Failing, Some(failure.message().to_owned()));
                thread::sleep(PAUSE);
            }
            Asked::Full => {
                stream.state().dropped += 1;
                thread::sleep(PAUSE);
            }
            Asked::Closed => return Ok(()),
        }
    }
    Ok(())
}

/// What clients are told of an error: nothing of this machine's files and network, which the log has.
fn public(error: &VideoError) -> String {
    match error {
        VideoError::Decoder { program, .. } => format!("{} ended; the server's log tells why", program.command()),
        VideoError::Io(_) | VideoError::NoDecoder | VideoError::NotInstalled(_) | VideoError::NotRead(_) => {
            "it cannot be opened; the server's log tells why".to_owned()
        }
        error => error.to_string(),
    }
}

/// On the model's thread: follows everything to a frame, and shows it.
fn look(
    stream: &Stream,
    model: &Model,
    opened: &Opened,
    caught: Caught,
    first: Instant,
    gone: &Gone,
) -> Result<(), Failure> {
    model.check_videos()?;
    let size = (caught.image.width(), caught.image.height());
    model.check_frame(&opened.loaded.segmenter, size)?;
    let timing = FrameTiming {
        number: caught.number,
        time_ms: Some(caught.at.saturating_duration_since(first).as_secs_f64() * 1e3),
        compute_ms: 0.0,
        live: Some(LiveTiming {
            came: caught.at,
            dropped: caught.dropped,
        }),
    };
    {
        let mut kept = stream.followed();
        // A camera may come back with another size.
        if kept.as_ref().is_none_or(|followed| !followed.takes(size)) {
            let prompts = stream.state().prompts.clone();
            *kept = Some(begin(&opened.loaded.segmenter, prompts, gone)?);
        }
    }
    let followed = stream.work(|followed| followed.live_frame(&caught.image, timing, gone))?;
    let look = Look {
        frame: caught.number,
        width: size.0,
        height: size.1,
        objects: followed.objects.len(),
        compute_ms: followed.compute_ms,
        latency_ms: caught.at.elapsed().as_secs_f64() * 1e3,
    };
    let seen = Seen::new(look, followed.record, caught.image, followed.objects);
    // Before it is seen, so that nobody sees a frame of a stream that is not open.
    stream.flows(Flow::Open, None);
    stream.latest.send_replace(Some(Arc::new(seen)));
    model.shrink();
    Ok(())
}
