package sched_test

import (
	"errors"
	"testing"

	"github.com/poolproof/poolproof/sched"
)

// lostUpdate reads and writes a number in two steps.
func lostUpdate(s *sched.Scheduler) error {
	n, done := 0, 0
	for _, name := range []string{"a", "b"} {
		s.Go(name, func() {
			sched.Point("read")
			got := n
			sched.Point("write")
			n = got + 1
			done++
		})
	}
	for done < 2 {
		sched.Here().Wait(sched.OpLabel, nil, func() bool { return done == 2 })
	}
	if n != 2 {
		return errors.New("an update is lost")
	}
	return nil
}

func TestLostUpdate(t *testing.T) {
	r := sched.Explore(t, sched.Options{}, 100, sched.Random(1), lostUpdate)
	if r.Result == nil {
		t.Fatal("nothing found")
	}
	t.Log(r.Runs, r.Result.Finding, r.Result.Schedule, r.Result.Preemptions, "\n"+r.Result.Trace.String())
	r = sched.Explore(t, sched.Options{}, 100, sched.RandomPCT(1, 2, 10), lostUpdate)
	t.Log(r.Runs, r.Result.Finding, r.Result.Schedule, r.Result.Preemptions, "\n"+r.Result.Trace.String())
	r = sched.Exhaust(t, sched.Options{IdleTimeOnly: true}, -1, 0, lostUpdate)
	t.Log(r.Runs, r.Result.Finding, r.Result.Schedule, r.Result.Preemptions, "\n"+r.Result.Trace.String())
	r = sched.Exhaust(t, sched.Options{IdleTimeOnly: true}, -1, 0, func(s *sched.Scheduler) error { lostUpdate(s); return nil })
	t.Log(r.Runs, r.Complete)
}
