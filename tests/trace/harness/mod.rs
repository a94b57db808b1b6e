//! What the tests share: real servers, clients that count what they do, and the program itself, run
//! as the user of the tests and as an unprivileged user.
//!
//! Nothing here waits without a bound, and nothing that a test starts outlives it: each program
//! runs in a session of its own, all of which is ended by PID.

mod clients;
mod guard;
mod process;
mod pty;
mod run;
mod servers;
mod stage;

pub use clients::*;
pub use process::*;
pub use pty::*;
pub use run::*;
pub use servers::*;
pub use stage::*;
