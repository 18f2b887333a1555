//! Order among the entries of a table, without moving them: a chain is a list whose links lie beside the table.
//!
//! An entry is in at most one of the chains that share its links. Every operation costs the same whatever the length.

use serde::{Deserialize, Serialize};

/// An entry's place in its table.
pub(super) type Place = u32;

/// The links of a table's entries, by place.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Links(Vec<Link>);

/// An entry's neighbours in its chain.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Link {
    previous: Option<Place>,
    next: Option<Place>,
}

/// A list of entries.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Chain {
    first: Option<Place>,
    last: Option<Place>,
    length: u32,
}

impl Chain {
    pub(super) const fn length(&self) -> u32 {
        self.length
    }

    pub(super) const fn first(&self) -> Option<Place> {
        self.first
    }

    pub(super) const fn last(&self) -> Option<Place> {
        self.last
    }

    /// Puts `place`, which is in no chain, before all others.
    pub(super) fn push_first(&mut self, place: Place, links: &mut Links) {
        let next = self.first.replace(place);
        links.set(
            place,
            Link {
                previous: None,
                next,
            },
        );
        match next {
            Some(next) => links.set_previous(next, Some(place)),
            None => self.last = Some(place),
        }
        self.length = self.length.saturating_add(1);
    }

    /// Puts `place`, which is in no chain, behind all others.
    pub(super) fn push_last(&mut self, place: Place, links: &mut Links) {
        let previous = self.last.replace(place);
        links.set(
            place,
            Link {
                previous,
                next: None,
            },
        );
        match previous {
            Some(previous) => links.set_next(previous, Some(place)),
            None => self.first = Some(place),
        }
        self.length = self.length.saturating_add(1);
    }

    /// Takes `place`, which is in this chain, out of it.
    pub(super) fn remove(&mut self, place: Place, links: &mut Links) {
        let Link { previous, next } = links.link(place);
        match previous {
            Some(previous) => links.set_next(previous, next),
            None => self.first = next,
        }
        match next {
            Some(next) => links.set_previous(next, previous),
            None => self.last = previous,
        }
        self.length = self.length.saturating_sub(1);
    }

    /// The places from first to last; at most as many as the chain is long.
    pub(super) fn iter<'a>(&self, links: &'a Links) -> impl Iterator<Item = Place> + use<'a> {
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        core::iter::successors(self.first, |place| links.link(*place).next).take(length)
    }
}

impl Links {
    fn link(&self, place: Place) -> Link {
        self.0.get(place as usize).copied().unwrap_or_default()
    }

    fn set(&mut self, place: Place, link: Link) {
        let place = place as usize;
        if self.0.len() <= place {
            self.0.resize(place.saturating_add(1), Link::default());
        }
        if let Some(entry) = self.0.get_mut(place) {
            *entry = link;
        }
    }

    fn set_previous(&mut self, place: Place, previous: Option<Place>) {
        if let Some(link) = self.0.get_mut(place as usize) {
            link.previous = previous;
        }
    }

    fn set_next(&mut self, place: Place, next: Option<Place>) {
        if let Some(link) = self.0.get_mut(place as usize) {
            link.next = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(chain: &Chain, links: &Links) -> Vec<Place> {
        chain.iter(links).collect()
    }

    #[test]
    fn keeps_the_order_and_removes_from_anywhere() {
        let (mut chain, mut links) = (Chain::default(), Links::default());
        for place in [4, 2, 7] {
            chain.push_last(place, &mut links);
        }
        chain.push_first(0, &mut links);
        assert_eq!(places(&chain, &links), [0, 4, 2, 7]);
        for (gone, rest) in [
            (2, vec![0, 4, 7]),
            (0, vec![4, 7]),
            (7, vec![4]),
            (4, vec![]),
        ] {
            chain.remove(gone, &mut links);
            assert_eq!(places(&chain, &links), rest);
            assert_eq!(chain.length() as usize, rest.len());
            assert_eq!(chain.first(), rest.first().copied());
        }
        chain.push_first(9, &mut links);
        chain.push_last(3, &mut links);
        assert_eq!(places(&chain, &links), [9, 3]);
    }
}
