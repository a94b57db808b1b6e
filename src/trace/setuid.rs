//! Detects programs that do not get their setuid privileges because they are traced.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::sys::ptrace::Tid;

use super::procfs;

/// Returns the path of the program that `tid` has just executed, if its file is setuid or setgid
/// and the process does not have the user or group of the file.
pub(super) fn lost(tid: Tid) -> Option<String> {
    let exe = format!("/proc/{tid}/exe");
    let file = fs::metadata(&exe).ok()?;
    let effective = |name| procfs::status_field(tid, name)?.split_whitespace().nth(1)?.parse().ok();
    let lost_uid = file.mode() & libc::S_ISUID != 0 && effective("Uid") != Some(file.uid());
    let lost_gid = file.mode() & libc::S_ISGID != 0
        && file.mode() & libc::S_IXGRP != 0
        && effective("Gid") != Some(file.gid());
    (lost_uid || lost_gid).then(|| match fs::read_link(&exe) {
        Ok(path) => path.display().to_string(),
        Err(_) => format!("process {tid}"),
    })
}
