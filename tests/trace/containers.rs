//! `--by container`: servers in control groups as container engines make them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::*;

/// Folders of control groups; removed with their last process.
struct Groups(Vec<PathBuf>);

impl Groups {
    /// Creates a group with this path below one of this test. `None` where that is not possible.
    fn new(path: &str) -> Option<Groups> {
        let name = format!("tcptally-test-{}/{path}", std::process::id());
        // Version 2 alone, or beside version 1.
        ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].into_iter().find_map(|root| {
            let root = Path::new(root);
            let group = root.join(&name);
            root.join("cgroup.procs").exists().then_some(())?;
            fs::create_dir_all(&group).ok()?;
            let folders = group.ancestors().take_while(|folder| *folder != root);
            Some(Groups(folders.map(Path::to_path_buf).collect()))
        })
    }

    fn innermost(&self) -> &Path {
        &self.0[0]
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for folder in &self.0 {
            // Others of this test may be below it.
            wait_at_most(std::time::Duration::from_secs(5), || {
                let removed = fs::remove_dir(folder);
                let is_used = || {
                    fs::read_dir(folder)
                        .is_ok_and(|mut all| all.any(|e| e.is_ok_and(|e| e.path().is_dir())))
                };
                (removed.is_ok() || is_used()).then_some(())
            });
        }
    }
}

/// A server in this control group, which sees it as the topmost one, as in a container.
fn contained(program: &Path, group: &Path) -> Server {
    let mut server = Server::c(program, &["prefork=2"], &[Listens::V4]);
    let script = "echo $$ > \"$0/cgroup.procs\" && exec unshare --cgroup \"$@\"";
    let words = ["sh".into(), "-c".into(), script.into(), group.as_os_str().to_owned()];
    server.argv.splice(0..0, words);
    server
}

#[test]
fn connections_are_counted_by_the_container_of_the_process_that_accepted() {
    if !is_root() {
        return skip("containers", "only root may make control groups");
    }
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let pod = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1f0e.slice";
    let names = [
        "system.slice/docker-{}.scope".to_owned(),
        "docker/{}".to_owned(),
        "machine.slice/libpod-{}.scope/container".to_owned(),
        format!("{pod}/cri-containerd-{{}}.scope"),
        format!("{pod}/crio-{{}}.scope"),
    ];
    let id = |n: usize| format!("{n:064x}").chars().rev().collect::<String>();
    let mut groups = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let group = Groups::new(&name.replace("{}", &id(n + 1)));
        groups.push(need!(group, "containers", "no control group can be made"));
    }
    let mut servers: Vec<(Server, String)> = groups
        .iter()
        .enumerate()
        .map(|(n, group)| (contained(&program, group.innermost()), id(n + 1)[..12].to_owned()))
        .collect();
    servers.push((Server::c(&program, &["loop"], &[Listens::V4]), "none".into()));
    let mut sessions: Vec<Session> =
        servers.iter().map(|(server, _)| server.start(&stage, User::Oneself)).collect();
    let pids: Vec<u32> = sessions.iter().map(|session| session.pid).collect();
    let list: Vec<String> = pids.iter().map(ToString::to_string).collect();
    for engine in attach_engines(User::Oneself) {
        let options = ["--engine", engine, "-p", &list.join(","), "--by", "container"];
        let mut run = Run::attach(&stage, User::Oneself, &options, &pids);
        let mut expected = Vec::new();
        for (n, (server, container)) in servers.iter().enumerate() {
            let made = server.clients(1, 10 + n, 1).run();
            expected.push((server.ports[0].number.into(), container.clone(), made.values().sum()));
        }
        let report = run.end_attached();
        report.assert_complete();
        let row = |row: &serde_json::Value| -> (u64, String, u64) {
            let number = |name: &str| row[name].as_u64().expect("a number");
            let container = row["container"].as_str().expect("a container");
            (number("port"), container.to_owned(), number("count"))
        };
        let mut told: Vec<_> = report.0["rows"].as_array().expect("rows").iter().map(row).collect();
        told.sort();
        expected.sort();
        assert_eq!(told, expected, "{engine}");
    }
    sessions.iter_mut().for_each(Session::kill_all);
}
