package faults

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest/broken"
)

// expectFinding reports that none of a run's findings says so.
func expectFinding(t *testing.T, r *Report, want string) {
	t.Helper()
	for _, f := range r.Findings {
		if strings.Contains(f, want) {
			return
		}
	}
	t.Errorf("no finding says %q; there are %q", want, r.Findings)
}

// echoing is a worker whose answers are another's.
type echoing struct{ Worker }

func (echoing) Call(_ context.Context, _ string, _, result any) error {
	return json.Unmarshal([]byte("[1]"), result)
}

// errBroken is what breaks on purpose.
var errBroken = errors.New("broken on purpose")

// startsOnly lets only so many starts succeed.
func startsOnly(n int64) func(cfg *pool.Config[Worker]) {
	var begun atomic.Int64
	return func(cfg *pool.Config[Worker]) {
		start := cfg.Start
		cfg.Start = func(ctx context.Context, id pool.WorkerID) (Worker, error) {
			if begun.Add(1) > n {
				return nil, errBroken
			}
			return start(ctx, id)
		}
	}
}

// wrongRun is a run in which something must not be, and the first words of the finding.
type wrongRun struct {
	name, want string
	edit       func(cfg *RunConfig)
}

// wrongPools are runs in which a pool, a worker or a fault is wrong.
func wrongPools() []wrongRun {
	forge := func(cfg *RunConfig, m tampered) { cfg.System.forge = m.forge }
	return []wrongRun{
		{"a pool never replaces", "capacity did not come back", func(cfg *RunConfig) {
			forge(cfg, tampered{config: startsOnly(3)})
		}},
		{"too few workers from the start", "capacity was not there before any harm", func(cfg *RunConfig) {
			forge(cfg, tampered{config: startsOnly(2)})
		}},
		{"dead workers are granted", "the history is not sound: illegal: I3", func(cfg *RunConfig) { cfg.System.forge = breaking(broken.RetiredIdleGranted) }},
		{"a lost session moves", "the history is not sound: illegal: I8", func(cfg *RunConfig) {
			cfg.System.forge = breaking(broken.LostSessionRebinds)
		}},
		{"a strict session is bound anew unsaid", "wrong answer: I8: session", func(cfg *RunConfig) {
			forge(cfg, tampered{acquired: rebind})
		}},
		{"a fault does not land", "fault dud of worker", func(cfg *RunConfig) { cfg.Plan.Faults[0].Kind = "dud" }},
		{"a fault cannot be injected", "fault refused of worker", func(cfg *RunConfig) { cfg.Plan.Faults[0].Kind = "refused" }},
		{"a fault cannot be healed", "fault lasting of worker", func(cfg *RunConfig) { cfg.Plan.Faults[0].Kind = "lasting" }},
		{"nobody is there to be hit", "fault kill of worker 0", func(cfg *RunConfig) {
			cfg.Plan.Faults[0].Who = Who{Aim: AtSession, Session: "unknown"}
		}},
		{"a worker echoes wrongly", "wrong answer: worker", func(cfg *RunConfig) {
			forge(cfg, tampered{config: func(cfg *pool.Config[Worker]) {}, acquired: func(f front, ctx context.Context, id pool.SessionID) (lease, error) {
				l, err := f.acquire(ctx, id)
				if err != nil || id != "" {
					return l, err
				}
				return echoes{l}, nil
			}})
		}},
		{"an error is none of the pool's", "calls ended with: unexpected error", func(cfg *RunConfig) {
			forge(cfg, tampered{acquired: func(f front, ctx context.Context, id pool.SessionID) (lease, error) {
				if id == "s1" {
					return nil, errBroken
				}
				return f.acquire(ctx, id)
			}})
		}},
		{"a call for no session is told of a loss", "is for no session, and was told that it is lost", func(cfg *RunConfig) {
			var n atomic.Int64
			forge(cfg, tampered{acquired: func(f front, ctx context.Context, id pool.SessionID) (lease, error) {
				if id == "" && n.Add(1) == 200 {
					return nil, pool.ErrSessionLost
				}
				return f.acquire(ctx, id)
			}})
		}},
		{"too many calls fail", "of capacity was left", func(cfg *RunConfig) {
			cfg.Plan.Faults[0].Kind, cfg.Plan.Faults[0].When = "spare", When{From: 2 * time.Second}
			var n atomic.Int64
			forge(cfg, tampered{acquired: func(f front, ctx context.Context, id pool.SessionID) (lease, error) {
				if n := n.Add(1); n > 250 && n < 600 {
					return nil, pool.ErrAcquireTimeout
				}
				return f.acquire(ctx, id)
			}})
		}},
	}
}

