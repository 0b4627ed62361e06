//! Places for many, numbered, in blocks: who sits where, and who has sat there before. What they are is a type parameter.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::poller::Token;

/// Places of one block. One by one on the heap, those of thousands of connections are scattered among all that comes and goes
/// with their requests, and the holes between them are good for nothing: that takes a fifth more. Allocators have blocks of few
/// sizes: 16 of the server's connections were given a seventh more than they need, 31 a hundredth.
const BLOCK_PLACES: u32 = 31;

/// See the file's head. A place is used again, a token never is.
pub(super) struct Places<T> {
    blocks: Vec<Block<T>>,
    /// The lowest one is taken next, so that the blocks above come to be empty.
    free: BinaryHeap<Reverse<u32>>,
}

struct Block<T> {
    /// Of who sits in each place, or is to come.
    generations: [u32; BLOCK_PLACES as usize],
    occupied: u32,
    /// None of them takes memory while all are empty.
    seats: Box<[Option<T>]>,
}

impl<T> Places<T> {
    /// Memory of one place.
    #[cfg(test)]
    pub(super) const BYTES_EACH: usize = size_of::<Option<T>>() + size_of::<Block<T>>().div_ceil(BLOCK_PLACES as usize);

    pub(super) fn new() -> Self {
        Self { blocks: Vec::new(), free: BinaryHeap::new() }
    }

    /// How many sit here.
    pub(super) fn occupied(&self) -> usize {
        self.len() as usize - self.free.len()
    }

    /// Places, empty ones included: they are numbered from 0.
    pub(super) fn len(&self) -> u32 {
        self.blocks.len() as u32 * BLOCK_PLACES
    }

    pub(super) fn insert(&mut self, occupant: T) -> Token {
        if self.free.is_empty() {
            let first = self.len();
            assert!(first <= Token::INDEX_MAX - BLOCK_PLACES, "a process has fewer than 2^31 descriptors");
            self.blocks.push(Block { generations: [0; BLOCK_PLACES as usize], occupied: 0, seats: Box::default() });
            self.free.extend((first..first + BLOCK_PLACES).map(Reverse));
        }
        let Reverse(index) = self.free.pop().expect("there are free ones, or were made");
        let (block, place) = self.block(index);
        if block.seats.is_empty() {
            block.seats = (0..BLOCK_PLACES).map(|_| None).collect();
        }
        block.seats[place] = Some(occupant);
        block.occupied += 1;
        Token { index, generation: block.generations[place] }
    }

    /// `None`: it is gone.
    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        if token.index >= self.len() {
            return None;
        }
        let (block, place) = self.block(token.index);
        if block.generations[place] == token.generation { block.seats.get_mut(place)?.as_mut() } else { None }
    }

    /// Whoever sits in this place.
    pub(super) fn at(&self, index: u32) -> Option<(Token, &T)> {
        let block = self.blocks.get((index / BLOCK_PLACES) as usize)?;
        let place = (index % BLOCK_PLACES) as usize;
        let occupant = block.seats.get(place)?.as_ref()?;
        Some((Token { index, generation: block.generations[place] }, occupant))
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<T> {
        self.get_mut(token)?;
        let (block, place) = self.block(token.index);
        let gone = block.seats[place].take();
        block.generations[place] = Token::next_generation(token.generation);
        block.occupied -= 1;
        // The first one stays: on a quiet server connections come and go one by one.
        if block.occupied == 0 && token.index >= BLOCK_PLACES {
            block.seats = Box::default();
        }
        self.free.push(Reverse(token.index));
        gone
    }

    fn block(&mut self, index: u32) -> (&mut Block<T>, usize) {
        (&mut self.blocks[(index / BLOCK_PLACES) as usize], (index % BLOCK_PLACES) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_a_token_is_not() {
        let mut places = Places::new();
        let first = places.insert('a');
        assert_eq!(places.remove(first), Some('a'));
        let second = places.insert('b');
        assert_eq!((second.index, second == first), (first.index, false));
        assert_eq!(places.get_mut(first), None);
        assert_eq!(places.remove(first), None);
        assert_eq!(places.at(second.index), Some((second, &'b')));
    }

    #[test]
    fn the_lowest_place_is_taken_and_an_empty_block_gives_its_memory_back() {
        let mut places = Places::new();
        let tokens: Vec<Token> = (0..3 * BLOCK_PLACES).map(|number| places.insert(number)).collect();
        let all = 3 * BLOCK_PLACES;
        assert_eq!((places.occupied(), places.len()), (all as usize, all));
        let (low, high) = tokens.split_at(BLOCK_PLACES as usize);
        for token in high.iter().rev().chain(&low[3..5]) {
            places.remove(*token);
        }
        assert!(places.blocks[1..].iter().all(|block| block.seats.is_empty()));
        let next = BLOCK_PLACES + 1;
        assert_eq!([(); 3].map(|()| places.insert(0).index), [3, 4, BLOCK_PLACES]);
        assert_eq!((places.occupied(), places.len(), places.at(next)), (next as usize, all, None));
        assert_eq!(places.get_mut(tokens[next as usize]), None);
    }
}
