//! The page that shows the status to browsers: binds its address, again and
//! again if need be, and starts its server.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use bluenova_http::HttpServer;
use bluenova_record::ErrorChain;
use bluenova_status::LiveStatus;
use log::{debug, info, warn};
use time::UtcDateTime;

/// Time after which an address that can't be listened on is tried again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(10);

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

/// The page of a listener, or the address where it is going to be.
///
/// The machine may not have the address yet, before DHCP for instance, or another program has it.
/// The recording goes on, and the address is tried again.
pub(crate) struct Page {
    address: SocketAddr,
    names: Vec<String>,
    status: LiveStatus,
    server: Option<HttpServer>,
    retry_at: Instant,
}

impl Page {
    /// Serves `status` at `address` and under `names`, or logs why that can't be done yet.
    pub(crate) fn open(address: SocketAddr, names: &[String], status: LiveStatus) -> Self {
        Self::start(address, bind(address), names, status)
    }

    /// Serves `status` under `names` to those who connect to `listener`.
    ///
    /// # Errors
    /// The listener has no address.
    pub(crate) fn on(
        listener: TcpListener,
        names: &[String],
        status: LiveStatus,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self::start(address, Ok(listener), names, status))
    }

    fn start(
        address: SocketAddr,
        listener: Result<TcpListener, BindError>,
        names: &[String],
        status: LiveStatus,
    ) -> Self {
        let retry_at = Instant::now() + RETRY_AFTER;
        let mut page = Self { address, names: names.to_vec(), status, server: None, retry_at };
        if let Err(error) = listener.and_then(|listener| page.serve(listener)) {
            let seconds = RETRY_AFTER.as_secs();
            warn!(
                "{}. Recording goes on without the page, and the address is tried again every \
                 {seconds} s",
                ErrorChain(&error)
            );
        }
        page
    }

    /// Tries again if there is no page yet and a try is due.
    pub(crate) fn retry(&mut self) {
        if self.server.is_some() || Instant::now() < self.retry_at {
            return;
        }
        self.retry_at = Instant::now() + RETRY_AFTER;
        if let Err(error) = bind(self.address).and_then(|listener| self.serve(listener)) {
            debug!("{}", ErrorChain(&error));
        }
    }

    /// URL of the page, once it is served.
    pub(crate) fn url(&self) -> Option<String> {
        self.server.as_ref().map(url)
    }

    /// Ends the page. This doesn't wait for browsers.
    pub(crate) fn stop(self) {
        if let Some(server) = self.server {
            server.stop();
        }
    }

    fn serve(&mut self, listener: TcpListener) -> Result<(), BindError> {
        let status = self.status.clone();
        let snapshot = move || status.snapshot(UtcDateTime::now(), Instant::now());
        let server = bluenova_http::start_with_names(listener, self.names.clone(), snapshot)
            .map_err(|source| BindError { address: self.address, source })?;
        let (address, url) = (server.local_addr(), url(&server));
        info!("page at {url}");
        if is_exposed(address.ip()) {
            warn!("anyone in this network can read the page at {url}: it has no password");
        }
        self.server = Some(server);
        Ok(())
    }
}

/// The address of the page for a browser on this machine.
fn url(server: &HttpServer) -> String {
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
