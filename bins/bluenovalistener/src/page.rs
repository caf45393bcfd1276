//! The page that shows it all to browsers: where it is, and its start.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
};

use bluenova_http::Server;
use log::{info, warn};
use time::UtcDateTime;

use crate::status::Board;

/// The page's place isn't to be had.
#[derive(Debug, thiserror::Error)]
#[error("--http {address} can't be listened on")]
pub(crate) struct BindError {
    address: SocketAddr,
    pub(crate) source: io::Error,
}

/// Takes the place where the page is to be.
///
/// # Errors
/// It is taken, or none of this machine.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).map_err(|source| BindError { address, source })
}

/// Shows what is on `board` until the server is dropped.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start(listener: TcpListener, board: Board) -> io::Result<Server> {
    let server = bluenova_http::start(listener, move || board.snapshot(UtcDateTime::now()))?;
    let (address, url) = (server.local_addr(), url(&server));
    info!("page at {url}");
    if is_exposed(address.ip()) {
        warn!("anyone in this network can read the page at {url}; there is no password");
    }
    Ok(server)
}

/// What to give to a browser on this machine.
pub(crate) fn url(server: &Server) -> String {
    format!("http://{}/", server.local_addr())
}

/// Whether others than this machine can get there.
fn is_exposed(address: IpAddr) -> bool {
    !address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_for_this_machine_alone() {
        for address in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert!(!is_exposed(address.parse().unwrap()), "{address}");
        }
        for address in ["0.0.0.0", "::", "192.168.1.2", "::ffff:192.168.1.2", "fe80::1"] {
            assert!(is_exposed(address.parse().unwrap()), "{address}");
        }
    }
}
