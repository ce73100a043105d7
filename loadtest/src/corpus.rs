//! Seeds for the fuzz target of Icecore's decoder.

use crate::cli::CorpusArgs;
use crate::error::Error;
use crate::generate::{Plan, Signal, requests};

/// When the requests begin: a moment that never changes, so that the seeds do not.
const START_NANOS: u64 = 1_700_000_000_000_000_000;

/// Writes them, and says how many there are.
pub(crate) fn write(arguments: &CorpusArgs) -> Result<u64, Error> {
    let CorpusArgs { out, requests: count, items } = arguments;
    let failed = |source| Error::File { action: "write", path: out.clone(), source };
    std::fs::create_dir_all(out).map_err(failed)?;
    let mut written = 0;
    for (code, signal) in (0_u8..).zip([Signal::Traces, Signal::Metrics, Signal::Logs]) {
        for seed in 0..*count {
            let plan = Plan {
                seed,
                run: "corpus".to_owned(),
                signal,
                items: *items,
                start_nanos: START_NANOS,
                items_per_second: 1_000,
                series: 600,
            };
            for request in requests(&plan) {
                let bytes = [&[code], request.message.as_slice()].concat();
                let path = out.join(format!("{}-{seed}", signal.name()));
                std::fs::write(path, bytes).map_err(failed)?;
                written += 1;
            }
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: seeds are written twice.
    /// Guarantees: one a request, the same both times, each with its signal in front.
    #[test]
    fn seeds_stay_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = CorpusArgs { out: folder.path().join("seeds"), requests: 2, items: 5 };
        assert_eq!(write(&arguments).unwrap(), 6);
        let read = || std::fs::read(arguments.out.join("logs-1")).unwrap();
        let before = read();
        assert_eq!((before[0], before.len() > 100), (2, true));
        write(&arguments).unwrap();
        assert_eq!(read(), before);
    }
}
