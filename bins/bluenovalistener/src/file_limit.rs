//! The number of files and sockets that the system lets this process have open.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// Files beside the connections of batteries: journals, the log, the page's clients, PostgreSQL.
/// The type is the system's: of 32 bits on 32-bit ARM, with a sign on FreeBSD.
const OTHERS: rlim_t = 256;

/// The limit is lower than what all batteries together need, and can't be raised that far.
#[derive(Debug, thiserror::Error)]
#[error(
    "the system lets this process have {limit} files and sockets open, too few for {batteries} \
     batteries: raise the limit to {needed} (`ulimit -Hn`, LimitNOFILE= of systemd)"
)]
pub(crate) struct FileLimitTooLow {
    limit: rlim_t,
    batteries: usize,
    needed: rlim_t,
}

/// Raises the limit as far as the connections of so many batteries need: by default it is 1024 at
/// most places, and may be raised by any process.
///
/// # Errors
/// It can't be raised that far; it is as high as the process may have it then.
pub(crate) fn raise_for(batteries: usize) -> Result<(), FileLimitTooLow> {
    let needed = rlim_t::try_from(batteries).unwrap_or(rlim_t::MAX).saturating_add(OTHERS);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    if soft >= needed {
        return Ok(());
    }
    let limit = needed.min(hard);
    let is_raised = setrlimit(Resource::RLIMIT_NOFILE, limit, hard).is_ok();
    let limit = if is_raised { limit } else { soft };
    if limit >= needed { Ok(()) } else { Err(FileLimitTooLow { limit, batteries, needed }) }
}
