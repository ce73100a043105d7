//! The tree of a trace, pure: spans in, places and times out.

use std::collections::{HashMap, HashSet};

/// What a tree needs to know of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) id: u64,
    /// 0 where there is none.
    pub(super) parent: u64,
    pub(super) start: i64,
    /// Not before `start`.
    pub(super) end: i64,
}

/// A span in its place. Times are nanoseconds, offsets from the first start of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) id: u64,
    pub(super) depth: i64,
    pub(super) offset: i64,
    /// In which no child ran.
    pub(super) own: i64,
    /// When the trace waited for this span for the first time; -1 where it never did.
    pub(super) critical_offset: i64,
    /// For how long it did.
    pub(super) critical: i64,
}

/// The spans, parents before children and those before siblings that began later.
pub(super) fn place(mut spans: Vec<Span>) -> Vec<Placed> {
    spans.sort_unstable_by_key(|span| (span.start, std::cmp::Reverse(span.end), span.id));
    // The first that has an id stands for it.
    let mut seen = HashSet::new();
    spans.retain(|span| seen.insert(span.id));
    let tree = Tree::new(spans);
    let critical = tree.critical_path();
    let begin = tree.spans.first().map_or(0, |span| span.start);
    let placed = tree.in_order().into_iter().map(|(index, depth)| {
        let span = tree.spans[index];
        let (first, total) = critical[index];
        Placed {
            id: span.id,
            depth,
            offset: span.start - begin,
            own: tree.own_time(index),
            critical_offset: if total > 0 { first - begin } else { -1 },
            critical: total,
        }
    });
    placed.collect()
}

/// Spans by index, each once, and who is below whom.
struct Tree {
    spans: Vec<Span>,
    children: Vec<Vec<usize>>,
    roots: Vec<usize>,
}

impl Tree {
    fn new(spans: Vec<Span>) -> Self {
        let at: HashMap<u64, usize> =
            spans.iter().enumerate().map(|(index, span)| (span.id, index)).collect();
        let mut parents: Vec<Option<usize>> =
            spans.iter().map(|span| at.get(&span.parent).copied()).collect();
        cut_circles(&mut parents);
        let mut tree = Self { children: vec![Vec::new(); spans.len()], roots: Vec::new(), spans };
        for (index, parent) in parents.into_iter().enumerate() {
            match parent {
                Some(parent) => tree.children[parent].push(index),
                None => tree.roots.push(index),
            }
        }
        tree
    }

    /// Indices and depths, parents first.
    fn in_order(&self) -> Vec<(usize, i64)> {
        let mut order = Vec::with_capacity(self.spans.len());
        let mut stack: Vec<(usize, i64)> = self.roots.iter().rev().map(|root| (*root, 0)).collect();
        while let Some((index, depth)) = stack.pop() {
            order.push((index, depth));
            stack.extend(self.children[index].iter().rev().map(|child| (*child, depth + 1)));
        }
        order
    }

    /// The time of a span in which none of its children ran.
    fn own_time(&self, index: usize) -> i64 {
        let Span { start, end, .. } = self.spans[index];
        let (mut covered, mut reached) = (0, start);
        // Children are in order of their start.
        for child in self.children[index].iter().map(|child| self.spans[*child]) {
            let (from, to) = (child.start.max(reached), child.end.min(end));
            if to > from {
                covered += to - from;
                reached = to;
            }
        }
        end - start - covered
    }

    /// For each span, when the trace first waited for it, and for how long in all. Goes back from
    /// the end: a span is waited for while none of its children is, and of its children the one
    /// that ended last is waited for first.
    fn critical_path(&self) -> Vec<(i64, i64)> {
        let mut critical = vec![(i64::MAX, 0); self.spans.len()];
        let end = self.spans.iter().map(|span| span.end).max().unwrap_or_default();
        let mut stack = Vec::new();
        self.wait_for(&self.roots, i64::MIN, end, &mut stack);
        while let Some(Window { index, from, to }) = stack.pop() {
            for (from, to) in self.wait_for(&self.children[index], from, to, &mut stack) {
                let (first, total) = &mut critical[index];
                *first = from.min(*first);
                *total += to - from;
            }
        }
        critical
    }

    /// Which of some spans are waited for between two times, onto the stack. Gives back the times
    /// in which none is.
    fn wait_for(
        &self,
        spans: &[usize],
        from: i64,
        to: i64,
        stack: &mut Vec<Window>,
    ) -> Vec<(i64, i64)> {
        let mut by_end: Vec<usize> = spans.to_vec();
        by_end.sort_unstable_by_key(|index| (self.spans[*index].end, self.spans[*index].start));
        let (mut idle, mut reached) = (Vec::new(), to);
        // One that still ran when a later one began was not what that one waited for.
        for index in by_end.into_iter().rev() {
            let span = self.spans[index];
            let (start, end) = (span.start.max(from), span.end.min(to));
            if start >= end || end > reached {
                continue;
            }
            if end < reached {
                idle.push((end, reached));
            }
            stack.push(Window { index, from: start, to: end });
            reached = start;
        }
        if reached > from {
            idle.push((from, reached));
        }
        idle
    }
}

/// A span, and between which times it was waited for.
struct Window {
    index: usize,
    from: i64,
    to: i64,
}

/// Takes the parent of one span of every circle away.
fn cut_circles(parents: &mut [Option<usize>]) {
    // The walk that came by first; 0 where none did.
    let mut seen = vec![0; parents.len()];
    for start in 0..parents.len() {
        let walk = start + 1;
        let mut last = start;
        let mut here = Some(start);
        while let Some(index) = here {
            if seen[index] == walk {
                parents[last] = None;
            }
            if seen[index] != 0 {
                break;
            }
            seen[index] = walk;
            (last, here) = (index, parents[index]);
        }
    }
}

#[cfg(test)]
mod tests;
