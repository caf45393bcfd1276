//! The page that shows the status to browsers: binds its address and starts its server.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    time::Instant,
};

use bluenova_http::{HttpServer, LiveStatus};
use log::{info, warn};
use time::UtcDateTime;

/// The address of the page can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("--http {address} can't be listened on")]
pub(crate) struct BindError {
    address: SocketAddr,
    pub(crate) source: io::Error,
}

/// Listens on the address of the page.
///
/// # Errors
/// The address is in use, or isn't one of this machine.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).map_err(|source| BindError { address, source })
}

/// Serves `status` until the server is stopped.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start(listener: TcpListener, status: LiveStatus) -> io::Result<HttpServer> {
    let snapshot = move || status.snapshot(UtcDateTime::now(), Instant::now());
    let server = bluenova_http::start(listener, snapshot)?;
    let (address, url) = (server.local_addr(), url(&server));
    info!("page at {url}");
    if is_exposed(address.ip()) {
        warn!("anyone in this network can read the page at {url}: it has no password");
    }
    Ok(server)
}

/// The address of the page for a browser on this machine.
pub(crate) fn url(server: &HttpServer) -> String {
    format!("http://{}/", server.local_addr())
}

/// Whether other machines can reach that address.
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
