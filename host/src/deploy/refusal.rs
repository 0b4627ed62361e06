//! Why a module is not served as its file has it, and for how long that holds. Decides nothing about what is served instead.

use serde::{Deserialize, Serialize};

use crate::guest::compile::CompileError;

/// With which status a process ends that was hindered by something that may pass (`EX_TEMPFAIL`).
pub(super) const PASSING: u8 = 75;

/// What is wrong, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    problem: String,
    is_lasting: bool,
}

impl Refusal {
    /// It is the files' own fault: so it is until they change.
    pub(crate) fn lasting(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), is_lasting: true }
    }

    /// It may be otherwise the next time: a name, a folder, memory or room on a disk may be had by then.
    pub(crate) fn for_now(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), is_lasting: false }
    }

    /// What the compiler says of a file, or what has hindered it.
    pub(crate) fn of_compiler(error: &CompileError) -> Self {
        match error {
            // One that takes too long is not waited for again by everybody who deploys something else.
            CompileError::Compile { .. } | CompileError::Link { .. } | CompileError::TooLong { .. } => {
                Self::lasting(error.to_string())
            }
            CompileError::Engine(_) | CompileError::Cache(_) => Self::for_now(error.to_string()),
        }
    }

    /// What is wrong, and what to do.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// Whether it is refused until its files change.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.is_lasting
    }

    /// With which status a process ends that tells it to whoever has [started](super::errand) it.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        if self.is_lasting { 1 } else { PASSING }
    }

    /// The same in other words.
    pub(crate) fn map(self, words: impl FnOnce(String) -> String) -> Self {
        Self { problem: words(self.problem), ..self }
    }
}
