//! Why the store did not do something. What counts is whether the file is damaged or the system refused: the one is set
//! aside, the other tried again.

use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};

/// Why the store did not do something.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The system refused; the file is as it was, or can be repaired.
    #[error("{0}")]
    Refused(String),
    /// The file is not what was written.
    #[error("{0}")]
    Damaged(String),
}

/// Runs what trusts the file. The store is written for files that only it has written; others may make it panic.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Failure(error))) => Err(error),
        Err(_) => Err(StoreError::Damaged("its structure is broken".to_owned())),
    }
}

/// A [`StoreError`] on its way out of the store's own kinds of error.
pub(super) struct Failure(pub(super) StoreError);

pub(super) fn damaged(why: &str) -> Failure {
    Failure(StoreError::Damaged(why.to_owned()))
}

fn refused(error: &impl Display) -> Failure {
    Failure(StoreError::Refused(error.to_string()))
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error {
            // What is not there where the structure says it is: the file was cut.
            StorageError::Io(io) if io.kind() == io::ErrorKind::UnexpectedEof => {
                damaged("it ends too early")
            }
            // Not a file of the store at all.
            StorageError::Io(io) if io.kind() == io::ErrorKind::InvalidData => {
                damaged(&io.to_string())
            }
            StorageError::Corrupted(why) => damaged(&why),
            StorageError::Io(io) => refused(&io),
            other => refused(&other),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        StorageError::Io(error).into()
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(error) => error.into(),
            DatabaseError::UpgradeRequired(_) | DatabaseError::RepairAborted => {
                damaged(&error.to_string())
            }
            other => refused(&other),
        }
    }
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            other => damaged(&other.to_string()),
        }
    }
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => refused(&other),
        }
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            other => refused(&other),
        }
    }
}
