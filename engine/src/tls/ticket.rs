//! Session tickets under keys that all data nodes share, so that a client may come back to any of them (RFC 5077, RFC
//! 8446 section 4.6.1).

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use data_encoding::BASE64;
use rustls::server::ProducesTickets;

use crate::snapshot::ClientCa;

/// Bytes of the name of a key, which stands in front of its tickets.
const NAME: usize = 16;
/// Bytes of a key.
const KEY: usize = 32;
/// How long a client is told that a ticket is good for, in seconds: a key is the current one for as long, and is known
/// for as long again. (The leader of the cluster changes the keys.)
const LIFETIME: u32 = 12 * 60 * 60;
/// Longest ticket that is tried: more than any client's certificate chain takes.
const MAX_TICKET: usize = 64 * 1024;

/// The keys of tickets; the first one encrypts, all decrypt.
pub(crate) struct TicketKeys {
    documents: Vec<String>,
    keys: Vec<([u8; NAME], LessSafeKey)>,
}

impl std::fmt::Debug for TicketKeys {
    /// Without the keys: they must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketKeys").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl TicketKeys {
    /// Reads the keys: each 48 bytes in base64, 16 for the name and 32 for the key.
    pub(crate) fn read(documents: &[String]) -> Result<Self, String> {
        let wrong = || "ticket_keys: a key is not 48 bytes in base64".to_owned();
        let key = |document: &String| {
            let bytes = BASE64.decode(document.as_bytes()).map_err(|_| wrong())?;
            let (name, key) =
                bytes.split_first_chunk::<NAME>().filter(|(_, key)| key.len() == KEY).ok_or_else(wrong)?;
            let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| wrong())?;
            Ok((*name, LessSafeKey::new(key)))
        };
        let keys = documents.iter().map(key).collect::<Result<_, String>>()?;
        Ok(Self { documents: documents.to_vec(), keys })
    }

    /// Whether these are the keys of a snapshot.
    pub(crate) fn are(&self, documents: &[String]) -> bool {
        self.documents == documents
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Makes and reads the tickets of entry points that ask the same of their clients.
///
/// A resumed session is not asked for a certificate again. So tickets are bound to what was asked when the session was
/// made: on an entry point with another `client_ca` they are worth nothing.
#[derive(Debug)]
pub(crate) struct Tickets {
    keys: Arc<TicketKeys>,
    demand: [u8; 32],
}

impl Tickets {
    /// Tickets under these keys.
    pub(crate) fn new(keys: Arc<TicketKeys>, client_ca: Option<&ClientCa>) -> Self {
        let mut demand = [0; 32];
        if let Some(client_ca) = client_ca {
            let mut context = digest::Context::new(&digest::SHA256);
            context.update(&[u8::from(client_ca.optional)]);
            context.update(client_ca.pem.as_bytes());
            demand.copy_from_slice(context.finish().as_ref());
        }
        Self { keys, demand }
    }

    fn context(&self, name: &[u8; NAME]) -> Aad<[u8; NAME + 32]> {
        let mut context = [0; NAME + 32];
        context[..NAME].copy_from_slice(name);
        context[NAME..].copy_from_slice(&self.demand);
        Aad::from(context)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.keys.is_empty()
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    /// The key's name, a random nonce, the encrypted session with its tag.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.keys.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(NAME + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let session = &mut ticket[NAME + NONCE_LEN..];
        let tag = key.seal_in_place_separate_tag(nonce, self.context(name), session).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > MAX_TICKET {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, session) = rest.split_first_chunk::<NONCE_LEN>()?;
        // The name is no secret.
        let (_, key) = self.keys.keys.iter().find(|(known, _)| known == name)?;
        let mut session = session.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.open_in_place(nonce, self.context(name), &mut session).ok()?.len();
        session.truncate(length);
        Some(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(numbers: &[u8]) -> Arc<TicketKeys> {
        let documents: Vec<_> = numbers.iter().map(|number| BASE64.encode(&[*number; NAME + KEY])).collect();
        Arc::new(TicketKeys::read(&documents).unwrap())
    }

    fn tickets(numbers: &[u8]) -> Tickets {
        Tickets::new(keys(numbers), None)
    }

    #[test]
    fn any_key_decrypts_and_the_first_encrypts() {
        let ticket = tickets(&[1]).encrypt(b"session").unwrap();
        for known in [&[1][..], &[2, 1], &[1, 2]] {
            assert_eq!(tickets(known).decrypt(&ticket).unwrap(), b"session");
        }
        assert!(tickets(&[3, 2]).decrypt(&ticket).is_none());
        assert!(tickets(&[1]).decrypt(&tickets(&[2, 1]).encrypt(b"session").unwrap()).is_none());
        assert!(!tickets(&[]).enabled() && tickets(&[]).encrypt(b"session").is_none());
    }

    #[test]
    fn a_changed_ticket_is_worth_nothing() {
        let tickets = tickets(&[1]);
        let ticket = tickets.encrypt(b"session").unwrap();
        for index in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[index] ^= 1;
            assert!(tickets.decrypt(&changed).is_none());
            assert!(tickets.decrypt(&ticket[..index]).is_none());
        }
        assert!(tickets.decrypt(&vec![1; MAX_TICKET + 1]).is_none());
        assert_ne!(ticket, tickets.encrypt(b"session").unwrap());
    }

    #[test]
    fn a_ticket_is_bound_to_what_was_asked_of_the_client() {
        let demands = [
            None,
            Some(ClientCa { pem: "a".to_owned(), optional: true }),
            Some(ClientCa { pem: "a".to_owned(), optional: false }),
            Some(ClientCa { pem: "b".to_owned(), optional: false }),
        ];
        let all = demands.map(|demand| Tickets::new(keys(&[1]), demand.as_ref()));
        for (number, one) in all.iter().enumerate() {
            let ticket = one.encrypt(b"session").unwrap();
            for (other_number, other) in all.iter().enumerate() {
                assert_eq!(other.decrypt(&ticket).is_some(), number == other_number);
            }
        }
    }

    #[test]
    fn bad_keys() {
        for bad in ["", "x", "AAAA"] {
            assert!(TicketKeys::read(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
