//! One line a request in the log, and its count among the metrics.

use std::{sync::atomic::Ordering, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};

use crate::{failure::Detail, model::Model};

/// What is written of a request, at its end or when its client is gone.
struct Line {
    model: Model,
    method: &'static str,
    /// Without identities of images, and without what a client made up.
    route: String,
    start: Instant,
    is_written: bool,
}

pub async fn line(State(model): State<Model>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let mut line = Line {
        model,
        method: name(request.method()),
        route: route.map_or("unknown".to_owned(), |route| route.as_str().to_owned()),
        start: Instant::now(),
        is_written: false,
    };
    let response = next.run(request).await;
    line.write(&response);
    response
}

/// A method may be any word: those that no route takes are one.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

impl Line {
    fn write(&mut self, response: &Response) {
        self.is_written = true;
        let (status, took) = (response.status().as_u16(), self.start.elapsed());
        let (method, route, ms) = (self.method, &*self.route, took.as_secs_f64() * 1e3);
        self.model.metrics().answered(method, route, status, took);
        match response.extensions().get::<Detail>() {
            Some(Detail(detail)) if status >= 500 => tracing::warn!("{method} {route} {status} {ms:.1} ms {detail}"),
            Some(Detail(detail)) => tracing::info!("{method} {route} {status} {ms:.1} ms {detail}"),
            None => tracing::info!("{method} {route} {status} {ms:.1} ms"),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.is_written {
            let (method, route, ms) = (self.method, &self.route, self.start.elapsed().as_secs_f64() * 1e3);
            self.model.metrics().abandoned.fetch_add(1, Ordering::Relaxed);
            tracing::info!("{method} {route} - {ms:.1} ms the client went away");
        }
    }
}
