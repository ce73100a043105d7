//! The agent on the real kernel: real servers and clients, an OTLP receiver that writes down what
//! comes, and every request there once on each side.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may panic")]

#[path = "../../../tests/it/cluster.rs"]
mod cluster;
mod connections;
mod databases;
mod datagrams;
mod dns;
mod edges;
mod http2;
mod links;
mod lives;
mod pairs;
mod peers;
mod pods;
mod processes;
mod profiles;
mod queues;
mod receiver;
mod requests;
mod rules;
mod served;
mod stops;
mod tls;
mod tls_boring;
mod tls_go;
mod tls_rustls;
mod watch;
mod ways;
mod websocket;
