//! What a client is told when a request fails, and what the log is told beside it.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sam3_model::{Error, TensorError, image::ImageError};
use serde_json::json;

/// A request that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    status: StatusCode,
    /// For programs; one word for each kind, which stays.
    kind: &'static str,
    /// For people; says nothing of this machine.
    message: String,
    /// For the log alone.
    detail: Option<String>,
}

/// What the log is told of a response, among its extensions.
#[derive(Clone, Debug)]
pub struct Detail(pub String);

/// When a client that was turned away for want of room may ask again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

impl Failure {
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            detail: None,
        }
    }

    /// A request that says what cannot be.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// More than the limits take.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// An identity that nothing has, or no longer.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub fn forbidden(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, kind, message)
    }

    /// What may be had later.
    pub fn unavailable(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, message)
    }

    pub fn loading() -> Self {
        Self::unavailable("loading", "the model is being loaded; /ready tells when it is there")
    }

    pub fn stopping() -> Self {
        Self::unavailable("stopping", "the server is being stopped")
    }

    pub fn queue_full() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "queue_full",
            "too many requests wait for the model; ask again later",
        )
    }

    pub fn too_many_videos(most: usize) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_videos",
            format!("{most} videos are followed, which is as many as may be: end one, or ask again later"),
        )
    }

    pub fn too_many_watchers(most: usize) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_watchers",
            format!("{most} clients watch this stream, which is as many as may; ask again later"),
        )
    }

    pub fn out_of_memory(detail: impl Into<String>) -> Self {
        let failure = Self::unavailable(
            "out_of_memory",
            "there is no memory for this request now; ask again later, or with a smaller picture",
        );
        failure.with_detail(detail)
    }

    /// A fault of the server's: the client learns nothing of it.
    pub fn internal(detail: impl Into<String>) -> Self {
        let failure = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed; its log tells why",
        );
        failure.with_detail(detail)
    }

    /// What clients are told.
    pub fn message(&self) -> &str {
        &self.message
    }

    fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let client = |kind, message| Self::new(StatusCode::BAD_REQUEST, kind, message);
        match error {
            Error::Image(error) => error.into(),
            Error::Prompt(message) | Error::NotBaked(message) => client("invalid_prompt", message),
            Error::Clicks(error) => client("invalid_clicks", error.to_string()),
            Error::Tiling(error) => client("invalid_tiles", error.to_string()),
            Error::ImageSize { .. } => client("invalid_image_size", error.to_string()),
            // Their own sentences begin with the file's path.
            Error::NoClickHead { reason, .. } => client("no_clicks", format!("this model takes no clicks: {reason}")),
            Error::NoTracker { reason, .. } => client("no_videos", format!("this model follows no videos: {reason}")),
            Error::Video(error) => client("invalid_frame", error.to_string()),
            Error::NoDetector { .. } => client("no_texts", "this model was packaged for clicks alone".to_owned()),
            Error::Compute(TensorError::OutOfMemory { .. } | TensorError::OutOfGpuMemory) => {
                Self::out_of_memory(error.to_string())
            }
            other => Self::internal(other.to_string()),
        }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Invalid { reason, .. } if reason.starts_with("out of memory") => Self::out_of_memory(reason),
            ImageError::Invalid { reason, .. } => Self::new(StatusCode::BAD_REQUEST, "invalid_image", reason),
            other => Self::internal(other.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({"error": {"kind": self.kind, "message": self.message}}).to_string();
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        let detail = self.detail.unwrap_or(self.message);
        response
            .extensions_mut()
            .insert(Detail(format!("{}: {detail}", self.kind)));
        response
    }
}
