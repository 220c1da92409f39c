//! A request whose body was received within the limits.

use axum::{
    body::Body,
    extract::FromRequest,
    http::{HeaderMap, Request},
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
