//! A value that several threads change and anyone reads.

use std::sync::{Arc, Mutex, PoisonError};

/// A value that few threads change and anyone may look at.
///
/// The lock is held only while a closure changes a few fields, or the value is cloned. A clone of
/// this is another handle to the same value.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    /// A handle to a new value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// Changes the value. `change` should be short: others wait for it.
    ///
    /// If another thread panicked in its own change, the value is used as it was left.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Clone> Shared<T> {
    /// A copy of the value as it is now.
    pub fn get(&self) -> T {
        self.update(|value| value.clone())
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use super::*;

    #[test]
    fn a_panic_in_a_change_spoils_nothing() {
        let shared = Shared::new(1);
        let other = shared.clone();
        // As a panic, but the hook doesn't print it.
        let spoil = |value: &mut i32| {
            *value = 2;
            resume_unwind(Box::new("as the test needs it"))
        };
        let result: std::thread::Result<()> =
            catch_unwind(AssertUnwindSafe(|| other.update(spoil)));
        assert!(result.is_err());
        assert_eq!(shared.get(), 2);
        assert_eq!(shared.update(|value| std::mem::replace(value, 3)), 2);
        assert_eq!(other.get(), 3);
    }
}
