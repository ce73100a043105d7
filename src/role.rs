//! The roles that a process plays.

/// Which parts a process opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Observe this machine.
    pub(crate) probe: bool,
    /// Receive OTLP, keep the log, flush.
    pub(crate) ingest: bool,
    /// Answer SQL and serve the page.
    pub(crate) query: bool,
    /// Merge small files and delete what left the catalog.
    pub(crate) compact: bool,
    /// Forward what comes in.
    pub(crate) bridge: bool,
}

impl Roles {
    const NONE: Self =
        Self { probe: false, ingest: false, query: false, compact: false, bridge: false };

    /// The roles of a command, where it is a service and this binary has what it needs.
    pub(crate) fn of_command(command: &str) -> Option<Self> {
        let (probe, store, query) =
            (cfg!(feature = "probe"), cfg!(feature = "ingest"), cfg!(feature = "query"));
        let bridge = cfg!(feature = "bridge");
        match command {
            "run" if store && query => {
                Some(Self { probe, ingest: true, query, compact: true, bridge })
            }
            "probe" if probe => Some(Self { probe: true, ..Self::NONE }),
            // What an ingester receives it also forwards: the log it reads from is its own.
            "ingest" if store => Some(Self { ingest: true, bridge, ..Self::NONE }),
            "query" if store && query => Some(Self { query: true, ..Self::NONE }),
            "compact" if store => Some(Self { compact: true, ..Self::NONE }),
            _ => None,
        }
    }
}
