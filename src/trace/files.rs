//! How many files may be open: getrlimit(2), `RLIMIT_NOFILE`.

use std::os::fd::RawFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Whether there is room for `spare` more descriptors above this one, which is the newest.
pub fn leaves(spare: u64, newest: RawFd) -> bool {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    newest as u64 + spare < limit
}

/// Raises the limit as far as that is allowed; whether it was lower.
pub fn allow_more() -> bool {
    let limit = getrlimit(Resource::RLIMIT_NOFILE);
    limit.is_ok_and(|(soft, hard)| {
        soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok()
    })
}
