//! The page's cookie in place of the token.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::App;
use crate::access::Access;

/// Whoever comes here has shown the token.
pub async fn begin(State(app): State<App>) -> Response {
    match app.model.settings().access.cookie() {
        Some(cookie) => (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

pub async fn end() -> Response {
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, Access::no_cookie())]).into_response()
}
