//! The server of the control socket.

/// Name of the socket in the run-time directory.
pub const SOCKET_NAME: &str = "control.sock";
