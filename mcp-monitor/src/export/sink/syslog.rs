//! Syslog: RFC 5424 over UDP (5426), TCP (6587, octet counting or line feeds), TLS (5425) or a unix socket.
//!
//! Syslog knows no acknowledgement: what a receiver's host took is delivered. A connection that was closed meanwhile is
//! found by looking before each batch; what was sent in the very moment of the close may be lost, as with every sender of
//! syslog.

use std::{
    io::{self, Read as _, Write},
    net::{TcpStream, ToSocketAddrs as _, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};
use serde::Deserialize;

use super::{Failure, OpenError, Sink, Taken};
use crate::export::{
    format::syslog::{ENTERPRISE_NUMBER, FACILITY, Layout, Message, message},
    record::Record,
    tls::Tls,
};

/// What is waited for at most, each time.
const TIMEOUT: Duration = Duration::from_secs(15);
/// A receiver that refuses a client certificate says so within this time.
const REFUSED_WITHIN: Duration = Duration::from_millis(300);
/// Largest datagram: what every IPv4 path takes in fragments.
const DATAGRAM_BYTES_MAX: usize = 65_000;

/// How messages are told apart on a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// Each behind its length; the only one that RFC 5425 knows.
    #[default]
    Octet,
    /// Each before a line feed.
    Lf,
}

/// Settings of `syslog`. Exactly one of `udp`, `tcp`, `tls` and `unix`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogSettings {
    /// `HOST:PORT`.
    pub udp: Option<String>,
    /// `HOST:PORT`.
    pub tcp: Option<String>,
    /// `HOST:PORT`, with TLS.
    pub tls: Option<String>,
    /// A socket such as `/dev/log`, stream or datagram.
    pub unix: Option<PathBuf>,
    /// How messages are told apart on a stream.
    #[serde(default)]
    pub framing: Framing,
    /// Whom to trust and who we are, for `tls`.
    #[serde(default)]
    pub certificates: Tls,
    /// Facility, 0 to 23.
    pub facility: Option<u8>,
    /// The organisation's private enterprise number.
    pub enterprise_number: Option<u32>,
    /// What the message is.
    #[serde(default)]
    pub message: Message,
}

enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    UnixStream(UnixStream),
    UnixDatagram(UnixDatagram),
}

/// See the module.
pub(super) struct Syslog {
    settings: SyslogSettings,
    layout: Layout,
    wire: Option<Wire>,
}

impl Syslog {
    pub(super) fn open(settings: &SyslogSettings) -> Result<Self, OpenError> {
        let given =
            [settings.udp.is_some(), settings.tcp.is_some(), settings.tls.is_some(), settings.unix.is_some()];
        if given.into_iter().filter(|given| *given).count() != 1 {
            return Err(OpenError::Settings(
                "syslog needs exactly one of `udp`, `tcp`, `tls` and `unix`".into(),
            ));
        }
        if settings.tls.is_some() {
            if settings.framing == Framing::Lf {
                return Err(OpenError::Settings(
                    "syslog over TLS knows octet counting only (RFC 5425)".into(),
                ));
            }
            settings.certificates.client()?;
        }
        if settings.facility.is_some_and(|facility| facility > 23) {
            return Err(OpenError::Settings("syslog facilities go from 0 to 23".into()));
        }
        let layout = Layout {
            facility: settings.facility.unwrap_or(FACILITY),
            enterprise_number: settings.enterprise_number.unwrap_or(ENTERPRISE_NUMBER),
            message: settings.message,
        };
        Ok(Self { settings: settings.clone(), layout, wire: None })
    }

