//! `/v1/streams`: what the server itself looks at, and how it is shown.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, Utf8Bytes, WebSocket, rejection::WebSocketUpgradeRejection},
    },
    http::{StatusCode, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{Stream as Futures, StreamExt, stream};
use serde::Serialize;
use tokio::{task::spawn_blocking, time::interval};

use super::{
    App, answer,
    incoming::{Incoming, Named},
    json,
};
use crate::{
    failure::Failure,
    request::StreamPromptsBody,
    streams::{Seen, Stream, StreamRecord, Watcher},
};

/// Between two signs that say nothing but that the connection is there.
const ALIVE: Duration = Duration::from_secs(10);
/// Clients say nothing on a socket but that they go.
const LONGEST_MESSAGE: usize = 1 << 10;

/// The answer to which streams there are.
#[derive(Serialize)]
struct All<'a> {
    streams: Vec<StreamRecord<'a>>,
}

pub async fn all(State(app): State<App>) -> Result<Response, Failure> {
    let streams = app.model.streams().iter().map(|stream| stream.record()).collect();
    Ok(json(StatusCode::OK, answer::bytes(&All { streams })?))
}

pub async fn one(State(app): State<App>, Named(name): Named<String>) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, answer::bytes(&app.stream(&name)?.record())?))
}

pub async fn prompt(
    State(app): State<App>,
    Named(name): Named<String>,
    incoming: Incoming,
) -> Result<Response, Failure> {
    let limits = app.model.settings().limits;
    let stream = app.stream(&name)?;
    let body: StreamPromptsBody = incoming.json()?;
    drop(incoming);
    let shown = body.check(&limits)?;
    let model = app.model.clone();
    let answer = app.model.ask(move |opened, gone| {
        model.check_videos()?;
        if let Some(prompts) = body.prompts {
            stream.replace_prompts(&opened.loaded.segmenter, prompts, gone)?;
            return answer::bytes(&stream.record());
        }
        let answer = stream.show(&shown, gone, |answer| answer::bytes(answer));
        model.shrink();
        answer
    });
    Ok(json(StatusCode::OK, answer.await?))
}

pub async fn remove_object(
    State(app): State<App>,
    Named((name, object)): Named<(String, String)>,
) -> Result<Response, Failure> {
    let stream = app.stream(&name)?;
    let unknown = || Failure::not_found("the stream has no such object, or no longer");
    let object: u32 = object.parse().map_err(|_| unknown())?;
    match app.model.ask(move |_, _| stream.remove(object)).await? {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(unknown()),
    }
}

/// Server-sent events: the record of each frame that is looked at.
pub async fn events(State(app): State<App>, Named(name): Named<String>) -> Result<Response, Failure> {
    let event = |seen: Arc<Seen>| {
        let record = String::from_utf8_lossy(&seen.record).into_owned();
        Ok::<_, Infallible>(Event::default().data(record))
    };
    let events = frames(app.watch(&name)?).map(event);
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::new().interval(ALIVE))
        .into_response())
}

/// JPEGs one after the other, with what was found drawn on them: any browser's `<img>`, and most players, show them.
pub async fn mjpeg(State(app): State<App>, Named(name): Named<String>) -> Result<Response, Failure> {
    let pictures = frames(app.watch(&name)?).filter_map(|seen| made(move || seen.drawn()));
    let part = |jpeg: Bytes| {
        let head = format!(
            "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
            jpeg.len()
        );
        stream::iter([Bytes::from(head), jpeg, Bytes::from_static(b"\r\n")].map(Ok::<_, Infallible>))
    };
    let kind = "multipart/x-mixed-replace; boundary=frame";
    Ok((
        [(header::CONTENT_TYPE, kind)],
        Body::from_stream(pictures.map(part).flatten()),
    )
        .into_response())
}

/// A socket of each frame's record, and behind it the frame as a JPEG.
pub async fn socket(
    State(app): State<App>,
    Named(name): Named<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let watcher = app.watch(&name)?;
    let upgrade = upgrade.map_err(|error| {
        Failure::new(
            StatusCode::UPGRADE_REQUIRED,
            "upgrade_required",
            format!("this address is a WebSocket: {}", error.body_text()),
        )
    })?;
    let upgrade = upgrade
        .max_message_size(LONGEST_MESSAGE)
        .max_frame_size(LONGEST_MESSAGE);
    Ok(upgrade.on_upgrade(move |socket| send(socket, watcher)))
}

async fn send(mut socket: WebSocket, watcher: Watcher) {
    let mut frames = std::pin::pin!(frames(watcher));
    let mut alive = interval(ALIVE);
    loop {
        let seen = tokio::select! {
            seen = frames.next() => seen,
            // Who is gone without a word is noticed, though no frame comes.
            _ = alive.tick() => match socket.send(Message::Ping(Bytes::new())).await {
                Ok(()) => continue,
                Err(_) => return,
            },
            // What it says is not listened to; its end is.
            said = socket.recv() => match said {
                Some(Ok(_)) => continue,
                _ => return,
            },
        };
        let Some(seen) = seen else {
            // The stream has ended; who is gone is not told.
            let _ = socket.send(Message::Close(None)).await;
            return;
        };
        let Ok(record) = Utf8Bytes::try_from(seen.record.clone()) else {
            return;
        };
        let Some(jpeg) = made(move || seen.plain()).await else {
            continue;
        };
        let sent = match socket.send(Message::Text(record)).await {
            Ok(()) => socket.send(Message::Binary(jpeg)).await,
            failed => failed,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Where it may take a while.
async fn made(make: impl FnOnce() -> Option<Bytes> + Send + 'static) -> Option<Bytes> {
    spawn_blocking(make).await.ok().flatten()
}

/// Each frame as it is looked at, beginning with the latest; who is slow misses some.
fn frames(watcher: Watcher) -> impl Futures<Item = Arc<Seen>> {
    stream::unfold(watcher, async |mut watcher| {
        let seen = watcher.next().await?;
        Some((seen, watcher))
    })
}

impl App {
    fn stream(&self, name: &str) -> Result<Arc<Stream>, Failure> {
        let found = self.model.streams().iter().find(|stream| stream.name() == name);
        found
            .cloned()
            .ok_or_else(|| Failure::not_found("there is no such stream; /v1/streams lists those that there are"))
    }

    fn watch(&self, name: &str) -> Result<Watcher, Failure> {
        let most = self.model.settings().limits.watchers;
        self.stream(name)?.watch(most)
    }
}
