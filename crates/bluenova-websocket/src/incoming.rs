use std::{
    io::{self, Read, Write},
    time::{Duration, Instant},
};

use crate::{TICK, frames::FrameTracker};

/// Stream past the handshake. It follows the frames that come in, stores when the last one ended,
/// and fails after a tick, also where a peer drips single bytes.
///
/// tungstenite reads until it has a message or an error, so the stream has to be the one to stop.
#[derive(Debug)]
pub(crate) struct Incoming<S> {
    stream: S,
    frames: FrameTracker,
    last_frame: Instant,
    /// `None` until the first read in a tick, so that messages read at once need no clock.
    tick_ends: Option<Instant>,
    /// Bytes of the largest piece read.
    largest: usize,
    /// Whether bytes are dropped up to the end of a message, and how many may be.
    skipping: Option<u64>,
}

/// Longest rest of a frame that is skipped. A larger one is more likely no frame at all.
const LONGEST_SKIPPED: u64 = 16 * 1024 * 1024;

/// Bytes that are skipped behind that frame: a message in fragments may have no end.
const SKIPPED_FRAGMENTS: u64 = 512 * 1024;

impl<S> Incoming<S> {
    /// `early` is what came together with the end of the handshake.
    pub(crate) fn new(stream: S, early: &mut [u8]) -> Self {
        let mut frames = FrameTracker::default();
        frames.follow(early);
        let last_frame = Instant::now();
        Self { stream, frames, last_frame, tick_ends: None, largest: 0, skipping: None }
    }

    /// The next read starts a tick; those after the tick fail with `WouldBlock`.
    pub(crate) fn start_tick(&mut self) {
        self.tick_ends = None;
    }

    /// When a frame last ended.
    pub(crate) fn last_frame(&self) -> Instant {
        self.last_frame
    }

    /// Time since a frame last ended.
    pub(crate) fn silence(&self) -> Duration {
        self.last_frame.elapsed()
    }

    /// Whether a tick was started and then used, for a read.
    pub(crate) fn in_tick(&self) -> bool {
        self.tick_ends.is_some()
    }

    /// Whether all that was read makes whole messages.
    pub(crate) fn between_messages(&self) -> bool {
        self.frames.between_messages()
    }

    /// Bytes of the largest frame or piece read since this was last asked.
    pub(crate) fn take_largest(&mut self) -> usize {
        let frame = usize::try_from(self.frames.take_largest()).unwrap_or(usize::MAX);
        frame.max(std::mem::take(&mut self.largest))
    }

    /// Drops what is still to come of the message under way; `false` if that is too much.
    pub(crate) fn skip_message(&mut self) -> bool {
        if self.skipping.is_some() {
            return false;
        }
        let left = self.frames.left_of_frame();
        let budget = left.saturating_add(SKIPPED_FRAGMENTS);
        self.skipping = (!self.frames.between_messages()).then_some(budget);
        left <= LONGEST_SKIPPED
    }

    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: Read> Incoming<S> {
    /// Reads once, within the tick.
    fn read_once(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let now = Instant::now();
        if now >= *self.tick_ends.get_or_insert(now + TICK) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let size = self.stream.read(buffer)?;
        self.largest = self.largest.max(size);
        Ok(size)
    }
}

impl<S: Read> Read for Incoming<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut size = self.read_once(buffer)?;
        while let Some(budget) = self.skipping.filter(|_| size > 0) {
            if let Some(end) = self.frames.end_of_message(&mut buffer[..size]) {
                self.skipping = None;
                self.last_frame = Instant::now();
                buffer.copy_within(end..size, 0);
                size -= end;
            } else {
                // `Error::in_io` makes a message too long of this.
                let left = budget.checked_sub(size as u64).ok_or(io::ErrorKind::FileTooLarge)?;
                self.skipping = Some(left);
                size = 0;
            }
            if size == 0 {
                size = self.read_once(buffer)?;
            }
        }
        if self.frames.follow(&mut buffer[..size]) {
            self.last_frame = Instant::now();
        }
        Ok(size)
    }
}

impl<S: Write> Write for Incoming<S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
