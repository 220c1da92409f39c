//! The page, whose files are part of the program.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

use super::incoming::Named;
use crate::failure::Failure;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// Name, kind and text of each file beside the page itself.
const FILES: [(&str, &str, &str); 10] = [
    ("style.css", CSS, include_str!("../page/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("../page/icon.svg")),
    ("app.js", JS, include_str!("../page/app.js")),
    ("api.js", JS, include_str!("../page/api.js")),
    ("camera.js", JS, include_str!("../page/camera.js")),
    ("files.js", JS, include_str!("../page/files.js")),
    ("inputs.js", JS, include_str!("../page/inputs.js")),
    ("mask.js", JS, include_str!("../page/mask.js")),
    ("streams.js", JS, include_str!("../page/streams.js")),
    ("view.js", JS, include_str!("../page/view.js")),
];

pub async fn index() -> Response {
    file(HTML, include_str!("../page/index.html"))
}

pub async fn part(Named(name): Named<String>) -> Result<Response, Failure> {
    let found = FILES.iter().find(|(own, ..)| *own == name);
    let (_, kind, text) = found.ok_or_else(|| Failure::not_found("the page has no such file"))?;
    Ok(file(kind, text))
}

/// Another version of the program has other files under the same names.
fn file(kind: &'static str, text: &'static str) -> Response {
    (
        [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")],
        text,
    )
        .into_response()
}
