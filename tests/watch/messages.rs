//! Errors of `tcptally watch`: each names the thing, the cause and a remedy.

use crate::harness::*;
use crate::watching::*;

#[track_caller]
fn refused(options: &[&str], status: i32, words: &[&str]) {
    let mut watch = Watch::command(User::plain(), options);
    let ended = watch.session.wait();
    let stderr = watch.session.stderr();
    assert_eq!(ended.code(), Some(status), "{options:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{options:?}: {stderr}");
    }
}

#[test]
fn missing_and_invalid_options_are_usage_errors() {
    refused(&[], 2, &["--port 443"]);
    refused(
        &["--port", "1", "-i", "1s", "--resolution", "1s"],
        2,
        &["--interval", "twice --resolution", "is known only to that precision"],
    );
    refused(&["--port", "1", "--resolution", "1ms"], 2, &["--resolution", "10ms"]);
    refused(&["--port", "70000"], 2, &["70000"]);
}

#[test]
fn an_invalid_namespace_is_an_error_that_names_it() {
    refused(&["--port", "1", "--netns", "/no/such"], 1, &["/no/such", "No such file"]);
    refused(&["--port", "1", "--netns", "/proc/self/ns/uts"], 1, &["no network namespace"]);
    refused(&["--port", "1", "--netns", "999999999"], 1, &["999999999"]);
}

#[test]
fn the_cause_of_an_error_is_printed_once() {
    for (namespace, cause) in
        [("/no/such", "No such file"), ("/proc/self/ns/uts", "this is no network namespace")]
    {
        let mut watch = Watch::command(User::plain(), &["--port", "1", "--netns", namespace]);
        watch.session.wait();
        let stderr = watch.session.stderr();
        assert_eq!(stderr.matches(cause).count(), 1, "{stderr}");
    }
}

/// What a container's seccomp filter does.
#[test]
fn forbidden_netlink_sockets_are_an_error_with_a_remedy() {
    let filter = "import ctypes, os, struct, sys
BPF = lambda code, jt, jf, k: struct.pack('HBBI', code, jt, jf, k)
# socket(AF_NETLINK, ...) fails with EPERM.
program = b''.join([BPF(0x20, 0, 0, 0), BPF(0x15, 0, 3, 41), BPF(0x20, 0, 0, 16),
                    BPF(0x15, 0, 1, 16), BPF(6, 0, 0, 0x50001), BPF(6, 0, 0, 0x7fff0000)])
buffer = ctypes.create_string_buffer(program)
fprog = struct.pack('HxxxxxxQ', 6, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, fprog, 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[1], sys.argv[1:])";
    if !cfg!(target_arch = "x86_64") {
        return skip("a seccomp filter", "its numbers are of x86-64");
    }
    let python = need!(find_program("python3"), "a seccomp filter", "python3 is not installed");
    let stage = Stage::get();
    let folder = open_folder();
    let words = ["-c", filter].map(Into::into).into_iter();
    let argv: Vec<std::ffi::OsString> = [python.into_os_string()]
        .into_iter()
        .chain(words)
        .chain([stage.tcptally()])
        .chain(["watch", "--port", "1"].map(Into::into))
        .collect();
    let mut session = Session::start(&stage, User::plain(), folder.path(), &argv);
    let status = session.wait();
    let stderr = session.stderr();
    assert_eq!(status.code(), Some(1), "{stderr}");
    for word in ["refuses socket diagnostics", "container", "tcptally trace"] {
        assert!(stderr.contains(word), "{stderr}");
    }
}
