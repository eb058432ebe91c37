//! What a service does beside choosing a server: knowing which are healthy, keeping clients to theirs, limiting, and
//! refusing for a while. Nothing here knows of sockets but [`check`].

pub(crate) mod breaker;
pub(crate) mod buffering;
pub(crate) mod check;
pub(crate) mod connections;
pub(crate) mod expression;
pub(crate) mod health;
pub(crate) mod source;
pub(crate) mod sticky;
