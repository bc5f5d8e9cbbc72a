package sched_test

import (
	"slices"
	"testing"

	"github.com/poolproof/poolproof/sched"
)

// holder notes at which of the points of a task with others beside it Holds is set.
type holder struct{ seen []bool }

func (h *holder) Pick(c sched.Choice) int {
	if c.Continue {
		h.seen = append(h.seen, c.Holds)
	}
	return 0
}

func TestChoiceTellsWhetherALockIsHeld(t *testing.T) {
	var h holder
	sched.Test(t, sched.Options{Strategy: &h, IdleTimeOnly: true}, func(s *sched.Scheduler) error {
		s.Go("idle", func() {})
		me := sched.Here()
		for _, op := range []sched.Op{sched.OpLock, sched.OpRLock, sched.OpLoad, sched.OpUnlock, sched.OpRUnlock, sched.OpLoad} {
			me.Point(op, nil)
		}
		return nil
	})
	if want := []bool{false, true, true, true, true, false}; !slices.Equal(h.seen, want) {
		t.Errorf("before each point Holds was %v, want %v", h.seen, want)
	}
}
