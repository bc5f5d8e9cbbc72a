package props

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poolproof/poolproof/model"
)

// racePools are pools that Race must object to, with what it says. The last one is wrong in a
// way that only the race detector sees.
func racePools() []struct {
	name   string
	target Target
	want   []string
} {
	tiny := func(bug tinyBug) Target { return (&control{bug: bug}).target() }
	return []struct {
		name   string
		target Target
		want   []string
	}{
		{"double grant", tiny(tinyDoubleGrant), []string{"breaks I1: ", "breaks I3: "}},
		{"forgotten wake", tiny(tinyLostWakeup), []string{"breaks I4: ", "breaks I5: "}},
		{"cancel loses", tiny(tinyCancelLeaks), []string{"breaks I4: ", "breaks I5: "}},
		{"over capacity", tiny(tinyOverCapacity), []string{"breaks I2: "}},
		{"close misses a create", tiny(tinyCloseCreating), []string{"breaks I4: ", "breaks I13: "}},
		{"no order", unorderedTarget(), []string{"DATA RACE"}},
	}
}

const racePoolEnv = "POOLPROOF_TEST_RACE"

// TestInChildRace runs Race on one of them.
func TestInChildRace(t *testing.T) {
	childOnly(t)
	for _, c := range racePools() {
		if c.name == os.Getenv(racePoolEnv) {
			c.target.Patience = 500 * time.Millisecond
			newGenVerifier(t, c.target).checkRaces(t)
		}
	}
}

// objects runs Race on a broken pool in a child process, for callers may be left behind.
func objects(t *testing.T, name string, want []string) {
	t.Helper()
	t.Setenv(racePoolEnv, name)
	out, ok := child(t, t.TempDir(), "^TestInChildRace$", "-rapid.checks=5000", "-rapid.seed=1", "-rapid.shrinktime=1s")
	for _, text := range want {
		if !ok && strings.Contains(out, text) {
			return
		}
	}
	t.Errorf("passed: %v; want a failure with one of %q\n%s", ok, want, out)
}

// Race objects to pools that are wrong, for the right reason.
func TestVerifyRace(t *testing.T) {
	for _, c := range racePools() {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "no order" && !raceDetector {
				c.want = []string{"--- PASS: "}
				t.Setenv(racePoolEnv, c.name)
				if out, ok := child(t, t.TempDir(), "^TestInChildRace$", "-rapid.checks=300"); !ok {
					t.Errorf("a fault that only the race detector sees is seen without it:\n%s", out)
				}
				return
			}
			objects(t, c.name, c.want)
		})
	}
}

// unordered is a pool of one whose release writes without a lock what an acquire reads: one
// holder is not ordered after the other.
type unordered struct {
	env *Env

	mu    sync.Mutex
	r     *Resource
	taken *bool // written by Release without mu
	done  bool
}

func unorderedTarget() Target {
	return Target{
		Name: "unordered", Capacity: 1,
		Open: func(env *Env) (Pool, error) { return &unordered{env: env, taken: new(bool)}, nil },
		Outcome: func(err error) Outcome {
			if err == errTinyClosed {
				return Closed
			}
			return DefaultOutcome(err)
		},
	}
}

func (p *unordered) Acquire(ctx context.Context) (Lease, error) {
	for ctx.Err() == nil {
		if r, err := p.try(ctx); r != nil || err != nil {
			return r, err
		}
		time.Sleep(time.Microsecond)
	}
	return nil, ctx.Err()
}

// try returns neither a lease nor an error if the resource is taken.
func (p *unordered) try(ctx context.Context) (Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.done:
		return nil, errTinyClosed
	case *p.taken:
		return nil, nil
	case p.r == nil:
		r, err := p.env.Create(ctx)
		if err != nil {
			return nil, err
		}
		p.r = r
	}
	*p.taken = true
	return unorderedLease{p}, nil
}

func (p *unordered) Close() error {
	for {
		p.mu.Lock()
		p.done = true
		if !*p.taken {
			break
		}
		p.mu.Unlock()
		time.Sleep(time.Microsecond)
	}
	defer p.mu.Unlock()
	if p.r != nil {
		p.env.Destroy(p.r)
	}
	p.r = nil
	return nil
}

type unorderedLease struct{ p *unordered }

func (l unorderedLease) Resource() *Resource { return l.p.r }
func (l unorderedLease) Release()            { *l.p.taken = false }

// What a client did after the fault is no part of the script.
func TestRaceScriptsEndWithTheFault(t *testing.T) {
	began := func(client int) model.PromiseEvent {
		return model.PromiseEvent{Kind: model.PromiseCallBegan, Client: client}
	}
	r := &raceRun{genRun: &genRun{target: &Target{}}}
	r.ops = mustParse(t, "c1 acquire; c2 acquire; c1 release; c2 release; c3 acquire; c1 acquire; c2 acquire")
	r.seen = []model.PromiseEvent{began(1), began(2), {Kind: model.PromiseCallEnded, Client: 1}, began(1), began(3), began(1), began(2)}
	r.broken, r.until = &model.PromiseViolation{Rule: "I2"}, 4
	if got, want := scriptText(r.raced(r.broken, 1).ops), scriptText(mustParse(t, "c1 acquire; c2 acquire; c1 release")); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := r.raced(&model.PromiseViolation{Rule: "I2"}, 1).ops; len(got) != len(r.ops) {
		t.Errorf("another finding: got %d lines, want all %d", len(got), len(r.ops))
	}
}
