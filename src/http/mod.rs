//! WHIP, WHEP, the API and the pages over HTTP.

pub mod auth;
