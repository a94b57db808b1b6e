//! Checks and raises the limit of open files: getrlimit(2), `RLIMIT_NOFILE`.

use std::os::fd::RawFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Whether `spare` more descriptors can be opened; `newest` is the latest one.
pub(crate) fn has_room(spare: u64, newest: RawFd) -> bool {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    newest as u64 + spare < limit
}

/// Raises the soft limit to the hard limit. Returns whether it was lower.
pub(crate) fn raise_limit() -> bool {
    let limit = getrlimit(Resource::RLIMIT_NOFILE);
    limit.is_ok_and(|(soft, hard)| {
        soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok()
    })
}
