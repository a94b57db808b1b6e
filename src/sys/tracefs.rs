//! Reads descriptions of tracepoints from tracefs, even if it is not mounted.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// The usual mount points of tracefs.
const MOUNTED: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The description of a tracepoint in tracefs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// Its number, for perf_event_open(2).
    pub id: u16,
    /// Its fields, as text.
    pub format: String,
}

/// Reads the files `id` and `format` of a tracepoint such as `sock/inet_sock_set_state`. For root,
/// also works if tracefs is not mounted, with a detached mount (fsmount(2), Linux 5.2).
///
/// # Errors
/// NotFound if the kernel has no such tracepoint.
pub(crate) fn describe(tracepoint: &str) -> io::Result<Description> {
    let mut error = io::Error::from(io::ErrorKind::NotFound);
    for root in MOUNTED {
        match read(root, tracepoint) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => error = e,
            found => return found,
        }
    }
    let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC);
    let mount = context.and_then(|context| {
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
    });
    match mount {
        Ok(mount) => read(&format!("/proc/self/fd/{}", mount.as_raw_fd()), tracepoint),
        // The mounted one may be inaccessible to this user.
        Err(_) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Err(e) => Err(e.into()),
    }
}

fn read(root: &str, tracepoint: &str) -> io::Result<Description> {
    let file = |name: &str| fs::read_to_string(format!("{root}/events/{tracepoint}/{name}"));
    let id = file("id")?.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Description { id, format: file("format")? })
}
