//! The two sysctls that decide who may observe what.

use std::fmt;
use std::fs;

const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";
const PTRACE_SCOPE: &str = "/proc/sys/kernel/yama/ptrace_scope";

/// Values of both, or those that this machine has.
pub enum Setting {
    AsFound,
    Set { paranoid: i32, ptrace_scope: i32 },
}

impl Setting {
    /// In a virtual machine each value of one with the usual value of the other. Yama does not allow
    /// to lower `ptrace_scope` 3, so it comes last. `TCPTALLY_KERNEL_SETTINGS=WORD` selects some.
    pub fn all() -> Vec<Setting> {
        if std::env::var_os("TCPTALLY_MAY_SET_SYSCTLS").is_none() {
            return vec![Setting::AsFound];
        }
        let all = [(2, 0), (-1, 0), (3, 0), (4, 0), (2, 1), (2, 2), (2, 3)];
        let all = all.map(|(paranoid, ptrace_scope)| Setting::Set { paranoid, ptrace_scope });
        let selected = std::env::var("TCPTALLY_KERNEL_SETTINGS").unwrap_or_default();
        all.into_iter().filter(|setting| setting.to_string().contains(&selected)).collect()
    }

    /// Whether everything is tried under it, and not only what it is about.
    pub fn is_usual(&self) -> bool {
        matches!(self, Setting::AsFound | Setting::Set { paranoid: 2, ptrace_scope: 0 })
    }

    pub fn apply(&self) -> Result<(), String> {
        let Setting::Set { paranoid, ptrace_scope } = self else { return Ok(()) };
        for (file, value) in [(PARANOID, paranoid), (PTRACE_SCOPE, ptrace_scope)] {
            let value = value.to_string();
            let is_set = || fs::read_to_string(file).is_ok_and(|text| text.trim() == value);
            if !is_set() {
                fs::write(file, &value).map_err(|error| format!("{file}: {error}"))?;
            }
            if !is_set() {
                return Err(format!("{file} does not become {value}"));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::AsFound => f.write_str("as found"),
            Setting::Set { paranoid, ptrace_scope: 0 } => write!(f, "paranoid {paranoid}"),
            Setting::Set { ptrace_scope, .. } => write!(f, "Yama {ptrace_scope}"),
        }
    }
}
