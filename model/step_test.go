package model

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// TestStories replays the stories of testdata/stories: a first block that sets the
// configuration, then operations, each with what it shows. Where the pool is free to
// choose, a story shows one possibility, and the count of all of them follows.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/stories/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := retell(string(want))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, file, want, []byte(got))
		})
	}
}

// golden compares what a test got with a golden file, or rewrites it.
func golden(t *testing.T, file string, want, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

// retell replays a story. Of several possibilities, it takes the one that the story shows
// if there is one, else the first.
func retell(story string) (string, error) {
	var b strings.Builder
	var cfg *Config
	var s State
	for i, block := range strings.Split(strings.TrimSpace(story), "\n\n") {
		head, shown, _ := strings.Cut(block, "----")
		lines := strings.Split(strings.TrimSpace(head), "\n")
		command := lines[len(lines)-1]
		fmt.Fprintf(&b, "%s\n----\n", strings.TrimSpace(head))
		var nexts []Next
		if i == 0 {
			c, err := parseConfig(command)
			if err != nil {
				return "", err
			}
			cfg, nexts = c, []Next{Initial(c)}
		} else {
			op, err := ParseOp(command)
			if err != nil {
				return "", err
			}
			nexts = Step(cfg, &s, op)
			if len(nexts) == 0 {
				return "", fmt.Errorf("%v is not possible in %v", op, &s)
			}
		}
		next := nexts[max(0, slices.IndexFunc(nexts, func(n Next) bool { return storyEvents(&n, len(nexts)) == strings.TrimLeft(shown, "\n")+"\n" }))]
		if err := Check(cfg, &next.State); err != nil {
			return "", err
		}
		s = next.State
		b.WriteString(storyEvents(&next, len(nexts)) + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n", nil
}

func storyEvents(n *Next, possibilities int) string {
	var b strings.Builder
	for _, e := range n.Events.All() {
		fmt.Fprintln(&b, e)
	}
	if possibilities > 1 {
		fmt.Fprintf(&b, "(one of %d)\n", possibilities)
	}
	return b.String()
}

// parseConfig reads "new key=value ..." with the fields that stories need.
func parseConfig(line string) (*Config, error) {
	c := &Config{MaxSize: 2, Clients: 6, Sessions: 4, BackoffMin: 1, BackoffMax: 4}
	fields := map[string]*int{
		"min": &c.MinSize, "max": &c.MaxSize, "waiters": &c.MaxWaiters, "concurrency": &c.StartConcurrency,
		"acquire": &c.AcquireTimeout, "start": &c.StartTimeout, "stop": &c.StopTimeout,
		"check": &c.HealthCheckPeriod, "failures": &c.HealthCheckFailures,
		"idle": &c.MaxIdleTime, "slack": &c.IdleSlack, "lifetime": &c.MaxLifetime, "leases": &c.MaxLeases,
		"ttl": &c.SessionTTL, "sessions": &c.MaxSessions, "perworker": &c.MaxSessionsPerWorker,
	}
	for _, word := range strings.Fields(line)[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch {
		case word == "tell":
			c.HasTell = true
		case word == "sticky":
			c.Affinity = Sticky
		case word == "prefer":
			c.Affinity = Prefer
		case fields[key] == nil:
			return nil, fmt.Errorf("unknown setting %q", word)
		default:
			if _, err := fmt.Sscan(value, fields[key]); err != nil {
				return nil, fmt.Errorf("setting %q: %w", word, err)
			}
		}
	}
	c.HasCheck = c.HealthCheckPeriod > 0
	return c, c.Validate()
}

// TestStepIsPure: a step changes neither its state nor its outcome, gives each outcome
// once, and breaks no promise.
func TestStepIsPure(t *testing.T) {
	for i, cfg := range everyConfig() {
		wander(cfg, uint64(20+i), 40, 80, func(s *State, op Op, nexts []Next) {
			before := *s
			again := Step(cfg, s, op)
			if *s != before {
				t.Fatalf("%v changes the state it begins in: %v, want %v", op, s, &before)
			}
			if !slices.EqualFunc(nexts, again, func(a, b Next) bool { return a.State == b.State && a.Events == b.Events }) {
				t.Fatalf("%v in %v has other outcomes the second time", op, s)
			}
			for i := range nexts {
				for j := range i {
					if nexts[i].State == nexts[j].State && nexts[i].Events == nexts[j].Events {
						t.Fatalf("%v in %v has an outcome twice", op, s)
					}
				}
				if err := Check(cfg, &nexts[i].State); err != nil {
					t.Fatalf("%v in %v: %v in %v", op, s, err, &nexts[i].State)
				}
				if err := checkStep(cfg, s, &nexts[i].State, op); err != nil {
					t.Fatalf("%v in %v: %v", op, s, err)
				}
			}
		})
	}
}

func TestStepOfImpossibleOps(t *testing.T) {
	cfg := &Config{MaxSize: 1, Clients: 1, Sessions: 1}
	s := Initial(cfg).State
	for _, op := range []Op{
		{},
		{Kind: OpTick + 1},
		{Kind: OpAcquire},
		{Kind: OpAcquire, Client: 2},
		{Kind: OpAcquire, Client: 1, Session: 2},
		{Kind: OpCancel, Client: 1},
		{Kind: OpRelease, Client: 1},
		{Kind: OpStarted, Worker: 1},
		{Kind: OpStopped},
		{Kind: OpEndSession},
		{Kind: OpRetire},
		{Kind: OpResize},
		{Kind: OpResize, Min: 2, Max: 1},
	} {
		if got := Step(cfg, &s, op); len(got) != 0 {
			t.Errorf("%v: got %d outcomes, want none", op, len(got))
		}
	}
}

func TestAppendStepAllocatesNothing(t *testing.T) {
	cfg := &Config{MaxSize: 3, Clients: 3, Sessions: 2, SessionTTL: 1, MaxIdleTime: 2, IdleSlack: 1}
	s := Initial(cfg).State
	room := make([]Next, 0, 64)
	op := Op{Kind: OpAcquire, Client: 1, Session: 1}
	if n := testing.AllocsPerRun(100, func() { AppendStep(room, cfg, &s, op) }); n != 0 {
		t.Errorf("AppendStep allocates %v times, want 0", n)
	}
}
