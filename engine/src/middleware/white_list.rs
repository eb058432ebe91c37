//! `white_list`: who may come at all.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{By, Passage, Step};
use crate::error::Failure;
use crate::http::head::tokens;
use crate::proxy::reply::Reply;
use crate::snapshot::middleware as document;

/// `whiteList`.
#[derive(Debug)]
pub(crate) struct WhiteList {
    ranges: Vec<IpNet>,
    use_forwarded_for: bool,
}

impl WhiteList {
    pub(super) fn build(document: &document::WhiteList) -> Result<Self, String> {
        let range = |text: &String| {
            let address = text.trim().parse::<IpAddr>().map(IpNet::from);
            let wrong = |_| format!("white_list: \"{text}\" is neither an address nor a network");
            address.or_else(|_| text.trim().parse()).map_err(wrong)
        };
        let ranges = document.source_ranges.iter().map(range).collect::<Result<_, _>>()?;
        Ok(Self { ranges, use_forwarded_for: document.use_x_forwarded_for })
    }

    pub(super) fn step(&self, passage: &Passage<'_>) -> Step<'_> {
        if self.admits(passage) {
            return Step::Continue;
        }
        let failure = Failure::WhiteList;
        Step::refuse(failure, Reply::plain(403, "Forbidden"), By::WhiteList)
    }

    /// As in Traefik 1.7: any address that is told admits, but one before it that is none refuses. No ranges admit
    /// everybody.
    fn admits(&self, passage: &Passage<'_>) -> bool {
        if self.ranges.is_empty() {
            return true;
        }
        if self.use_forwarded_for {
            for element in passage.values("X-Forwarded-For").into_iter().flat_map(tokens) {
                match std::str::from_utf8(element).ok().and_then(|text| text.parse().ok()) {
                    None => return false,
                    Some(address) if self.names(address) => return true,
                    Some(_) => {}
                }
            }
        }
        self.names(passage.peer.ip())
    }

    fn names(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.ranges.iter().any(|range| range.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::tests::Asked;

    #[test]
    fn addresses() {
        let list = |ranges: &[&str], use_x_forwarded_for| {
            let source_ranges = ranges.iter().map(|range| (*range).to_owned()).collect();
            WhiteList::build(&document::WhiteList { source_ranges, use_x_forwarded_for })
        };
        let ask = |ranges: &[&str], use_told, peer: &str, told: &str| {
            let fields = if told.is_empty() { String::new() } else { format!("X-Forwarded-For: {told}\r\n") };
            let asked = Asked::new("GET / HTTP/1.1\r\nHost: a\r\n", &fields).from(peer);
            list(ranges, use_told).unwrap().admits(&asked.passage())
        };
        assert!(ask(&[], false, "1.2.3.4", ""));
        assert!(ask(&["1.2.3.4"], false, "1.2.3.4", ""));
        assert!(ask(&["1.2.3.4"], false, "::ffff:1.2.3.4", ""));
        assert!(ask(&["fe80::/16", "10.0.0.0/8"], false, "fe80::1", ""));
        assert!(!ask(&["1.2.3.4"], false, "1.2.3.5", "1.2.3.4"));
        assert!(ask(&["1.2.3.4"], true, "1.2.3.5", "9.9.9.9, 1.2.3.4"));
        assert!(ask(&["1.2.3.5"], true, "1.2.3.5", "9.9.9.9"));
        assert!(!ask(&["1.2.3.5"], true, "1.2.3.5", "unknown"));
        assert!(ask(&["1.2.3.5"], true, "9.9.9.9", "1.2.3.5, unknown"));
        assert!(list(&["1.2.3"], false).unwrap_err().contains("\"1.2.3\""));
    }
}
