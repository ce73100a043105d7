//! A walk over all open sockets of the machine, in one pass through the kernel.
//!
//! Invariant: what is held of a walk is bounded; sockets beyond the bound are counted by the caller.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aya::programs::Iter;
use aya::{Btf, Ebpf};
use icecore_probe_events::Account;

use super::datagrams::{Chat, Datagrams};
use super::drops::{Drops, Fallen};
use super::tracepoints::{program, refused};
use crate::error::Error;

const SOCKETS: &str = "sockets";
/// What the kernel iterates over.
const TARGET: &str = "task_file";

/// Loads the program that is called for each open file.
pub(crate) fn load_walk(programs: &mut Ebpf, types: &Btf) -> Result<(), Error> {
    let program: &mut Iter = program(programs, SOCKETS)?;
    program.load(TARGET, types).map_err(refused(SOCKETS))
}

/// Walks over the sockets whenever it is asked to. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Walk {
    /// Whoever walks does not keep the hooks on.
    programs: Weak<Mutex<Ebpf>>,
    sockets_max: usize,
}

/// What a walk has found.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// A socket that several processes hold is there once for each.
    pub(crate) sockets: Vec<Account>,
    /// There were more than the bound allows.
    pub(crate) cut: bool,
    /// What was thrown away of TCP's segments meanwhile.
    pub(crate) fallen: Vec<Fallen>,
    /// What passed by UDP meanwhile.
    pub(crate) chats: Vec<Chat>,
}

impl Walked {
    /// What there is to tell of a round, each where the kernel tells it.
    pub(crate) fn take(
        walk: Option<&Walk>,
        drops: Option<&Drops>,
        datagrams: Option<&Datagrams>,
    ) -> Result<Self, Error> {
        let walked = walk.map_or_else(|| Ok(Self::default()), Walk::take)?;
        let fallen = drops.map(Drops::take).unwrap_or_default();
        let chats = datagrams.map(Datagrams::take).unwrap_or_default();
        Ok(Self { fallen, chats, ..walked })
    }
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").field("sockets_max", &self.sockets_max).finish_non_exhaustive()
    }
}

impl Walk {
    /// The `sockets` program is loaded, or every walk fails.
    pub(crate) fn new(programs: &Arc<Mutex<Ebpf>>, sockets_max: usize) -> Self {
        Self { programs: Arc::downgrade(programs), sockets_max }
    }

    /// Takes some 100 ns for each open file of the machine: not for a thread of the runtime.
    pub(crate) fn take(&self) -> Result<Walked, Error> {
        let file = self.begin()?;
        let bytes_max = self.sockets_max * size_of::<Account>();
        let mut bytes = Vec::new();
        let mut limited = file.take(bytes_max as u64 + 1);
        // After a million files without a socket among them the kernel wants to be asked again.
        while let Err(error) = limited.read_to_end(&mut bytes) {
            if error.kind() != std::io::ErrorKind::WouldBlock {
                return Err(Error::Walk(error));
            }
        }
        let whole = bytes.chunks_exact(size_of::<Account>());
        let sockets = whole.filter_map(Account::read).take(self.sockets_max).collect();
        Ok(Walked { sockets, cut: bytes.len() > bytes_max, ..Walked::default() })
    }

    fn begin(&self) -> Result<std::fs::File, Error> {
        let gone = || Error::Walk(std::io::Error::other("the hooks are off"));
        let programs = self.programs.upgrade().ok_or_else(gone)?;
        let mut programs = programs.lock().unwrap_or_else(PoisonError::into_inner);
        let program: &mut Iter = program(&mut programs, SOCKETS)?;
        let link = program.attach().map_err(refused(SOCKETS))?;
        let link = program.take_link(link).map_err(refused(SOCKETS))?;
        link.into_file().map_err(|error| Error::Walk(std::io::Error::other(error)))
    }
}
