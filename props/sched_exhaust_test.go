//go:build sched

package props_test

import (
	"flag"
	"testing"
	"time"

	"github.com/poolproof/poolproof/props"
)

// These tests are for 'make sched', which instruments the pool.

var schedDeep = flag.Bool("sched.deep", false, "go through the schedules with one preemption more; takes many minutes")

func TestPoolIsInstrumented(t *testing.T) {
	if !props.Instrumented(t, props.PoolTarget{Name: "pool", Open: props.OpenPool}) {
		t.Fatal("the pool is not instrumented; run make sched")
	}
}

// TestExhaust goes through every schedule of small programs with one preemption at most.
func TestExhaust(t *testing.T) {
	const config = "config MaxSize=1 BackoffMin=1 Clients=3 Sessions=1\n"
	for _, c := range []struct {
		name    string
		deep    bool // takes minutes even with one preemption
		program string
	}{
		{"three take the worker in turn", false, "c1 acquire\nc1 release\nc2 acquire\nc2 release\nc3 acquire\nc3 release\n"},
		{"one gives up", false, "c1 acquire cancelled\nc1 release\nc2 acquire\nc2 release\nc3 acquire\nc3 release\n"},
		{"a session ends", false, "c1 acquire session=a\nc1 release\nc2 acquire session=a\nc2 release\nc3 end session=a\nc3 end session=a\n"},
		{"resize and retire", false, "c1 acquire\nc1 release\nc2 resize 0 2\nc2 resize 0 1\nc3 retire 1\nc3 acquire\n"},
		{"close", true, "c1 acquire\nc1 release\nc2 acquire\nc2 release\nc3 close\nc3 close\n"},
		{"one gives up, another closes", true, "c1 acquire cancelled\nc1 release\nc2 acquire\nc2 release\nc3 close\nc3 acquire\n"},
	} {
		preemptions := 1
		switch {
		case c.deep && !*schedDeep:
			continue
		case *schedDeep && !c.deep:
			preemptions = 2
		}
		t.Run(c.name, func(t *testing.T) {
			begin := time.Now()
			e := props.ExhaustScheduled(t, props.PoolTarget{Name: "pool", Open: props.OpenPool}, config+c.program, preemptions, 0)
			t.Logf("%d schedules with up to %d preemptions, %d steps, %.0f schedules a second",
				e.Schedules, preemptions, e.Steps, float64(e.Schedules)/time.Since(begin).Seconds())
			switch {
			case e.Finding.Subtest != "":
				t.Errorf("%s\n%s", e.Finding.Message, e.Finding.Script)
			case !e.Complete || e.Schedules < 1000:
				t.Errorf("%d schedules, complete: %t; want all of more than 1000", e.Schedules, e.Complete)
			}
		})
	}
}
