//! The container that a process is in, by the names of its control groups.

use std::sync::Arc;

use crate::sys::ptrace::Tid;

/// Returns the container that a process is in; `none` if it is in none.
pub(crate) fn container(tid: Tid) -> Option<Arc<str>> {
    let cgroups = std::fs::read_to_string(format!("/proc/{tid}/cgroup")).ok()?;
    Some(container_of(&cgroups).unwrap_or("none").into())
}

/// Length of the beginning of an id that container engines show.
const CONTAINER_ID_DIGITS: usize = 12;

/// Finds the container in the paths of control groups: cgroups(7). Engines name its group by an id of 64
/// hexadecimal digits, LXC and systemd-nspawn by its name.
fn container_of(cgroups: &str) -> Option<&str> {
    let names = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    names.flat_map(|path| path.split('/')).find_map(|name| {
        let name = name.strip_suffix(".scope").unwrap_or(name);
        let is_id = |id: &&str| id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(id) = name.rsplit(['-', ':']).next().filter(is_id) {
            return id.get(..CONTAINER_ID_DIGITS);
        }
        let prefixes = ["lxc.payload.", "machine-"];
        prefixes.into_iter().find_map(|prefix| name.strip_prefix(prefix))
    })
}

#[cfg(test)]
mod tests {
    use super::container_of;

    #[test]
    fn containers_are_named_by_their_control_groups() {
        let id = "0123456789abcdef".repeat(4);
        for (path, name) in [
            (format!("0::/system.slice/docker-{id}.scope"), Some("0123456789ab")),
            (format!("12:pids:/docker/{id}\n11:cpu:/docker/{id}"), Some("0123456789ab")),
            (format!("0::/kubepods.slice/pod1/cri-containerd-{id}.scope"), Some("0123456789ab")),
            (format!("0::/kubepods/pod1/cri-containerd:{id}"), Some("0123456789ab")),
            (format!("0::/user.slice/libpod-{id}.scope/container"), Some("0123456789ab")),
            ("0::/lxc.payload.web1/init.scope".into(), Some("web1")),
            ("0::/machine.slice/machine-web2.scope/payload".into(), Some("web2")),
            ("0::/system.slice/nginx.service".into(), None),
            ("0::/".into(), None),
        ] {
            assert_eq!(container_of(&path), name, "{path}");
        }
    }
}
