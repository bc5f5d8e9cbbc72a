package linearize

import "fmt"

// checkForm reports what makes a history unfit to be judged, which is its recorder's fault
// and not the pool's, or nil.
func checkForm(h *History) error { return new(form).check(h) }

// latest is the last time that a history may have: some 70 years, of which a few may be added
// up. What comes later has no end.
const latest = forever / 4

var errTooLate = fmt.Errorf("a time beyond %v", latest)

// form is what a check of the form remembers.
type form struct {
	busy  map[int]int // the last op of each client
	ended map[int]int // by lease, the op that ended it
}

func (f *form) check(h *History) error {
	c := &h.Head.Config
	switch {
	case c.Capacity < 0 || c.MaxWaiters < 0 || c.SessionTTL < 0 || c.Slack < 0:
		return fmt.Errorf("the configuration has a negative number")
	case max(c.SessionTTL, c.Slack) > latest:
		return errTooLate
	case c.Affinity > Prefer:
		return fmt.Errorf("affinity %d is unknown", c.Affinity)
	}
	if f.busy == nil {
		f.busy, f.ended = map[int]int{}, map[int]int{}
	}
	busy, ended := f.busy, f.ended
	clear(busy)
	clear(ended)
	for i := range h.Ops {
		o := &h.Ops[i]
		if i > 0 && (o.ID <= h.Ops[i-1].ID || o.Call < h.Ops[i-1].Call) {
			return fmt.Errorf("%v: not in order", o)
		}
		if err := o.check(); err != nil {
			return fmt.Errorf("%v: %w", o, err)
		}
		if last, known := busy[o.Client]; known {
			if before := &h.Ops[last]; before.Outcome != NoAnswer && before.Return > o.Call {
				return fmt.Errorf("%v: called before the client's last call, op %d, had returned", o, before.ID)
			}
		}
		busy[o.Client] = i
		if !o.Frees() {
			continue
		}
		at := opOf(h.Ops, o.Lease)
		if at == none || int(at) >= i {
			return fmt.Errorf("%v: no such lease", o)
		}
		if got := &h.Ops[at]; got.Outcome != Granted || got.Return > o.Call || got.Worker != o.Worker {
			return fmt.Errorf("%v: ends a lease that %v did not have by then", o, got)
		}
		if other, known := ended[o.Lease]; known && o.Outcome != Failed && h.Ops[other].Outcome != Failed {
			return fmt.Errorf("%v: op %d ended that lease already", o, h.Ops[other].ID)
		}
		ended[o.Lease] = i
	}
	for i := range h.Faults {
		if f := &h.Faults[i]; max(f.From, f.To) > latest {
			return fmt.Errorf("fault %s: %w", f.Kind, errTooLate)
		}
	}
	for i := range h.Changes {
		c := &h.Changes[i]
		if c.At > latest {
			return fmt.Errorf("change %d: %w", c.Seq, errTooLate)
		}
		if c.Seq == 0 || i > 0 && c.Seq < h.Changes[i-1].Seq {
			return fmt.Errorf("change %d: not in order", c.Seq)
		}
	}
	return nil
}

// check reports what is wrong with the op by itself.
func (o *Op) check() error {
	switch {
	case o.Kind == 0 || o.Kind > Shutdown:
		return fmt.Errorf("no such kind of call")
	case o.Outcome > Failed:
		return fmt.Errorf("no such outcome")
	case o.Call < 0 || o.Outcome != NoAnswer && o.Return < o.Call:
		return fmt.Errorf("returned before it was called")
	case max(o.Call, o.Return, o.Parked) > latest:
		return errTooLate
	case o.Outcome == Granted && (!o.Acquires() || o.Worker == 0):
		return fmt.Errorf("granted, but not a worker to an acquire")
	case o.Outcome == Done && o.Acquires():
		return fmt.Errorf("done says nothing of an acquire")
	case o.Kind == Resize && o.Max < 1:
		return fmt.Errorf("the capacity becomes %d", o.Max)
	}
	return nil
}
