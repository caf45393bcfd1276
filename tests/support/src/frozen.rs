use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A process that stands still, as long as this value lives.
///
/// Its sockets live on: the system accepts connections for it, and acknowledges what is sent.
#[derive(Debug)]
#[must_use = "it goes on as soon as the value is dropped"]
pub struct Frozen(Pid);

impl Frozen {
    /// Stops a process.
    ///
    /// # Panics
    /// Where there is no such process, or it is somebody else's.
    pub fn process(pid: u32) -> Self {
        let pid = Pid::from_raw(i32::try_from(pid).expect("process numbers are positive"));
        kill(pid, Signal::SIGSTOP).unwrap_or_else(|e| panic!("can't stop process {pid}: {e}"));
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}
