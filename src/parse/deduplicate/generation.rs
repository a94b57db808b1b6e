//! [`Generation`]: the clients' ports that were seen in one span of time.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::client::{Client, ClientKey};
use super::flow::Flow;

/// Clients' ports.
///
/// They are in a vector in the order in which they came, and a hash table has their places. Most packets begin a
/// connection: these read the hash table only, which fits into the cache.
#[derive(Default)]
pub(super) struct Generation {
    /// Without flows: it was removed.
    pub(super) clients: Vec<Client>,
    places: HashTable<u32>,
}

impl Generation {
    /// Number of clients' ports.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns a client's port.
    pub(super) fn get_mut(&mut self, key: &ClientKey) -> Option<&mut Client> {
        let Generation { clients, places } = self;
        let place = places.find(key.hash, |place| clients[*place as usize].key == *key)?;
        clients.get_mut(*place as usize)
    }

    /// Returns a client's port, which is new if there was none.
    pub(super) fn get_or_insert(&mut self, key: &ClientKey) -> &mut Client {
        let Generation { clients, places } = self;
        let is_same = |place: &u32| clients[*place as usize].key == *key;
        let hash = |place: &u32| clients[*place as usize].key.hash;
        let place = match places.entry(key.hash, is_same, hash) {
            Entry::Occupied(entry) => *entry.get() as usize,
            Entry::Vacant(entry) => {
                let place = clients.len();
                entry.insert(place as u32);
                clients.push(Client::new(key.clone()));
                place
            }
        };
        &mut clients[place]
    }

    /// Adds a client's port that is not there.
    pub(super) fn insert(&mut self, client: Client) {
        let Generation { clients, places } = self;
        let (hash, place) = (client.key.hash, clients.len() as u32);
        clients.push(client);
        places.insert_unique(hash, place, |place| clients[*place as usize].key.hash);
    }

    /// Removes a client's port.
    pub(super) fn remove(&mut self, key: &ClientKey) -> Option<Client> {
        let Generation { clients, places } = self;
        let is_same = |place: &u32| clients[*place as usize].key == *key;
        let (place, _) = places.find_entry(key.hash, is_same).ok()?.remove();
        let gone = Client::new(key.clone());
        Some(std::mem::replace(&mut clients[place as usize], gone))
    }

    /// Removes all, and returns their flows.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Flow> {
        self.places.clear();
        self.clients.drain(..).flat_map(Client::into_flows)
    }

    /// Makes it empty. The memory is kept for about as many as `expected`, but not that of a flood.
    pub(super) fn clear(&mut self, expected: usize) {
        if self.places.capacity() > 8 * expected.max(1024) {
            *self = Generation::default();
        } else {
            self.clients.clear();
            self.places.clear();
        }
    }
}