    fn connect(&self) -> Result<Wire, Failure> {
        let settings = &self.settings;
        if let Some(place) = &settings.udp {
            let remote = resolve(place)?;
            let socket = UdpSocket::bind(if remote.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
            socket.connect(remote)?;
            return Ok(Wire::Udp(socket));
        }
        if let Some(place) = &settings.tcp {
            return Ok(Wire::Tcp(stream(place)?));
        }
        if let Some(place) = &settings.tls {
            let config = settings.certificates.client().map_err(Failure::later)?;
            let host = place.rsplit_once(':').map_or(place.as_str(), |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = ServerName::try_from(host).map_err(Failure::later)?;
            let connection = ClientConnection::new(Arc::new(config), name).map_err(Failure::later)?;
            let mut owned = StreamOwned::new(connection, stream(place)?);
            // The handshake now, so that a wrong certificate is told before anything is taken for sent.
            while owned.conn.is_handshaking() {
                owned.conn.complete_io(&mut owned.sock)?;
            }
            listens_on(&mut owned)?;
            return Ok(Wire::Tls(Box::new(owned)));
        }
        let path = settings.unix.as_ref().ok_or_else(|| Failure::later("no place is configured"))?;
        let told = |error: io::Error| Failure::later(format!("{}: {error}", path.display()));
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_write_timeout(Some(TIMEOUT))?;
                Ok(Wire::UnixStream(stream))
            }
            // EPROTOTYPE: the other kind of socket.
            Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path).map_err(told)?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                Ok(Wire::UnixDatagram(socket))
            }
            Err(error) => Err(told(error)),
        }
    }

    fn send(&self, wire: &mut Wire, records: &[Record]) -> Result<Taken, Failure> {
        let mut taken = Taken::default();
        let mut frames = Vec::new();
        for (place, record) in records.iter().enumerate() {
            let text = message(record, &self.layout);
            if matches!(wire, Wire::Udp(_) | Wire::UnixDatagram(_)) {
                if text.len() > DATAGRAM_BYTES_MAX {
                    taken.rejected.push((place, format!("{} bytes do not fit into a datagram", text.len())));
                    continue;
                }
                match wire {
                    Wire::Udp(socket) => socket.send(text.as_bytes())?,
                    Wire::UnixDatagram(socket) => socket.send(text.as_bytes())?,
                    _ => 0,
                };
                continue;
            }
            match self.settings.framing {
                Framing::Octet => {
                    frames.extend_from_slice(format!("{} ", text.len()).as_bytes());
                    frames.extend_from_slice(text.as_bytes());
                }
                Framing::Lf => {
                    frames.extend_from_slice(text.as_bytes());
                    frames.push(b'\n');
                }
            }
        }
        let out: &mut dyn Write = match wire {
            Wire::Tcp(stream) => stream,
            Wire::Tls(stream) => stream.as_mut(),
            Wire::UnixStream(stream) => stream,
            Wire::Udp(_) | Wire::UnixDatagram(_) => return Ok(taken),
        };
        out.write_all(&frames)?;
        out.flush()?;
        Ok(taken)
    }
}

fn resolve(place: &str) -> Result<std::net::SocketAddr, Failure> {
    let mut found = place.to_socket_addrs().map_err(|error| Failure::later(format!("{place}: {error}")))?;
    found.next().ok_or_else(|| Failure::later(format!("{place}: has no address")))
}

fn stream(place: &str) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect_timeout(&resolve(place)?, TIMEOUT)
        .map_err(|error| Failure::later(format!("{place}: {error}")))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// With TLS 1.3 a receiver that refuses our certificate says so behind the handshake: it gets a moment to.
fn listens_on(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> Result<(), Failure> {
    stream.sock.set_read_timeout(Some(REFUSED_WITHIN))?;
    let refused = match stream.read(&mut [0; 1]) {
        Ok(0) => Some("it closed the connection behind the handshake".to_owned()),
        Ok(_) => None,
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => None,
        Err(error) => Some(error.to_string()),
    };
    stream.sock.set_read_timeout(Some(TIMEOUT))?;
    refused.map_or(Ok(()), |why| Err(Failure::later(why)))
}

/// True when the other side has closed: a receiver of syslog says nothing else.
fn has_gone(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let mut byte = [0; 1];
    let gone = match stream.peek(&mut byte) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).is_err() || gone
}

fn is_closed(wire: &mut Wire) -> bool {
    match wire {
        Wire::Tcp(stream) => has_gone(stream),
        Wire::Tls(stream) => {
            if has_gone(&stream.sock) {
                return true;
            }
            // Takes in what TLS itself has to say, such as the end of the session.
            if stream.sock.set_nonblocking(true).is_err() {
                return true;
            }
            let gone = match stream.read(&mut [0; 64]) {
                Ok(read) => read == 0,
                Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            };
            stream.sock.set_nonblocking(false).is_err() || gone
        }
        Wire::Udp(_) | Wire::UnixStream(_) | Wire::UnixDatagram(_) => false,
    }
}

impl Sink for Syslog {
    fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failure> {
        let mut known = self.wire.take();
        if known.as_mut().is_some_and(is_closed) {
            known = None;
        }
        let mut wire = match known {
            Some(wire) => wire,
            None => self.connect()?,
        };
        let taken = self.send(&mut wire, records)?;
        // Only what works is kept: after an error the next attempt connects anew.
        self.wire = Some(wire);
        Ok(taken)
    }
}
