use std::{io, net::SocketAddr};

/// Why a simulated battery can't be served or commanded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address can't be listened on.
    #[error("can't listen on {address}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The thread that serves can't be started.
    #[error("can't start the thread that serves {address}")]
    Thread {
        /// The address that it was to serve.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The model can't run at that speed.
    #[error(
        "speed {speed} is not between {} and {}",
        crate::Pace::SPEEDS.start(),
        crate::Pace::SPEEDS.end()
    )]
    Speed {
        /// The speed that was asked for.
        speed: f64,
    },
    /// The server was stopped.
    #[error("the server of {address} is stopped")]
    Stopped {
        /// The address that it served.
        address: SocketAddr,
    },
    /// There were more or fewer clients than expected until the time-out.
    #[error("{address} did not have {expected} clients in time")]
    Clients {
        /// The address of the battery.
        address: SocketAddr,
        /// Number of clients that was waited for.
        expected: usize,
    },
}

/// Text that names no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such fault: '{given}' (there are healthy, silence, half-open, malformed, malformed:SHARE \
     with a SHARE from 0 to 1, drop, giant, errors, breaker, low-charge, frost and cell-spread)"
)]
pub struct UnknownFault {
    /// What was given.
    pub given: String,
}
