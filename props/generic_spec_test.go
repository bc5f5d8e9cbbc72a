package props

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// What is not promised is not held against a pool, and what is known is passed by; without
// that the faults are found, as TestControls and TestFromTasks show.
func TestNotHeldAgainst(t *testing.T) {
	sound := tinyTarget(2, tinyLostWakeup)
	sound.Spec.HooksSucceed = true
	takes := tinyTarget(2, tinyDoneTakes)
	takes.Spec.DoneTakes = true
	goexit := taskTarget(true)
	goexit.Spec.NoGoexit = true
	for name, target := range map[string]Target{"hooks that fail": sound, "done contexts": takes, "goexit": goexit} {
		target.Name += "-mild"
		t.Run(name, func(t *testing.T) { Verify(t, target) })
	}
	known := tinyTarget(2, tinyLostWakeup)
	known.Known = []string{"I5"}
	v := newGenVerifier(t, known)
	script := "c1 acquire; c2 acquire; c3 acquire; c4 acquire; -- next create fail; c1 discard"
	f, total := v.run(t, replayOps(mustParse(t, script)))
	if f != nil || total.known != 1 {
		t.Errorf("a known fault: got %+v, %v; want nothing, and a run cut short", f, total)
	}
	v.target.Known = []string{"I3"}
	if f, _ = v.run(t, replayOps(mustParse(t, script))); f == nil || f.violation.Rule != "I5" {
		t.Errorf("another fault is known: got %+v, want I5", f)
	}
}

// hastyPool looks whether there is room, and takes it later.
type hastyPool struct {
	env   *Env
	taken atomic.Int32
}

func (p *hastyPool) Acquire(ctx context.Context) (Lease, error) {
	if p.taken.Load() >= 2 {
		return nil, errTinyFull
	}
	time.Sleep(time.Nanosecond) // all who have looked wait here, in virtual time
	p.taken.Add(1)
	r, err := p.env.Create(ctx)
	if err != nil {
		p.taken.Add(-1)
		return nil, err
	}
	time.Sleep(time.Nanosecond) // and here all who have taken
	return hastyLease{p, r}, nil
}

func (p *hastyPool) Close() error { return nil }

type hastyLease struct {
	p *hastyPool
	r *Resource
}

func (l hastyLease) Resource() *Resource { return l.r }

func (l hastyLease) Release() {
	l.p.env.Destroy(l.r)
	l.p.taken.Add(-1)
}

// What goes wrong between two steps is found where callers churn.
func TestChurnsMeet(t *testing.T) {
	v := newGenVerifier(t, Target{
		Name: "hasty", Capacity: 2, Spec: Spec{RefusesWhenFull: true, DoneTakes: true, HooksSucceed: true},
		Open: func(env *Env) (Pool, error) { return &hastyPool{env: env}, nil },
	})
	f, _ := v.run(t, replayOps(mustParse(t, "& c1 churn 3; & c2 churn 3; c3 churn 3")))
	if f == nil || f.violation.Rule != "I2" {
		t.Errorf("got %+v, want I2", f)
	}
}
