package sched

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// Identities are ordered like the lists of their numbers, and equal ones have equal hashes.
func TestIdentitiesAreOrdered(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	type known struct {
		is   *identity
		path []int
	}
	all := []known{{(*identity)(nil).child(1), []int{1}}, {(*identity)(nil).child(2), []int{2}}}
	for len(all) < 300 {
		from := all[rng.IntN(len(all))]
		if rng.IntN(2) == 0 {
			from = all[len(all)-1] // a chain
		}
		path := append(slices.Clone(from.path), 1+rng.IntN(3))
		if !slices.ContainsFunc(all, func(k known) bool { return slices.Equal(k.path, path) }) {
			all = append(all, known{from.is.child(path[len(path)-1]), path})
		}
	}
	hashes := map[uint64]bool{}
	deepest := 0
	for _, a := range all {
		hashes[a.is.hash] = true
		deepest = max(deepest, a.is.depth)
		for _, b := range all {
			if got, want := a.is.compare(b.is), slices.Compare(a.path, b.path); got != want {
				t.Fatalf("%v and %v: got %d, want %d", a.path, b.path, got, want)
			}
		}
	}
	if len(hashes) != len(all) || deepest < mostNamed {
		t.Errorf("%d identities up to a depth of %d have %d hashes", len(all), deepest, len(hashes))
	}
}

// A name is bounded.
func TestIdentitiesHaveShortNames(t *testing.T) {
	var i *identity
	for n := range mostNamed {
		i = i.child(n + 1)
	}
	if got, want := i.String(), "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := i.child(7).child(8).String(), "(2).3.4.5.6.7.8.9.10.11.12.13.14.15.16.7.8"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A run in which each task starts the next takes memory in proportion to its length, as one
// does that never ends: a chain twice as long takes twice as much, not four times.
func TestChainsTakeLittle(t *testing.T) {
	allocated := func(most int) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := Test(t, Options{Strategy: NewReplay(nil), MaxSteps: most}, func(s *Scheduler) error {
			var next func()
			next = func() { s.Go("", next) }
			next()
			return nil
		})
		runtime.ReadMemStats(&after)
		if r.Finding == nil || r.Finding.Kind != Endless {
			t.Fatalf("got %v, want an endless run", r.Finding)
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	allocated(100)
	short, long := allocated(8000), allocated(16000)
	if long > 3*short {
		t.Errorf("16,000 steps allocate %d bytes, 8,000 allocate %d: more than three times as many", long, short)
	}
}
