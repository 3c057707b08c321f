//! The session table: slots with generations, so that a message for an ended
//! session never reaches the slot's next owner.

use crate::units::{SessionKey, WorkerId};

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    session: Option<Box<T>>,
}

/// See the module's description.
#[derive(Debug)]
pub struct SessionTable<T> {
    worker: WorkerId,
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    limit: u32,
    len: usize,
}

impl<T> SessionTable<T> {
    /// A table for at most `limit` sessions.
    pub fn new(worker: WorkerId, limit: u32) -> Self {
        Self {
            worker,
            entries: Vec::new(),
            free: Vec::new(),
            limit,
            len: 0,
        }
    }

    /// The key that the next session will have; `None` when the table is full.
    pub fn next_key(&self) -> Option<SessionKey> {
        let (slot, generation) = match self.free.last() {
            Some(&slot) => (slot, self.entries.get(slot as usize)?.generation),
            None => (u32::try_from(self.entries.len()).ok()?, 0),
        };
        (slot < self.limit).then_some(SessionKey {
            worker: self.worker,
            slot,
            generation,
        })
    }

    /// Stores a session under [`next_key`](Self::next_key).
    pub fn insert(&mut self, session: Box<T>) -> Option<SessionKey> {
        let key = self.next_key()?;
        match self.free.pop() {
            Some(slot) => self.entries[slot as usize].session = Some(session),
            None => self.entries.push(Entry {
                generation: 0,
                session: Some(session),
            }),
        }
        self.len += 1;
        Some(key)
    }

    /// The session in a slot.
    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.entries.get_mut(slot as usize)?.session.as_deref_mut()
    }

    /// The session in a slot.
    pub fn get(&self, slot: u32) -> Option<&T> {
        self.entries.get(slot as usize)?.session.as_deref()
    }

    /// The slot of a key, while it is that key's.
    pub fn find(&self, key: SessionKey) -> Option<u32> {
        let entry = self.entries.get(key.slot as usize)?;
        let live = key.worker == self.worker
            && entry.generation == key.generation
            && entry.session.is_some();
        live.then_some(key.slot)
    }

    /// Takes a session out; its key is dead from now on.
    pub fn remove(&mut self, slot: u32) -> Option<Box<T>> {
        let entry = self.entries.get_mut(slot as usize)?;
        let session = entry.session.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(slot);
        self.len -= 1;
        Some(session)
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The slots in use.
    pub fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.session.is_some())
            .map(|(slot, _)| slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_has_another_key() {
        let mut table = SessionTable::new(WorkerId(3), 2);
        let first = table.insert(Box::new("a")).unwrap();
        assert_eq!(table.find(first), Some(0));
        assert_eq!(table.remove(0).as_deref(), Some(&"a"));
        assert_eq!(table.find(first), None);
        let second = table.insert(Box::new("b")).unwrap();
        assert_eq!(second.slot, first.slot);
        assert_ne!(second, first);
        assert_eq!(table.find(first), None);
        assert_eq!(table.get(0), Some(&"b"));
        assert_eq!(table.slots().collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn a_full_table_refuses() {
        let mut table = SessionTable::new(WorkerId(0), 2);
        assert!(table.insert(Box::new(1)).is_some());
        assert!(table.insert(Box::new(2)).is_some());
        assert_eq!(table.next_key(), None);
        assert!(table.insert(Box::new(3)).is_none());
        table.remove(1);
        assert!(table.insert(Box::new(4)).is_some());
        assert_eq!(table.len(), 2);
    }
}
