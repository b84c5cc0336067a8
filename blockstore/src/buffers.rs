//! Reusable buffers for large blocks. A buffer is reused when its bytes are dropped, because pages that are already
//! mapped cost the kernel nothing.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

/// A pool of buffers of about one size. Clones share it.
#[derive(Clone, Debug)]
pub struct Buffers {
    free: Arc<Stock>,
}

#[derive(Debug)]
struct Stock {
    buffers: Mutex<Vec<Vec<u8>>>,
    /// Capacity of each buffer in bytes.
    capacity: usize,
    /// Most buffers in the pool.
    limit: usize,
}

impl Buffers {
    /// A pool that keeps up to `limit` buffers with a capacity of `capacity` bytes.
    pub fn new(capacity: usize, limit: usize) -> Self {
        Self { free: Arc::new(Stock { buffers: Mutex::default(), capacity, limit }) }
    }

    /// An empty buffer with a capacity of at least `length` bytes, from the pool if it is large enough to be worth it.
    pub fn take(&self, length: usize) -> Vec<u8> {
        let mut buffer = self.used(length).unwrap_or_else(|| self.fresh(length));
        buffer.clear();
        buffer
    }

    /// A buffer of `length` bytes, from the pool if it is large enough to be worth it. Its contents are unspecified,
    /// and must be overwritten.
    pub fn take_whole(&self, length: usize) -> Vec<u8> {
        match self.used(length) {
            Some(mut buffer) => {
                buffer.resize(length, 0);
                buffer
            }
            // Pages from the kernel are zero, and are not touched before they are filled.
            None if self.is_worth(length) => {
                let mut buffer = vec![0; self.free.capacity];
                buffer.truncate(length);
                buffer
            }
            None => vec![0; length],
        }
    }

    fn is_worth(&self, length: usize) -> bool {
        length <= self.free.capacity && length >= self.free.capacity / 4
    }

    fn used(&self, length: usize) -> Option<Vec<u8>> {
        if !self.is_worth(length) {
            return None;
        }
        self.free.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn fresh(&self, length: usize) -> Vec<u8> {
        Vec::with_capacity(if self.is_worth(length) { self.free.capacity } else { length })
    }

    /// Converts a filled buffer to `Bytes` without a copy. When the last reference is dropped, the buffer returns to
    /// the pool.
    pub fn freeze(&self, buffer: Vec<u8>) -> Bytes {
        if buffer.capacity() < self.free.capacity {
            return buffer.into();
        }
        Bytes::from_owner(Lent { buffer, home: Arc::downgrade(&self.free) })
    }
}

/// A buffer that returns to its pool when it is dropped, if the pool still exists.
struct Lent {
    buffer: Vec<u8>,
    home: Weak<Stock>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(stock) = self.home.upgrade() else { return };
        let mut buffers = stock.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < stock.limit {
            buffers.push(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_bytes_are_gone_and_no_more_than_the_limit_stay() {
        let buffers = Buffers::new(1000, 1);
        let [first, second] = [buffers.take(1000), buffers.take(999)];
        let place = first.as_ptr();
        let (first, second) = (buffers.freeze(first), buffers.freeze(second));
        let copy = first.clone();
        drop(first);
        let third = buffers.take(1000);
        assert_ne!(third.as_ptr(), place);
        drop(copy);
        drop(second);
        let fourth = buffers.take(1000);
        assert_eq!(fourth.as_ptr(), place);
        assert_eq!(buffers.take(10).capacity(), 10);
    }

    #[test]
    fn a_whole_buffer_has_the_length_that_was_asked_for() {
        let buffers = Buffers::new(1000, 2);
        for length in [1000, 300, 1000, 10, 2000] {
            let mut buffer = buffers.take_whole(length);
            assert_eq!(buffer.len(), length);
            buffer.fill(7);
            assert_eq!(buffers.freeze(buffer), vec![7; length]);
        }
        assert!(buffers.take(500).is_empty());
    }

    #[test]
    fn bytes_outlive_the_stock() {
        let buffers = Buffers::new(4, 1);
        let mut buffer = buffers.take(4);
        buffer.extend_from_slice(b"data");
        let bytes = buffers.freeze(buffer);
        drop(buffers);
        assert_eq!(bytes, "data");
    }
}
