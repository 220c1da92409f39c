//! The server's log on stderr: a line a request, with the time.

use std::{
    fmt::{self, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use sam3_package::package::utc;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber,
};

use crate::output::Output;

/// Who writes events; spans are nobody's.
struct Log(Output);

/// From here on the server's events are written.
pub fn install(output: Output) {
    // Nobody has set one before: this is the only place.
    let _ = subscriber::set_global_default(Log(output));
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("sam3_")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = Line(utc(since.as_secs()));
        event.record(&mut line);
        match *event.metadata().level() {
            Level::ERROR | Level::WARN => self.0.warn(line.0),
            Level::INFO => self.0.note(line.0),
            _ => self.0.detail(line.0),
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
