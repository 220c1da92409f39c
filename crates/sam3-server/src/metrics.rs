//! What was asked and how it went, in Prometheus' text format.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Counters since the start.
#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, String, u16), Tally>>,
    /// Images that went through the encoder.
    pub encoded: AtomicU64,
    /// Requests whose client went away.
    pub abandoned: AtomicU64,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    count: u64,
    seconds: f64,
}

/// A value of now.
pub struct Gauge {
    pub name: &'static str,
    pub help: &'static str,
    pub value: f64,
}

impl Metrics {
    /// A request to a route was answered.
    pub fn answered(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = requests.entry((method, route.to_owned(), status)).or_default();
        tally.count += 1;
        tally.seconds += took.as_secs_f64();
    }

    /// All of it, with these values of now.
    pub fn to_text(&self, gauges: &[Gauge]) -> String {
        let mut text = String::new();
        let head = |text: &mut String, name: &str, kind: &str, help: &str| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let labels = |(method, route, status): &(&str, String, u16)| {
            format!("{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}")
        };
        head(
            &mut text,
            "sam3_request_seconds",
            "summary",
            "Requests by route and status, and the time that they took.",
        );
        for (key, tally) in &requests {
            let labels = labels(key);
            let _ = writeln!(text, "sam3_request_seconds_sum{labels} {}", tally.seconds);
            let _ = writeln!(text, "sam3_request_seconds_count{labels} {}", tally.count);
        }
        for (name, help, value) in [
            (
                "sam3_images_encoded_total",
                "Images that went through the encoder.",
                &self.encoded,
            ),
            (
                "sam3_requests_abandoned_total",
                "Requests whose client went away.",
                &self.abandoned,
            ),
        ] {
            head(&mut text, name, "counter", help);
            let _ = writeln!(text, "{name} {}", value.load(Ordering::Relaxed));
        }
        for Gauge { name, help, value } in gauges {
            head(&mut text, name, "gauge", help);
            let _ = writeln!(text, "{name} {value}");
        }
        text
    }
}
