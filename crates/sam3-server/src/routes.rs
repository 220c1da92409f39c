//! The routes: what each takes and answers is in `openapi.json`, which a test holds to them.

mod about;
pub(crate) mod answer;
mod clicks;
mod images;
mod incoming;
mod log;
mod page;
mod segment;
mod session;
mod streams;
mod videos;

use axum::{
    Router,
    body::Body,
    extract::DefaultBodyLimit,
    http::{HeaderMap, StatusCode, Uri},
    middleware,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};

use crate::{
    access,
    body::{Held, discard},
    failure::Failure,
    model::Model,
};

/// The description of all routes for programs, without this version's number.
pub const OPENAPI: &str = include_str!("routes/openapi.json");

/// What handlers share.
#[derive(Clone)]
struct App {
    model: Model,
    held: Held,
}

/// All routes, for a listener or for a test.
pub fn app(model: Model) -> Router {
    let access = model.settings().access.clone();
    let app = App {
        model: model.clone(),
        held: Held::default(),
    };
    Router::new()
        .route("/", get(page::index))
        .route("/page/{file}", get(page::part))
        .route("/health", get(about::health))
        .route("/ready", get(about::ready))
        .route("/metrics", get(about::metrics))
        .route("/openapi.json", get(about::openapi))
        .route("/v1/info", get(about::info))
        .route("/v1/session", post(session::begin).delete(session::end))
        .route("/v1/segment", post(segment::segment))
        .route("/v1/images", post(images::encode))
        .route("/v1/images/{id}", delete(images::remove))
        .route("/v1/images/{id}/segment", post(images::segment))
        .route("/v1/images/{id}/click", post(clicks::click))
        .route("/v1/videos", post(videos::begin))
        .route("/v1/videos/{id}", delete(videos::remove))
        .route("/v1/videos/{id}/frames", post(videos::frame))
        .route("/v1/videos/{id}/prompts", post(videos::prompt))
        .route("/v1/videos/{id}/objects/{object}", delete(videos::remove_object))
        .route("/v1/videos/{id}/finish", post(videos::finish))
        .route("/v1/streams", get(streams::all))
        .route("/v1/streams/{name}", get(streams::one))
        .route("/v1/streams/{name}/prompts", post(streams::prompt))
        .route("/v1/streams/{name}/objects/{object}", delete(streams::remove_object))
        .route("/v1/streams/{name}/events", get(streams::events))
        .route("/v1/streams/{name}/live.mjpeg", get(streams::mjpeg))
        .route("/v1/streams/{name}/socket", get(streams::socket))
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        // Bodies are received by `body`, which has limits of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(access, access::guard))
        .layer(middleware::from_fn_with_state(model, log::line))
        .with_state(app)
}

async fn unknown(uri: Uri, headers: HeaderMap, body: Body) -> Failure {
    discard(&headers, body).await;
    Failure::not_found(format!(
        "there is no {}; /openapi.json describes what there is",
        uri.path()
    ))
}

async fn not_allowed(headers: HeaderMap, body: Body) -> Failure {
    discard(&headers, body).await;
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this address takes other methods; /openapi.json describes them",
    )
}

/// JSON's bytes as a response.
fn json(status: StatusCode, bytes: Vec<u8>) -> Response {
    (status, [(axum::http::header::CONTENT_TYPE, "application/json")], bytes).into_response()
}
