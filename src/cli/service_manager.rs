//! [`ServiceManager`]: what a service manager such as systemd is told: sd_notify(3), and priorities of messages
//! in the journal (sd-daemon(3)).

use std::time::{Duration, Instant};

use sd_notify::{NotifyState, notify};

/// Tells the service manager that counting has begun, and that it still goes on (WatchdogSec=).
pub(super) struct ServiceManager {
    /// How often the watchdog wants to hear, halved as sd_watchdog_enabled(3) advises.
    interval: Option<Duration>,
    next: Option<Instant>,
    has_command: bool,
}

impl ServiceManager {
    /// Reads what the service manager asks for. A started command has NOTIFY_SOCKET for itself, so
    /// nothing is sent then.
    pub(super) fn new(has_command: bool) -> ServiceManager {
        let interval = sd_notify::watchdog_enabled().filter(|_| !has_command);
        ServiceManager { interval: interval.map(|interval| interval / 2), next: None, has_command }
    }

    /// Counting has begun.
    pub(super) fn ready(&mut self) {
        if !self.has_command {
            // Nobody may listen.
            let _ = notify(&[NotifyState::Ready]);
            self.next = self.interval.and_then(|interval| Instant::now().checked_add(interval));
        }
    }

    /// When the watchdog wants to hear next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Counting goes on.
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
