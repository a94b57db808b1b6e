//! [`Networks`]: the autonomous system and the country of an address, from databases in the format of
//! MaxMind (GeoLite2, IPinfo and others).

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use maxminddb::{MaxMindDbError, Reader};
use serde::Deserialize;

/// Open databases.
pub struct Networks {
    databases: Vec<Database>,
}

struct Database {
    path: PathBuf,
    reader: Reader<Vec<u8>>,
    failures: AtomicU64,
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    /// The file cannot be opened or read.
    #[error("cannot read the database of networks '{}'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// The file is damaged, or of another kind.
    #[error("'{}' is no database of networks (mmdb) that can be read", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: MaxMindDbError,
    },
}

/// The entry of a network in a database. The field names are those of GeoLite2 and of IPinfo.
#[derive(Default, Deserialize)]
struct Record {
    autonomous_system_number: Option<u32>,
    #[serde(alias = "as_name")]
    autonomous_system_organization: Option<String>,
    asn: Option<String>,
    country: Option<Country>,
    country_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Country {
    Record { iso_code: Option<String> },
    Name(String),
}

impl Record {
    fn asn(self) -> Option<String> {
        let number = self.autonomous_system_number.map(|n| format!("AS{n}")).or(self.asn)?;
        Some(match self.autonomous_system_organization {
            Some(name) => format!("{number} {name}"),
            None => number,
        })
    }

    fn country(self) -> Option<String> {
        self.country_code.or(match self.country? {
            Country::Record { iso_code } => iso_code,
            Country::Name(name) => Some(name),
        })
    }
}

impl Networks {
    /// Opens databases. Each has systems, countries, or both.
    ///
    /// # Errors
    /// Names the first that cannot be read.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Networks, NetworksError> {
        let open = |path: &P| {
            let path = path.as_ref().to_path_buf();
            match Reader::open_readfile(&path) {
                Ok(reader) => Ok(Database { path, reader, failures: AtomicU64::new(0) }),
                Err(MaxMindDbError::Io(source)) => Err(NetworksError::Read { path, source }),
                Err(source) => Err(NetworksError::Format { path, source }),
            }
        };
        let databases = paths.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Networks { databases })
    }

    /// The number and the name of the autonomous system: `AS64500 Example`.
    pub fn asn(&self, ip: IpAddr) -> Option<String> {
        self.find(ip, Record::asn)
    }

    /// The country: `DE`.
    pub fn country(&self, ip: IpAddr) -> Option<String> {
        self.find(ip, Record::country)
    }

    /// The databases that could not be read for some addresses, because they are damaged, and how often.
    pub fn failures(&self) -> impl Iterator<Item = (&Path, u64)> {
        let all =
            self.databases.iter().map(|d| (d.path.as_path(), d.failures.load(Ordering::Relaxed)));
        all.filter(|(_, failures)| *failures > 0)
    }

    fn find(&self, ip: IpAddr, field: impl Fn(Record) -> Option<String>) -> Option<String> {
        self.databases.iter().find_map(|Database { reader, failures, .. }| {
            let is_v6_in_v4 = ip.is_ipv6() && reader.metadata().ip_version == 4;
            if is_v6_in_v4 {
                return None;
            }
            let record = reader.lookup(ip).and_then(|found| found.decode::<Record>());
            match record {
                Ok(record) => field(record?),
                Err(_) => {
                    failures.fetch_add(1, Ordering::Relaxed);
                    None
                }
            }
        })
    }
}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.databases.iter().map(|database| &database.path)).finish()
    }
}

/// Only the same are equal.
impl PartialEq for Networks {
    fn eq(&self, other: &Networks) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Networks {}
