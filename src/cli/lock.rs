//! Locks a mutex, even if another thread panicked while holding it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks counts. A panic in another thread does not make them inconsistent.
pub(super) fn lock<T>(counts: &Mutex<T>) -> MutexGuard<'_, T> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}
