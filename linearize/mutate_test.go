package linearize

import (
	"math/rand/v2"
	"slices"
	"time"
)

// simFaults are all the ways in which a simulated pool can be broken.
var simFaults = []simFault{
	simDoubleGrant, simLostBinding, simBoundTwice, simAfterClose, simRefusedFree, simToCancelled, simLateEffect,
	simOutOfOrder, simOverCapacity, simDeadGranted, simFalseLoss, simCloseEarly,
}

// mutations edit a history, which is then still well formed; each reports whether it found
// something to edit. Whether the history is legal afterwards is for the judges to say.
var mutations = []struct {
	name string
	do   func(h *History, rng *rand.Rand) bool
}{
	{"another-worker", func(h *History, rng *rand.Rand) bool {
		a, b := some(h, rng, granted), some(h, rng, granted)
		if a == nil || a.Worker == b.Worker {
			return false
		}
		a.Worker = b.Worker
		for i := range h.Ops {
			if o := &h.Ops[i]; o.Frees() && o.Lease == a.ID {
				o.Worker = b.Worker
			}
		}
		return true
	}},
	{"lease-kept", func(h *History, rng *rand.Rand) bool {
		o := some(h, rng, (*Op).Frees)
		if o == nil {
			return false
		}
		h.Ops = slices.DeleteFunc(h.Ops, func(other Op) bool { return other.ID == o.ID })
		return true
	}},
	{"fresh", func(h *History, rng *rand.Rand) bool {
		o := some(h, rng, func(o *Op) bool { return granted(o) && o.Session != "" })
		if o == nil {
			return false
		}
		o.Fresh = !o.Fresh
		return true
	}},
	{"another-session", func(h *History, rng *rand.Rand) bool {
		a, b := some(h, rng, (*Op).Acquires), some(h, rng, (*Op).Acquires)
		if a == nil || a.Session == b.Session {
			return false
		}
		a.Session = b.Session
		return true
	}},
	{"turned-away", func(h *History, rng *rand.Rand) bool {
		o := some(h, rng, func(o *Op) bool { return o.Acquires() && o.Outcome != Granted && o.Outcome != NoAnswer })
		if o == nil {
			return false
		}
		o.Outcome = []Outcome{Cancelled, Refused, Saturated, Closed, SessionLost}[rng.IntN(5)]
		return true
	}},
	{"end-dropped", func(h *History, rng *rand.Rand) bool {
		o := some(h, rng, func(o *Op) bool { return o.Kind == EndSession || o.Kind == Resize || o.Closes() })
		if o == nil {
			return false
		}
		h.Ops = slices.DeleteFunc(h.Ops, func(other Op) bool { return other.ID == o.ID })
		return true
	}},
	{"discarded", func(h *History, rng *rand.Rand) bool {
		o := some(h, rng, (*Op).Frees)
		if o == nil {
			return false
		}
		o.Kind = Release + Discard - o.Kind
		return true
	}},
	{"returns-early", func(h *History, rng *rand.Rand) bool {
		o := some(h, rng, func(o *Op) bool { return o.Outcome != NoAnswer && o.Return > o.Call+1 })
		if o == nil {
			return false
		}
		o.Return = o.Call + (o.Return-o.Call)/4
		o.Parked = min(o.Parked, o.Return)
		return true
	}},
	{"smaller", func(h *History, rng *rand.Rand) bool {
		if h.Head.Config.Capacity < 2 {
			return false
		}
		h.Head.Config.Capacity--
		return true
	}},
	{"seqs-swapped", func(h *History, rng *rand.Rand) bool {
		numbered := func(o *Op) bool { return o.Seq > 0 }
		a, b := some(h, rng, numbered), some(h, rng, numbered)
		if a == nil || a == b {
			return false
		}
		a.Seq, b.Seq = b.Seq, a.Seq
		return true
	}},
	{"no-answer", func(h *History, rng *rand.Rand) bool {
		o := some(h, rng, func(o *Op) bool { return o.Frees() || o.Kind == EndSession })
		if o == nil {
			return false
		}
		o.Outcome, o.Return, o.Seq = NoAnswer, 0, 0
		return true
	}},
}

// coarsen makes the clock of a history so coarse that much of what happens is at once.
func coarsen(h *History, rng *rand.Rand) {
	tick := time.Duration(8) << rng.IntN(6)
	coarse := func(at *time.Duration) { *at = (*at + tick - 1) / tick } // what was not 0 is not
	for i := range h.Ops {
		o := &h.Ops[i]
		coarse(&o.Call)
		coarse(&o.Return)
		coarse(&o.Parked)
	}
	for i := range h.Changes {
		coarse(&h.Changes[i].At)
	}
	coarse(&h.Head.Config.SessionTTL)
	h.Head.Config.Slack++
}

func randOf(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 11)) }

func granted(o *Op) bool { return o.Outcome == Granted }

// some returns an op that fits, or nil.
func some(h *History, rng *rand.Rand, fits func(*Op) bool) *Op {
	var fit []*Op
	for i := range h.Ops {
		if fits(&h.Ops[i]) {
			fit = append(fit, &h.Ops[i])
		}
	}
	if len(fit) == 0 {
		return nil
	}
	return fit[rng.IntN(len(fit))]
}