// wrongRuns are runs that prove too little, or take too much.
func wrongRuns() []wrongRun {
	return []wrongRun{
		{"too little traffic before", "before: 4 calls are too little traffic", func(cfg *RunConfig) { cfg.Before = 20 * time.Millisecond }},
		{"too little traffic after", "after: 4 calls are too little traffic", func(cfg *RunConfig) { cfg.After = 20 * time.Millisecond }},
		{"too little traffic amid the harm", "harm: 2 calls are too little traffic", func(cfg *RunConfig) {
			cfg.Plan.Faults[0].When = When{From: 10 * time.Millisecond}
		}},
		{"a criterion does not hold", "it is Tuesday: broken on purpose", func(cfg *RunConfig) {
			cfg.Criteria = []Criterion{{"it is Tuesday", func(*Report) error { return errBroken }}}
		}},
		{"memory leaks", "memory grew: the host's heap", func(cfg *RunConfig) { cfg.Plan.Faults[0].Kind = "leak" }},
		{"the load is more than the system bears", "the load did not become steady", func(cfg *RunConfig) { cfg.Load.Work = 100 * time.Millisecond }},
		{"the load is more than the load itself bears", "calls ended with: overrun", func(cfg *RunConfig) {
			cfg.Load.Work, cfg.Load.MaxInFlight, cfg.Load.Profile = time.Millisecond, 4, []float64{1, 50, 1}
		}},
		{"it takes too long", "the run was cut short: faults: a limit was passed: it takes", func(cfg *RunConfig) {
			cfg.Limits.Time = 8 * time.Second
			cfg.Plan.Faults[0].Kind = "endless"
		}},
		{"it takes too much memory", "bytes of memory, want at most 1048576", func(cfg *RunConfig) { cfg.Limits.Memory = 1 << 20 }},
	}
}

// TestFindings: each thing that must not be is found, by the first words of the finding.
func TestFindings(t *testing.T) {
	for _, c := range slices.Concat(wrongPools(), wrongRuns()) {
		t.Run(c.name, func(t *testing.T) {
			cfg := killing(t)
			var leaked [][]byte
			cfg.Kit = testKit(&leaked)
			cfg.RecoverWithin = 10 * time.Second
			c.edit(&cfg)
			expectFinding(t, inBubble(t, cfg), c.want)
			if leaked != nil && len(leaked[0]) == 0 {
				t.Error("nothing has leaked")
			}
		})
	}
}

// echoes is a lease of an echoing worker.
type echoes struct{ lease }

func (l echoes) Worker() Worker { return echoing{l.lease.Worker()} }

// testKit are injectors that are wrong, or do no harm.
func testKit(leaked *[][]byte) Kit {
	landed := func(context.Context) (string, error) { return "seen", nil }
	kit := Standard()
	kit["spare"] = InjectorFunc(func(context.Context, *Victim) (*Injury, error) { return &Injury{Landed: landed}, nil })
	kit["dud"] = InjectorFunc(func(context.Context, *Victim) (*Injury, error) {
		return &Injury{Landed: func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", errBroken
		}}, nil
	})
	kit["refused"] = InjectorFunc(func(context.Context, *Victim) (*Injury, error) { return nil, errBroken })
	kit["lasting"] = InjectorFunc(func(context.Context, *Victim) (*Injury, error) {
		return &Injury{Landed: landed, Heal: func(context.Context) error { return errBroken }}, nil
	})
	kit["endless"] = InjectorFunc(func(context.Context, *Victim) (*Injury, error) {
		return &Injury{Landed: landed, Heal: func(ctx context.Context) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}}, nil
	})
	kit["leak"] = InjectorFunc(func(context.Context, *Victim) (*Injury, error) {
		*leaked = append(*leaked, make([]byte, 64<<20))
		return &Injury{Landed: landed}, nil
	})
	return kit
}

// TestSoundPoolsPass: what the tests of findings tamper with has none by itself.
func TestSoundPoolsPass(t *testing.T) {
	for name, forge := range map[string]func(pool.Config[Worker]) (front, error){
		"pool": tampered{}.forge, "broken pool that is not": breaking(broken.None),
	} {
		t.Run(name, func(t *testing.T) {
			cfg := killing(t)
			cfg.System.forge = forge
			expectPass(t, inBubble(t, cfg))
		})
	}
}

// TestCutShort: a run whose context ends heals and leaves nothing.
func TestCutShort(t *testing.T) {
	var healed atomic.Bool
	synctest.Test(t, func(t *testing.T) {
		cfg := killing(t)
		cfg.Kit = Standard()
		cfg.Kit["kill"] = InjectorFunc(func(context.Context, *Victim) (*Injury, error) {
			return &Injury{
				Landed: func(context.Context) (string, error) { return "seen", nil },
				Heal:   func(ctx context.Context) error { healed.Store(true); return context.Cause(ctx) },
			}, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		r, err := Run(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		expectFinding(t, r, "the run was cut short: context deadline exceeded")
		expectFinding(t, r, "2 of 5 planned faults were injected")
		expectFinding(t, r, "after: the run did not come to it")
	})
	if !healed.Load() {
		t.Error("what was harmed is not healed")
	}
}
