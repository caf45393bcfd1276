//! Detaching from the terminal.

use std::{
    fs::OpenOptions,
    io::{self, PipeWriter, Read, Write},
    process,
};

use nix::{
    sys::{
        stat::{Mode, umask},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid},
};

/// Connection of a daemon that is starting to its parent, which still has the terminal.
pub(crate) struct Starting(PipeWriter);

/// Continues in a child process with a session of its own, directory `/` and umask 027.
///
/// The parent waits until the child has started, so that errors at the start are still seen on the
/// terminal and in the exit code; it never returns from here.
///
/// # Errors
/// The system gives no process or pipe.
pub(crate) fn detach() -> io::Result<Starting> {
    let (mut from_child, to_parent) = io::pipe()?;
    // SAFETY: no other thread has been started yet, so the child may do everything.
    #[allow(unsafe_code)]
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop(to_parent);
            let started = matches!(from_child.read(&mut [0]), Ok(1));
            process::exit(if started { 0 } else { exit_code(child) });
        }
        ForkResult::Child => {
            setsid()?;
            chdir("/")?;
            umask(Mode::from_bits_truncate(0o027));
            Ok(Starting(to_parent))
        }
    }
}

impl Starting {
    /// Ends the parent and leaves the terminal, now that the program has started.
    ///
    /// # Errors
    /// /dev/null can't be opened.
    pub(crate) fn done(mut self) -> io::Result<()> {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        // The parent may have been killed meanwhile.
        let _ = self.0.write_all(b"+");
        Ok(())
    }
}

fn exit_code(child: Pid) -> i32 {
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, code)) if code != 0 => code,
        _ => 1,
    }
}
