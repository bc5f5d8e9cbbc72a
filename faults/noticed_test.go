package faults

import (
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// TestNoticed: what ends a worker once its fault is healed, or once the pool is being closed,
// is no sign that the fault was noticed.
func TestNoticed(t *testing.T) {
	sys := newSystem(Memory, &pool.Config[Worker]{MaxSize: 1})
	sys.ended[1] = 7 * time.Second
	call := Call{Intended: 4 * time.Second, Latency: time.Second, Result: Broke, Worker: 2}
	for _, c := range []struct {
		name    string
		fault   FaultReport
		closing time.Duration
		want    time.Duration
	}{
		{"stopped after it", FaultReport{Worker: 1, At: 2 * time.Second}, 8 * time.Second, 7 * time.Second},
		{"stopped before it", FaultReport{Worker: 1, At: 7*time.Second + 1}, 8 * time.Second, 0},
		{"stopped as the pool closes", FaultReport{Worker: 1, At: 2 * time.Second}, 6 * time.Second, 0},
		{"healed before", FaultReport{Worker: 1, At: 2 * time.Second, Healed: 3 * time.Second}, 8 * time.Second, 0},
		{"healed, but it had ended", FaultReport{Worker: 1, At: 2 * time.Second, Healed: 3 * time.Second, Ends: true}, 8 * time.Second, 7 * time.Second},
		{"a call that failed", FaultReport{Worker: 2, At: 2 * time.Second}, 8 * time.Second, 5 * time.Second},
		{"another worker's call", FaultReport{Worker: 3, At: 2 * time.Second}, 8 * time.Second, 0},
	} {
		r := &Report{Calls: []Call{call}, closing: c.closing}
		if got := r.noticed(&c.fault, sys); got != c.want {
			t.Errorf("%s: noticed at %v, want %v", c.name, got, c.want)
		}
	}
}
