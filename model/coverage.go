package model

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Pair is an abstract state and a class of operations that are done in it.
type Pair struct {
	State Key
	Class OpClass
}

// String writes the pair on one line.
func (p Pair) String() string { return fmt.Sprintf("%v <- %v", p.State, p.Class) }

// Coverage counts which pairs of abstract state and operation a run has reached, out of
// those that exist. It is not safe for concurrent use.
type Coverage struct {
	x      *explorer
	exists map[Pair]int // and a state, by its number, nearest to the new pool
	seen   map[Pair]int // and how often
	beyond int
}

// NewCoverage explores the model with cfg, to find the pairs that exist, and returns a
// Coverage of none of them. The model must be without fault and within bounds.
func NewCoverage(cfg *Config, bounds Bounds) (*Coverage, error) {
	x, err := newExplorer(cfg, bounds)
	if err != nil {
		return nil, err
	}
	c := &Coverage{x: x, exists: map[Pair]int{}, seen: map[Pair]int{}}
	x.visit = func(n int, s *State, ops []Op) {
		k := Abstract(cfg, s)
		for _, op := range ops {
			p := Pair{State: k, Class: ClassOf(s, op)}
			if _, known := c.exists[p]; !known {
				c.exists[p] = n
			}
		}
	}
	r := x.run()
	switch {
	case r.Counterexample != nil:
		return nil, fmt.Errorf("model: no coverage of a model with a fault: %w", r.Counterexample.Err)
	case r.BoundHit:
		return nil, errors.New("model: a bound was hit; which pairs exist is unknown")
	}
	return c, nil
}

// Add counts op, done in s.
func (c *Coverage) Add(s *State, op Op) {
	p := Pair{State: Abstract(c.x.cfg, s), Class: ClassOf(s, op)}
	if _, exists := c.exists[p]; !exists {
		c.beyond++
		return
	}
	c.seen[p]++
}

// Merge adds what other has counted. Both must be of the same configuration.
func (c *Coverage) Merge(other *Coverage) {
	for p, n := range other.seen {
		c.seen[p] += n
	}
	c.beyond += other.beyond
}

// Fresh returns a Coverage of nothing that shares what is known about which pairs exist.
func (c *Coverage) Fresh() *Coverage {
	return &Coverage{x: c.x, exists: c.exists, seen: map[Pair]int{}}
}

// Total is the number of pairs that exist.
func (c *Coverage) Total() int { return len(c.exists) }

// Reached is the number of pairs that have been counted at least once.
func (c *Coverage) Reached() int { return len(c.seen) }

// Beyond is how many operations were counted that do not exist for the explorer: those
// that its configuration does not offer, or a sign that it is not the run's.
func (c *Coverage) Beyond() int { return c.beyond }

// Report is that of the exploration.
func (c *Coverage) Report() *Report { return &c.x.report }

// Pairs returns the pairs that exist, sorted.
func (c *Coverage) Pairs() []Pair {
	return c.sorted(func(Pair) bool { return true })
}

// Missing returns the pairs that exist and have not been reached, sorted.
func (c *Coverage) Missing() []Pair {
	return c.sorted(func(p Pair) bool { return c.seen[p] == 0 })
}

func (c *Coverage) sorted(take func(Pair) bool) []Pair {
	var pairs []Pair
	for p := range c.exists {
		if take(p) {
			pairs = append(pairs, p)
		}
	}
	slices.SortFunc(pairs, func(a, b Pair) int {
		return cmp.Or(cmp.Compare(a.State, b.State), cmp.Compare(a.Class.Kind, b.Class.Kind), cmp.Compare(a.Class.role, b.Class.role))
	})
	return pairs
}

// Path returns operations that lead from the new pool to the pair, the last one being the
// pair's own, each with what it shows; nil if the pair does not exist. It is a shortest
// one. Where the pool is free to choose, it may leave the path.
func (c *Coverage) Path(p Pair) []ScriptStep {
	n, exists := c.exists[p]
	if !exists {
		return nil
	}
	at := Initial(c.x.cfg)
	path := []ScriptStep{{Events: at.Events.All()}}
	for _, k := range c.x.keysTo(n)[1:] {
		var op Op
		op, at = c.x.towards(&at.State, &k)
		path = append(path, ScriptStep{Op: op, Events: at.Events.All()})
	}
	for _, op := range Ops(c.x.cfg, &at.State, nil) {
		if ClassOf(&at.State, op) == p.Class {
			last := Step(c.x.cfg, &at.State, op)[0]
			return append(path, ScriptStep{Op: op, Events: last.Events.All()})
		}
	}
	return nil
}
