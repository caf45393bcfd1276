//! The latest of many values, without memory elsewhere.

use std::ops::{Deref, DerefMut};

/// The last `N` values, the latest last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recent<T, const N: usize> {
    count: u8,
    items: [T; N],
}

impl<T: Copy + Default, const N: usize> Default for Recent<T, N> {
    fn default() -> Self {
        Self { count: 0, items: [T::default(); N] }
    }
}

impl<T: Copy, const N: usize> Recent<T, N> {
    /// Appends a value; the oldest one goes if there are too many.
    pub(crate) fn push(&mut self, item: T) {
        let count = usize::from(self.count);
        if count == N {
            self.items.rotate_left(1);
            self.items[N - 1] = item;
        } else {
            self.items[count] = item;
            self.count += 1;
        }
    }

    /// Removes the value at `index`.
    pub(crate) fn remove(&mut self, index: usize) {
        self[index..].rotate_left(1);
        self.count -= 1;
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }
}

impl<T, const N: usize> Deref for Recent<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items[..self.count.into()]
    }
}

impl<T, const N: usize> DerefMut for Recent<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items[..self.count.into()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes() {
        let mut recent: Recent<u8, 3> = Recent::default();
        for (item, expected) in [(1, &[1][..]), (2, &[1, 2]), (3, &[1, 2, 3]), (4, &[2, 3, 4])] {
            recent.push(item);
            assert_eq!(*recent, *expected);
        }
        recent.remove(1);
        assert_eq!(*recent, [2, 4]);
    }
}
