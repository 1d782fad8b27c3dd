//! The server of the control socket: HTTP/1.1 on a thread of its own, so that a flood in the pipeline does not stop
//! answers and no reader stops the pipeline.
//!
//! Bounded: connections in all and for each user, bytes of heads and bodies, the time a head may take, the lines that a
//! follower may be behind.

use super::{
    hub::Hub,
    orders::Orders,
    peer::Peer,
    publish::{Publisher, Pulse},
    routes::{self, Context},
};
use crate::render::Origin;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    collections::HashMap,
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{mpsc, watch},
};

/// Name of the socket in the run-time directory.
pub const SOCKET_NAME: &str = "control.sock";
/// Connections at once.
const CONNECTIONS_MAX: usize = 128;
/// Connections at once of one user that is not root.
const CONNECTIONS_OF_A_USER_MAX: usize = 16;
/// How long the head of a request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Bytes that a head may have.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Threads for what takes a while: questions to the store, acts.
const BLOCKING_THREADS: usize = 6;
/// How often repeated questions are told to the journal.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// A question never takes the processor from the pipeline.
fn step_back() {
    // Refused only where somebody set limits; then it is as fast as the rest.
    let _ = rustix::process::nice(10);
}

/// What is served and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The socket's path.
    pub socket: PathBuf,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// The kernel counts runs and time of the programs.
    pub program_stats: bool,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket cannot be made.
    #[error("the control socket {path} cannot be made: {reason}")]
    Socket {
        /// Where.
        path: String,
        /// Why.
        reason: io::Error,
    },
    /// The address cannot be listened on.
    #[error("metrics cannot be served at {address}: {reason}. Give another with --metrics ADDRESS:PORT")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: io::Error,
    },
    /// The thread.
    #[error("the control thread cannot be started: {0}")]
    Thread(io::Error),
}

/// A running server; gone when it is dropped.
#[derive(Debug)]
pub struct Server {
    /// For the pipeline: what happens.
    pub publisher: Publisher,
    /// For the pipeline: what operators want done.
    pub orders: Orders,
    socket: PathBuf,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens and answers from now on.
    pub fn start(settings: Settings, origin: Origin) -> Result<Self, ServeError> {
        Self::listen(settings)?.start(origin)
    }

    /// Listens from now on; who connects waits until [`Listening::start`]. No thread is started before.
    pub fn listen(settings: Settings) -> Result<Listening, ServeError> {
        let listener = listen(&settings.socket)
            .map_err(|reason| ServeError::Socket { path: settings.socket.display().to_string(), reason })?;
        let metrics = settings
            .metrics
            .map(|address| {
                let listening = std::net::TcpListener::bind(address)
                    .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
                listening.map_err(|reason| ServeError::Metrics { address, reason })
            })
            .transpose()?;
        Ok(Listening { settings, listener, metrics })
    }
}

/// A server that has its places and does not answer yet.
#[derive(Debug)]
pub struct Listening {
    settings: Settings,
    listener: std::os::unix::net::UnixListener,
    metrics: Option<std::net::TcpListener>,
}

impl Listening {
    /// Answers from now on.
    pub fn start(self, origin: Origin) -> Result<Server, ServeError> {
        let Self { settings, listener, metrics } = self;
        let pulse = Arc::new(Pulse::default());
        pulse.measured.store(metrics.is_some(), Ordering::Relaxed);
        let (publisher, messages) = Publisher::new(Arc::clone(&pulse));
        let (sender, orders) = Orders::new();
        let (stop, stopped) = watch::channel(false);
        let hub = Arc::new(Hub::new(pulse, origin, settings.socket.display().to_string()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .on_thread_start(step_back)
            .build()
            .map_err(ServeError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                runtime.block_on(serve(hub, messages, sender, listener, metrics, stopped));
            })
            .map_err(ServeError::Thread)?;
        Ok(Server { publisher, orders, socket: settings.socket, stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The thread may have ended already.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            // It ends at once: its runtime is dropped with all connections.
            let _ = thread.join();
        }
        // Somebody may have removed it.
        let _ = fs::remove_file(&self.socket);
    }
}

/// Any user may connect; what that user sees is decided by [`Peer`]. A socket that a killed monitor left is replaced:
/// the lock of the run-time directory says that nobody listens there.
fn listen(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(
    hub: Arc<Hub>,
    messages: mpsc::Receiver<super::publish::Message>,
    orders: super::orders::Sender,
    listener: std::os::unix::net::UnixListener,
    metrics: Option<std::net::TcpListener>,
    mut stopped: watch::Receiver<bool>,
) {
    let context = Context::new(Arc::clone(&hub), orders);
    tokio::spawn(sweep(Arc::clone(&hub)));
    tokio::spawn(Arc::clone(&hub).run(messages));
    if let Some(metrics) = metrics.and_then(|listener| TcpListener::from_std(listener).ok()) {
        tokio::spawn(accept_metrics(metrics, routes::metrics(context.clone())));
    }
    let (router, _) = routes::api(context).split_for_parts();
    if let Ok(listener) = UnixListener::from_std(listener) {
        tokio::spawn(accept(listener, router, hub));
    }
    // Gone with its sender, too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Tells the journal what was asked again and again.
async fn sweep(hub: Arc<Hub>) {
    let mut clock = tokio::time::interval(SWEEP_EVERY);
    loop {
        clock.tick().await;
        if let Some(store) = hub.pulse.store.get() {
            hub.pulse.asked.sweep(store, false);
        }
    }
}

/// Connections by user.
#[derive(Debug, Default)]
struct Open(Mutex<HashMap<u32, usize>>);

/// One of them.
struct Guard {
    open: Arc<Open>,
    uid: u32,
    hub: Arc<Hub>,
}

impl Open {
    fn enter(open: &Arc<Self>, uid: u32, hub: &Arc<Hub>) -> Option<Guard> {
        let mut users = open.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = users.values().sum();
        let of = users.entry(uid).or_default();
        // Root gets in where others have taken all places.
        let full = uid != 0 && (all >= CONNECTIONS_MAX - 8 || *of >= CONNECTIONS_OF_A_USER_MAX);
        if full || all >= CONNECTIONS_MAX {
            return None;
        }
        *of += 1;
        hub.connections.fetch_add(1, Ordering::Relaxed);
        Some(Guard { open: Arc::clone(open), uid, hub: Arc::clone(hub) })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut users = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of) = users.get_mut(&self.uid) {
            *of -= 1;
            if *of == 0 {
                users.remove(&self.uid);
            }
        }
        self.hub.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept(listener: UnixListener, router: Router, hub: Arc<Hub>) {
    let open = Arc::<Open>::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: some will be given back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Gone already.
        let Ok(peer) = Peer::of(&stream) else { continue };
        let Some(guard) = Open::enter(&open, peer.uid, &hub) else {
            // As much as fits at once; nobody is waited for.
            let _ = stream.try_write(
                b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n\
                  {\"reason\":\"too many connections; close some\"}\n",
            );
            continue;
        };
        let router = router.clone().layer(Extension(peer));
        tokio::spawn(async move {
            connection(stream, router).await;
            drop(guard);
        });
    }
}

async fn accept_metrics(listener: TcpListener, router: Router) {
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_OF_A_USER_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            // A scrape is short; who holds on to a place loses it.
            let _ = tokio::time::timeout(Duration::from_mins(1), connection(stream, router)).await;
            drop(place);
        });
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A reader that goes away is no error.
    let _ = served.await;
}
