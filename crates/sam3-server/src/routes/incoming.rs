//! A request whose body was received within the limits.

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path},
    http::{HeaderMap, Request, request::Parts},
};
use serde::de::DeserializeOwned;

use super::App;
use crate::{body::Received, failure::Failure, request};

/// What handlers take of a request, behind its path.
pub struct Incoming {
    pub query: String,
    pub headers: HeaderMap,
    pub body: Received,
}

/// The names in a request's path; what cannot be read there is answered in JSON, too.
pub struct Named<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Named<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let read = Path::from_request_parts(parts, app).await;
        let Path(names) = read.map_err(|error| Failure::invalid(format!("the address: {}", error.body_text())))?;
        Ok(Self(names))
    }
}

impl FromRequest<App> for Incoming {
    type Rejection = Failure;

    async fn from_request(request: Request<Body>, app: &App) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let limits = app.model.settings().limits;
        Ok(Self {
            body: app.held.receive(&parts.headers, body, &limits).await?,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
        })
    }
}

impl Incoming {
    /// Its body, which has to be JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        request::only_json(&self.headers, &self.body.bytes)
    }
}
