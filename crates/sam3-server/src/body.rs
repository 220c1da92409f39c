//! Bodies of requests: received within limits of size and time, and taken apart by their kind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Multipart, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header},
};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use crate::{failure::Failure, settings::Limits};

/// Bytes of all bodies that are held at the moment.
#[derive(Clone, Default)]
pub struct Held(Arc<AtomicU64>);

/// A body, counted as long as it lives.
pub struct Received {
    pub bytes: Bytes,
    _counted: Counted,
}

/// What one body has of the bytes that are held.
struct Counted {
    held: Held,
    own: u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.own, Ordering::Relaxed);
    }
}

impl Counted {
    fn grow(&mut self, by: u64, limits: &Limits) -> Result<(), Failure> {
        self.own += by;
        let all = self.held.0.fetch_add(by, Ordering::Relaxed) + by;
        if self.own > limits.body {
            return Err(Failure::too_large(format!(
                "a request has at most {} bytes",
                limits.body
            )));
        }
        if all > limits.bodies {
            return Err(Failure::unavailable(
                "busy",
                "too much is being sent at the moment; ask again later",
            ));
        }
        Ok(())
    }
}

impl Held {
    /// Receives a body, however it is sent.
    pub async fn receive(&self, headers: &HeaderMap, mut body: Body, limits: &Limits) -> Result<Received, Failure> {
        let received = self.receive_whole(headers, &mut body, limits).await;
        if received.is_err() {
            discard(headers, body).await;
        }
        received
    }

    async fn receive_whole(&self, headers: &HeaderMap, body: &mut Body, limits: &Limits) -> Result<Received, Failure> {
        let mut counted = Counted {
            held: self.clone(),
            own: 0,
        };
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limits.body) {
            return Err(Failure::too_large(format!(
                "a request has at most {} bytes",
                limits.body
            )));
        }
        let end = Instant::now() + limits.upload;
        let slow = || Failure::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not come in time");
        let mut bytes = Vec::new();
        loop {
            let patience = limits.idle.min(end.saturating_duration_since(Instant::now()));
            let frame = match timeout(patience, body.frame()).await {
                Err(_) => return Err(slow()),
                Ok(None) => break,
                Ok(Some(Err(error))) => return Err(Failure::invalid(format!("the body ended early: {error}"))),
                Ok(Some(Ok(frame))) => frame,
            };
            if let Ok(data) = frame.into_data() {
                counted.grow(data.len() as u64, limits)?;
                let is_room = bytes.try_reserve(data.len()).is_ok();
                if !is_room {
                    return Err(Failure::out_of_memory("of a body"));
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(Received {
            bytes: bytes.into(),
            _counted: counted,
        })
    }
}

/// How long what comes behind a refusal is read.
const LINGER: Duration = Duration::from_secs(2);

/// Reads the body of a request that is refused, and throws it away: a client that still sends when the connection ends
/// would not see why. One that asked before it sends is told no.
pub async fn discard(headers: &HeaderMap, mut body: Body) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(LINGER, all).await;
}

/// What kind of body a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Json,
    Multipart,
    /// Anything else: a picture is known by its content, whatever it is called.
    Picture,
}

impl Kind {
    pub fn of(headers: &HeaderMap) -> Self {
        let kind = headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match &*kind {
            "application/json" => Self::Json,
            "multipart/form-data" => Self::Multipart,
            _ => Self::Picture,
        }
    }
}

/// A form's fields in their order: its texts, and the file that is called `image`.
#[derive(Debug, Default, PartialEq)]
pub struct Form {
    pub texts: Vec<(String, String)>,
    pub image: Option<Bytes>,
}

/// Most fields of a form.
const MOST_FIELDS: usize = 1000;

/// Takes a form apart.
pub async fn form(kind: &HeaderValue, bytes: Bytes) -> Result<Form, Failure> {
    let broken = |error: String| Failure::invalid(format!("the form cannot be read: {error}"));
    let request = Request::builder()
        .header(header::CONTENT_TYPE, kind)
        .body(Body::from(bytes));
    let request = request.map_err(|error| broken(error.to_string()))?;
    let multipart = Multipart::from_request(request, &()).await;
    let mut multipart = multipart.map_err(|error| broken(error.body_text()))?;
    let mut form = Form::default();
    for count in 0.. {
        let Some(field) = multipart
            .next_field()
            .await
            .map_err(|error| broken(error.body_text()))?
        else {
            break;
        };
        if count == MOST_FIELDS {
            return Err(Failure::too_large(format!("a form has at most {MOST_FIELDS} fields")));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let bytes = field.bytes().await.map_err(|error| broken(error.body_text()))?;
        if name != "image" {
            let text = String::from_utf8(bytes.into()).map_err(|_| broken(format!("{name} is no UTF-8 text")))?;
            form.texts.push((name, text));
        } else if form.image.replace(bytes).is_some() {
            return Err(Failure::invalid("a form has one image"));
        }
    }
    Ok(form)
}
