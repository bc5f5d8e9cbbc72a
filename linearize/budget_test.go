package linearize

import (
	"context"
	"strings"
	"testing"
	"time"
)

// knot returns a history of so many clients whose calls are all under way at once, and of
// which no order is right: each takes another worker, of as many as may be out but one.
func knot(clients int) *History {
	h := &History{Head: Head{Config: Config{Capacity: clients - 1}}}
	for c := range clients {
		h.Ops = append(h.Ops, Op{
			ID: c + 1, Client: c + 1, Kind: Acquire, Outcome: Granted, Worker: uint64(c + 1),
			Call: time.Duration(c), Return: 1000,
		})
	}
	for c := range clients {
		h.Ops = append(h.Ops, Op{
			ID: clients + c + 1, Client: c + 1, Kind: Release, Outcome: Done, Worker: uint64(c + 1), Lease: c + 1,
			Call: 1001 + time.Duration(c), Return: 5000,
		})
	}
	return h
}

// tangle returns a history that only a search of many steps can judge.
func tangle(t *testing.T) *History {
	t.Helper()
	for seed := range uint64(40) {
		h := simulate(simConfig{
			seed: seed, ops: 400, clients: 16, unanswered: 7, tries: true,
			Config: Config{Capacity: 8, FullOnly: true}, faultAt: 0.7, fault: simDoubleGrant,
		})
		if v := Judge(t.Context(), h, Budget{}); v.Judge == "search" && v.Spent.Steps > 20_000 {
			return h
		}
	}
	t.Fatal("no history needs a long search")
	return nil
}

// TestBudgets: whatever is spent first, the search ends there, says so, and shows nothing.
func TestBudgets(t *testing.T) {
	t.Parallel()
	h := tangle(t)
	ended, end := context.WithCancel(t.Context())
	end()
	for _, c := range []struct {
		name   string
		ctx    context.Context
		budget Budget
		steps  int64 // that it may take at most
		says   string
	}{
		{"steps", t.Context(), Budget{Steps: 1000}, 1001, "1000 steps"},
		{"bytes", t.Context(), Budget{Bytes: 4000}, 20_000, "4000 bytes"},
		{"time", t.Context(), Budget{Timeout: 1}, 1, "1ns"},
		{"context", ended, Budget{}, 1, "context canceled"},
	} {
		v := Judge(c.ctx, h, c.budget)
		if v.Result != Unknown || v.Judge != "search" || !strings.Contains(v.Text, c.says) || v.Err() == nil {
			t.Errorf("%s: got %s, want unknown and %q", c.name, &v, c.says)
		}
		if v.Spent.Steps == 0 || v.Spent.Steps > c.steps {
			t.Errorf("%s: spent %d steps, want 1 to %d", c.name, v.Spent.Steps, c.steps)
		}
	}
}

// lasting is a context that ends once it has been asked so many times.
type lasting struct {
	context.Context
	left int
}

func (c *lasting) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestPorcupineEndsWithTheContext: the model stops porcupine's own search soon after the
// context has ended.
func TestPorcupineEndsWithTheContext(t *testing.T) {
	t.Parallel()
	const asked, clockEvery, others = 2, 1024, 2000 // others: steps that porcupine tries on its way out
	s := &search{index: newIndex(knot(14)), ctx: &lasting{t.Context(), asked}, budget: Budget{}.withDefaults()}
	order, _, p := s.porcupine(s.whole())
	if order != nil || p != nil || s.why != context.Canceled.Error() {
		t.Errorf("got the order %v, the point %v and the reason %q, want none for %q", order, p, s.why, context.Canceled)
	}
	if s.spent.Steps < asked*clockEvery || s.spent.Steps > asked*clockEvery+others {
		t.Errorf("spent %d steps, want %d to %d", s.spent.Steps, asked*clockEvery, asked*clockEvery+others)
	}
}

// refusedBetween returns a history of so many rounds of one client, under one long call that
// keeps them from being judged apart, in which a try is refused while nothing is out.
func refusedBetween(rounds int) *History {
	h := &History{Head: Head{Config: Config{Capacity: 2, Affinity: Sticky, FullOnly: true}}}
	at := time.Duration(0)
	add := func(o Op) int {
		at += 10
		o.ID, o.Call, o.Return = len(h.Ops)+1, at, at+5
		h.Ops = append(h.Ops, o)
		return o.ID
	}
	add(Op{Client: 1, Kind: EndSession, Session: "x", Outcome: Done})
	add(Op{Client: 2, Kind: Resize, Max: 1, Outcome: Done})
	for round := range rounds {
		lease := add(Op{Client: 2, Kind: Acquire, Outcome: Granted, Worker: 1})
		add(Op{Client: 2, Kind: Release, Outcome: Done, Worker: 1, Lease: lease})
		if round == rounds-2 {
			add(Op{Client: 2, Kind: Try, Outcome: Refused})
		}
	}
	h.Ops[0].Return = at + 10
	return h
}

// TestMaxWindow: porcupine is asked to confirm what was found in a short part of a history,
// and is left out of a long one; both are judged alike.
func TestMaxWindow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rounds int
		asked  bool
	}{{10, true}, {maxWindow, false}} {
		h := refusedBetween(c.rounds)
		v := Judge(t.Context(), h, Budget{})
		if v.Result != Illegal || v.Rule != "I5" || v.Judge != "search" {
			t.Errorf("%d rounds: %s, want I5 broken by the search", c.rounds, &v)
		}
		s := &search{index: newIndex(h)}
		s.points = s.index.points
		if from, to := s.window(0); from != 0 || to != len(s.points) || (to <= maxWindow) != c.asked {
			t.Errorf("%d rounds: got a window of the points %d to %d of %d", c.rounds, from, to, len(s.points))
		}
	}
}
