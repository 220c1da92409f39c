//! The listener: connections with limits, and how the server ends.

mod patient;

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use patient::Patient;
use sam3_model::report::Loaded;
use tokio::{
    net::TcpStream,
    sync::{Notify, Semaphore, watch},
    time::{sleep, timeout},
};

use crate::{
    model::Model,
    routes::app,
    settings::{Limits, Settings},
};

/// Ends the server, from any thread.
#[derive(Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// What runs is finished; the rest is refused.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError<E> {
    /// The model could not be loaded.
    #[error("{0}")]
    Load(E),
    /// The system refused.
    #[error("the server cannot run: {0}")]
    System(io::Error),
}

/// Threads that receive and answer; the model computes on those of its own.
const THREADS: usize = 2;
/// How long answers that are made may take to be sent at the end.
const FAREWELL: Duration = Duration::from_secs(5);
/// A pause where the system gives no more connections.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of a request's head.
const HEAD: usize = 64 << 10;
/// Lines of it.
const HEADERS: usize = 64;

/// Serves until it is told to stop, and returns when what ran then is answered.
///
/// # Errors
/// When the model cannot be loaded, or the listener cannot be used.
pub fn run<E: Send + 'static>(
    listener: TcpListener,
    settings: Settings,
    stop: &Stop,
    load: impl FnOnce() -> Result<Loaded, E> + Send + 'static,
) -> Result<(), RunError<E>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build();
    let runtime = runtime.map_err(RunError::System)?;
    let limits = settings.limits;
    let (model, thread) = Model::start(settings, load);
    let served = runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        serve(listener, &model, &limits, stop).await;
        Ok(())
    });
    model.stop();
    let worked = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    runtime.shutdown_timeout(Duration::ZERO);
    worked.map_err(RunError::Load)?;
    served.map_err(RunError::System)
}

async fn serve(listener: tokio::net::TcpListener, model: &Model, limits: &Limits, stop: &Stop) {
    let app = app(model.clone());
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (end, ending) = watch::channel(false);
    let accept = async {
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (app, ending, limits) = (app.clone(), ending.clone(), *limits);
                    tokio::spawn(async move {
                        connection(stream, app, ending, limits).await;
                        drop(slot);
                    });
                }
                // The client is gone, or the system has no more descriptors.
                Err(error) => {
                    tracing::warn!("no connection: {error}");
                    sleep(PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop.0.notified() => tracing::info!("stopping: what runs is finished"),
        () = model.ended() => return,
    }
    drop(listener);
    model.stop();
    let _ = end.send(true);
    model.ended().await;
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _ = timeout(FAREWELL, slots.acquire_many(all)).await;
}

/// One client, request after request.
async fn connection(stream: TcpStream, app: Router, mut ending: watch::Receiver<bool>, limits: Limits) {
    // An answer is sent at once, not when more of it is there.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(app);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD)
        .max_headers(HEADERS);
    let connection = http.serve_connection(TokioIo::new(Patient::new(stream, limits.idle)), service);
    let connection = connection.with_upgrades();
    tokio::pin!(connection);
    let is_ending = async {
        // An error means that whoever tells is gone, which is the same.
        let _ = ending.wait_for(|is_ending| *is_ending).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = is_ending => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {error}");
    }
}
