//! [`ServiceManager`]: notifies a service manager such as systemd (sd_notify(3)), and detects whether stderr goes
//! to the journal, which reads priorities (sd-daemon(3)).

use std::time::{Duration, Instant};

use sd_notify::{NotifyState, notify};

/// Notifies the service manager that counting has started, and that it is still running (WatchdogSec=).
pub(super) struct ServiceManager {
    /// Time between two watchdog notifications: half the watchdog timeout, as sd_watchdog_enabled(3) advises.
    interval: Option<Duration>,
    next: Option<Instant>,
    has_command: bool,
}

impl ServiceManager {
    /// Reads the watchdog timeout from the environment. If a command is started, NOTIFY_SOCKET is for the command,
    /// so nothing is sent.
    pub(super) fn new(has_command: bool) -> ServiceManager {
        let interval = sd_notify::watchdog_enabled().filter(|_| !has_command);
        ServiceManager { interval: interval.map(|interval| interval / 2), next: None, has_command }
    }

    /// Reports that counting has started (READY=1).
    pub(super) fn ready(&mut self) {
        if !self.has_command {
            // Failure is harmless: there may be no listener.
            let _ = notify(&[NotifyState::Ready]);
            self.next = self.interval.and_then(|interval| Instant::now().checked_add(interval));
        }
    }

    /// When the next watchdog notification is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Reports that counting is still running (WATCHDOG=1), if that is due.
    pub(super) fn alive(&mut self) {
        // Called for each connection: without a watchdog no clock is read.
        let Some((interval, at)) = self.interval.zip(self.next) else { return };
        let now = Instant::now();
        if at <= now {
            let _ = notify(&[NotifyState::Watchdog]);
            self.next = now.checked_add(interval);
        }
    }
}

/// Whether stderr goes to the journal, which takes a priority before each line: JOURNAL_STREAM has the
/// device and inode of the stream, see systemd.exec(5).
pub(super) fn is_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let Some((device, inode)) = stream.split_once(':') else { return false };
    let Ok(stderr) = nix::sys::stat::fstat(std::io::stderr()) else { return false };
    device.parse() == Ok(stderr.st_dev) && inode.parse() == Ok(stderr.st_ino)
}
