//! [`UserCache`]: small files in the cache directory of the user.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The directory of tcptally there. Files that others may write are neither read nor written.
#[derive(Debug)]
pub(super) struct UserCache(PathBuf);

impl UserCache {
    /// By XDG_CACHE_HOME or HOME; `None` where neither is set.
    pub(super) fn of_this_user() -> Option<UserCache> {
        let named = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let base = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")))?;
        Some(UserCache::below(&base))
    }

    /// The same in a directory of caches.
    pub(super) fn below(base: &Path) -> UserCache {
        UserCache(base.join("tcptally"))
    }

    /// The content of a file, up to `max_bytes`.
    pub(super) fn read(&self, name: &str, max_bytes: u64) -> Option<String> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let mut file = options.open(self.0.join(name)).ok()?;
        let about = file.metadata().ok()?;
        if !about.is_file() || !is_mine(&about) {
            return None;
        }
        let mut text = String::new();
        Read::take(&mut file, max_bytes).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Writes a temporary file and renames it, so the file is never incomplete.
    pub(super) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let about = fs::symlink_metadata(&self.0)?;
        if !about.is_dir() || !is_mine(&about) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let beside = self.0.join(format!("{name}.{}", std::process::id()));
        let written =
            write_new(&beside, text).and_then(|()| fs::rename(&beside, self.0.join(name)));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(path)?.write_all(text.as_bytes())
}

/// Whether it belongs to this user and nobody else may write to it.
fn is_mine(about: &fs::Metadata) -> bool {
    about.uid() == nix::unistd::geteuid().as_raw() && about.mode() & 0o022 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const FILE: &str = "file";

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let home = tempfile::tempdir().unwrap();
        let cache = UserCache::below(home.path());
        assert_eq!(cache.read(FILE, 100), None);
        cache.write(FILE, "first").unwrap();
        cache.write(FILE, "second").unwrap();
        assert_eq!(cache.read(FILE, 100).as_deref(), Some("second"));
        assert_eq!(fs::read_dir(&cache.0).unwrap().count(), 1);
        let mode = fs::metadata(cache.0.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn no_file_that_others_may_write_is_trusted() {
        let home = tempfile::tempdir().unwrap();
        let cache = UserCache::below(home.path());
        cache.write(FILE, "text").unwrap();
        let file = cache.0.join(FILE);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o620)).unwrap();
        assert_eq!(cache.read(FILE, 100), None);
        fs::rename(&file, home.path().join("elsewhere")).unwrap();
        fs::set_permissions(home.path().join("elsewhere"), fs::Permissions::from_mode(0o600))
            .unwrap();
        std::os::unix::fs::symlink(home.path().join("elsewhere"), &file).unwrap();
        assert_eq!(cache.read(FILE, 100), None);
        fs::set_permissions(&cache.0, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(cache.write(FILE, "text").is_err());
    }
}
