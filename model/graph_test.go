package model

import (
	"slices"
	"testing"
)

// TestGraphFollowsSteps: on random walks each state is found, and each pair, in the names
// of the state, is possible and leads exactly where the graph says.
func TestGraphFollowsSteps(t *testing.T) {
	for _, cfg := range []*Config{
		{MaxSize: 2, Clients: 3, Sessions: 2, SessionTTL: 1, BackoffMin: 1, Offer: OfferAll(Size{0, 1}, Size{0, 2})},
		{MaxSize: 2, MinSize: 1, Clients: 2, Sessions: 2, Affinity: Prefer, BackoffMin: 1, HasTell: true, MaxIdleTime: 2, IdleSlack: 1, Offer: OfferAll()},
		{MaxSize: 3, Clients: 2, Sessions: 1, Affinity: Sticky, BackoffMin: 1, MaxLeases: 2, Offer: OfferAll()},
	} {
		g, err := NewGraph(cfg, Bounds{})
		if err != nil {
			t.Fatal(err)
		}
		// Transitions counts the ways on; some lead to the same state.
		if r := g.Report(); g.States() != r.States || g.Edges() > r.Transitions || g.Pairs() > g.Edges() {
			t.Fatalf("%d states, %d pairs, %d edges of %v", g.States(), g.Pairs(), g.Edges(), r)
		}
		steps := 0
		wander(cfg, 1, 100, 40, func(s *State, _ Op, _ []Next) {
			steps++
			checkPlace(t, g, s, steps)
		})
		t.Logf("%d pairs, %d edges; %d states met", g.Pairs(), g.Edges(), steps)
	}
}

func checkPlace(t *testing.T, g *Graph, s *State, turn int) {
	n, names, ok := g.Find(s)
	if !ok {
		t.Fatalf("the graph does not have %v", s)
	}
	names.Turn(turn)
	from, end := g.PairsOf(n)
	var did []Op
	for pair := from; pair < end; pair++ {
		op := names.Op(g.Op(pair))
		if !Enabled(g.Config(), s, op) || slices.Contains(did, op) {
			t.Fatalf("%v is not possible, or done twice, in %v", op, s)
		}
		did = append(did, op)
		var want, got []int
		for edge, last := g.EdgesOf(pair); edge < last; edge++ {
			want = append(want, g.To(edge))
		}
		for _, next := range Step(g.Config(), s, op) {
			if to, _, ok := g.Find(&next.State); !ok {
				t.Fatalf("the graph does not have what follows from %v in %v: %v", op, s, &next.State)
			} else if !slices.Contains(got, to) {
				got = append(got, to)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%v in %v leads to %v, the graph says %v", op, s, got, want)
		}
	}
}

// TestGraphRepresents: the representative of each state is found as that state.
func TestGraphRepresents(t *testing.T) {
	g, err := NewGraph(&Config{MaxSize: 2, Clients: 2, Sessions: 2, BackoffMin: 1, HasTell: true, Offer: OfferAll()}, Bounds{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range g.States() {
		s := g.State(n)
		if found, _, ok := g.Find(&s); !ok || found != n {
			t.Fatalf("state %d is found as %d (%v): %v", n, found, ok, &s)
		}
	}
	start := Initial(g.Config()).State
	if n, _, ok := g.Find(&start); !ok || n != 0 {
		t.Errorf("the new pool is state %d (%v), want 0", n, ok)
	}
	if _, _, ok := g.Find(&State{most: 4, live: 4}); ok {
		t.Error("a state that cannot be is found")
	}
}

func TestNewGraphRefuses(t *testing.T) {
	cfg := &Config{MaxSize: 1, Clients: 2, Sessions: 1, Offer: OfferAll()}
	if _, err := NewGraph(cfg, Bounds{MaxStates: 5}); err == nil {
		t.Error("a hit bound: got no error")
	}
	faulty := *cfg
	faulty.fault = faultNoStart
	if _, err := NewGraph(&faulty, Bounds{}); err == nil {
		t.Error("a fault: got no error")
	}
	if _, err := NewGraph(&Config{}, Bounds{}); err == nil {
		t.Error("an impossible configuration: got no error")
	}
}
