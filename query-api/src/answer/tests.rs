//! Answers in each format, read back.
