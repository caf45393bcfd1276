use std::{
    ffi::OsStr,
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

/// A shell script that runs when the value is dropped, or when this process ends without dropping
/// it: a test that is killed drops nothing.
#[derive(Debug)]
#[must_use = "the script runs as soon as the value is dropped"]
pub struct Cleanup(Child);

impl Cleanup {
    /// Prepares `script`, with `arguments` as `$1` and so on. It runs in the root directory, and
    /// says nothing.
    ///
    /// # Panics
    /// Where there is no shell.
    pub fn new<A: AsRef<OsStr>>(script: &str, arguments: &[A]) -> Self {
        // A line on its input calls it off; the end of its input comes however we die.
        let script = format!("trap '' HUP INT TERM; read -r _ && exit; {script}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, "sh"]).args(arguments).current_dir("/");
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(shell.process_group(0).spawn().expect("every Unix has a shell"))
    }

    /// Calls the script off: there is nothing left to clean up.
    pub fn cancel(mut self) {
        if let Some(input) = &mut self.0.stdin {
            // Where it can't be written, the shell has ended already.
            let _ = input.write_all(b"\n");
        }
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
