package model

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func parseEvents(t *testing.T, lines ...string) []Event {
	t.Helper()
	var events []Event
	for _, line := range lines {
		e, err := ParseEvent(line)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func parseOp(t *testing.T, line string) Op {
	t.Helper()
	op, err := ParseOp(line)
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// follow does the operations of a script that have only one outcome.
func follow(t *testing.T, cfg *Config, lines ...string) []State {
	t.Helper()
	s := Initial(cfg).State
	for _, line := range lines {
		nexts := Step(cfg, &s, parseOp(t, line))
		if len(nexts) != 1 {
			t.Fatalf("%s has %d outcomes in %v, want 1", line, len(nexts), &s)
		}
		s = nexts[0].State
	}
	return []State{s}
}

// TestFollowAcceptsEveryOutcome: whatever the model does is accepted, in any order of the
// events, and the state that it leads to is kept.
func TestFollowAcceptsEveryOutcome(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	for i, cfg := range everyConfig() {
		wander(cfg, uint64(40+i), 10, 60, func(s *State, op Op, nexts []Next) {
			next := nexts[r.IntN(len(nexts))]
			seen := next.Events.All()
			r.Shuffle(len(seen), func(i, j int) { seen[i], seen[j] = seen[j], seen[i] })
			to, err := Follow(cfg, []State{*s, *s}, op, seen)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(to, next.State) || len(to) > len(nexts) {
				t.Fatalf("%v in %v: got %d states", op, s, len(to))
			}
		})
	}
}

// TestFollowKeepsChoices: a free choice that does not show leaves several states.
func TestFollowKeepsChoices(t *testing.T) {
	cfg := &Config{MaxSize: 1, Clients: 1, MaxIdleTime: 2, IdleSlack: 1}
	set := follow(t, cfg, "acquire client=1", "start ok worker=1", "release client=1", "tick")
	tick := Op{Kind: OpTick}
	set, err := Follow(cfg, set, tick, nil)
	if err != nil || len(set) != 1 {
		t.Fatalf("got %d states and %v, want 1", len(set), err)
	}
	if _, err = Follow(cfg, set, tick, nil); err == nil {
		t.Fatal("the worker outlives its idle time and nothing is said")
	}
	// Under MinSize 1 it may have begun its idle time anew, now or later.
	cfg.MinSize = 1
	set = follow(t, cfg, "start ok worker=1", "tick")
	if set, err = Follow(cfg, set, tick, nil); err != nil || len(set) != 2 {
		t.Fatalf("got %d states and %v, want 2", len(set), err)
	}
}

func TestMismatchText(t *testing.T) {
	cfg := &Config{MaxSize: 2, Clients: 3, Sessions: 1}
	set := follow(t, cfg, "acquire client=1 session=a", "start ok worker=1", "acquire client=2 session=a")
	_, err := Follow(cfg, set, parseOp(t, "release client=1"), parseEvents(t, "worker 2 start begun"))
	const want = `model: I2, I5: release client=1
----
worker 2 start begun
---- possibility 1 of 1 would show
+ client 2 granted worker=1   (not seen)
- worker 2 start begun   (seen)
---- before: open size 0-2; worker 1 leased by client 1 for session a; session a bound to worker 1; client 2 waits for session a
`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	if _, err := Follow(cfg, set, parseOp(t, "cancel client=1"), nil); err == nil || len(err.Expected) != 0 {
		t.Errorf("an impossible operation: got %v", err)
	}
}

func TestRulesBroken(t *testing.T) {
	tests := []struct {
		op         string
		want, seen []string
		rules      []string
	}{
		{"release client=1", []string{"client 2 granted worker=1"}, nil, []string{"I5"}},
		{"cancel client=1", []string{"client 1 refused: cancelled", "client 2 granted worker=1"}, []string{"client 1 refused: cancelled"}, []string{"I6"}},
		{"release client=1", []string{"client 2 granted worker=1"}, []string{"client 3 granted worker=1"}, []string{"I7"}},
		{"acquire client=1 session=a", []string{"client 1 granted worker=1"}, []string{"client 1 granted worker=2"}, []string{"I8"}},
		{"acquire client=1 session=a", []string{"client 1 granted worker=1 fresh"}, []string{"client 1 granted worker=1"}, []string{"I8"}},
		{"acquire client=1 session=a", []string{"client 1 refused: session lost"}, []string{"client 1 granted worker=2 fresh"}, []string{"I8"}},
		{"acquire client=1", []string{"client 1 refused: closed"}, nil, []string{"I4", "I13"}},
		{"acquire client=1", nil, []string{"client 1 refused: saturated"}, []string{"I7"}},
		{"acquire client=1", []string{"client 1 granted worker=1"}, []string{"client 1 refused: saturated"}, []string{"I5"}},
		{"acquire client=1", []string{"client 1 refused: saturated"}, []string{"client 1 refused: start failed"}, []string{"I7"}},
		{"start fails worker=1", []string{"client 1 refused: start failed"}, nil, []string{"I4", "I10"}},
		{"acquire client=1", nil, []string{"worker 2 start begun"}, []string{"I2", "I5"}},
		{"acquire client=1", []string{"worker 2 start begun"}, nil, []string{"I5"}},
		{"acquire client=1", nil, []string{"client 1 granted worker=2"}, []string{"I1", "I3"}},
		{"release client=1", []string{"worker 1 stop begun"}, []string{"client 2 granted worker=1"}, []string{"I3", "I17"}},
		{"tick", []string{"worker 1 check begun"}, nil, []string{"I12"}},
		{"tick", nil, []string{"worker 1 stop begun"}, []string{"I17"}},
		{"tick", []string{"worker 1 start cancelled"}, nil, []string{"I11"}},
		{"cancel client=1", nil, []string{"worker 1 start cancelled"}, []string{"I6"}},
		{"end session=a", []string{"worker 1 tell begun session=a"}, nil, []string{"I9"}},
		{"resize min=0 max=1", []string{"worker 1 stop begun"}, nil, []string{"I16"}},
		{"close", []string{"closed"}, []string{"closed forced"}, []string{"I13"}},
		{"force", []string{"client 1 revoked"}, nil, []string{"I13"}},
		{"discard client=1", []string{"worker 1 stop begun"}, nil, []string{"I3"}},
		{"check fails worker=1", nil, []string{"worker 1 stop begun"}, []string{"I12"}},
	}
	cfg := &Config{Sessions: 1}
	for _, test := range tests {
		got := rulesBroken(cfg, parseOp(t, test.op), parseEvents(t, test.want...), parseEvents(t, test.seen...))
		if !slices.Equal(got, test.rules) {
			t.Errorf("%s: seen %v instead of %v: got %v, want %v", test.op, test.seen, test.want, got, test.rules)
		}
	}
}
