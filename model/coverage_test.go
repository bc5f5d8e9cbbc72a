package model

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// coverageConfig is the pool whose pairs are committed. Telling, checks and limits of
// workers have places in the abstraction; time is as coarse as it can be.
func coverageConfig() *Config {
	return &Config{
		MaxSize: 2, Clients: 3, Sessions: 2, SessionTTL: 1, BackoffMin: 1, StopTimeout: 1,
		HasCheck: true, HealthCheckPeriod: 1, HasTell: true,
		Offer: OfferAll(Size{0, 1}, Size{0, 2}),
	}
}

// TestCoveragePairs compares the numbers of pairs with the committed ones.
func TestCoveragePairs(t *testing.T) {
	var b strings.Builder
	for _, a := range []Affinity{Strict, Sticky, Prefer} {
		cfg := coverageConfig()
		cfg.Affinity = a
		c, err := NewCoverage(cfg, Bounds{})
		if err != nil {
			t.Fatal(err)
		}
		pairs := c.Pairs()
		t.Logf("%v: %d pairs; %v", a, c.Total(), c.Report())
		states := map[Key]bool{}
		classes := map[string]int{}
		var names []string
		for _, p := range pairs {
			states[p.State] = true
			name := p.Class.String()
			if classes[name] == 0 {
				names = append(names, name)
			}
			classes[name]++
		}
		slices.Sort(names)
		fmt.Fprintf(&b, "%v: %d pairs of %d abstract states and %d classes of operations\n", a, c.Total(), len(states), len(classes))
		for _, name := range names {
			fmt.Fprintf(&b, "  %s: %d\n", name, classes[name])
		}
	}
	const file = "testdata/coverage.txt"
	want, err := os.ReadFile(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	golden(t, file, want, []byte(b.String()))
}

// TestCoveragePaths: every pair is reached by its path, and counts then.
func TestCoveragePaths(t *testing.T) {
	cfg := &Config{MaxSize: 2, Clients: 2, Sessions: 1, SessionTTL: 1, BackoffMin: 1, Offer: OfferAll()}
	c, err := NewCoverage(cfg, Bounds{})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(c.Missing()); got != c.Total() || got == 0 || c.Reached() != 0 {
		t.Fatalf("of %d pairs %d are missing before anything is done", c.Total(), got)
	}
	for _, p := range c.Pairs() {
		path := c.Path(p)
		set := []State{Initial(cfg).State}
		for i, step := range path[1:] {
			last := i == len(path)-2
			if at := slices.IndexFunc(set, func(s State) bool {
				return Abstract(cfg, &s) == p.State && ClassOf(&s, step.Op) == p.Class
			}); last && at < 0 {
				t.Fatalf("the path to %v ends elsewhere: %v in %v", p, step.Op, &set[0])
			} else if last {
				c.Add(&set[at], step.Op)
			}
			var mismatch *Mismatch
			if set, mismatch = Follow(cfg, set, step.Op, step.Events); mismatch != nil {
				t.Fatalf("the path to %v: %v", p, mismatch)
			}
		}
	}
	if missing := c.Missing(); len(missing) != 0 || c.Reached() != c.Total() || c.Beyond() != 0 {
		t.Errorf("%d of %d pairs are missing, such as %v", len(missing), c.Total(), missing[0])
	}
	fresh := c.Fresh()
	fresh.Add(&State{most: 2, live: 1, workers: [MaxWorkerSlots]worker{{phase: phaseTelling}}}, Op{Kind: OpTick})
	if fresh.Reached() != 0 || fresh.Beyond() != 1 {
		t.Errorf("a pair that does not exist: %d reached, %d beyond", fresh.Reached(), fresh.Beyond())
	}
	fresh.Merge(c)
	if fresh.Reached() != c.Total() {
		t.Errorf("merged: %d reached, want %d", fresh.Reached(), c.Total())
	}
	if path := c.Path(Pair{}); path != nil {
		t.Errorf("got a path to nowhere: %v", path)
	}
}

func TestNewCoverageRefuses(t *testing.T) {
	cfg := &Config{MaxSize: 1, Clients: 2, Sessions: 1, Offer: OfferAll()}
	if _, err := NewCoverage(cfg, Bounds{MaxStates: 5}); err == nil {
		t.Error("a hit bound: got no error")
	}
	faulty := *cfg
	faulty.fault = faultNoStart
	if _, err := NewCoverage(&faulty, Bounds{}); err == nil {
		t.Error("a fault: got no error")
	}
	if _, err := NewCoverage(&Config{}, Bounds{}); err == nil {
		t.Error("an impossible configuration: got no error")
	}
}

func TestAbstractText(t *testing.T) {
	cfg := &Config{MaxSize: 3, Clients: 4, Sessions: 3, BackoffMin: 1}
	tests := []struct {
		script []string
		want   string
	}{
		{nil, "open"},
		{[]string{"acquire client=1"}, "open, starting, waiters: 1 anonymous"},
		{[]string{"acquire client=1", "start fails worker=1"}, "open, back-off"},
		{[]string{"acquire client=1", "start fails worker=1", "tick"}, "open, half-open"},
		{
			[]string{"acquire client=1 session=a", "start ok worker=1", "acquire client=2 session=a", "acquire client=3", "acquire client=4"},
			"open, starting, starting, leased+1, waiters: 2+ anonymous and 1 bound, sessions: 1 bound",
		},
		{
			[]string{"acquire client=1 session=a", "start ok worker=1", "discard client=1", "close"},
			"closing, stopping",
		},
		{
			[]string{"acquire client=1 session=a", "start ok worker=1", "discard client=1", "acquire client=1 session=b"},
			"open, starting, stopping, waiters: 1 unbound, sessions: 1 lost",
		},
	}
	for _, test := range tests {
		s := follow(t, cfg, test.script...)[0]
		if got := Abstract(cfg, &s).String(); got != test.want {
			t.Errorf("%v: got %q, want %q", test.script, got, test.want)
		}
	}
}
